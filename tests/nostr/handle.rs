//! Events of the relay's own program.

use std::sync::{Arc, OnceLock};

use corecast::engine::EndpointSettings;
use corecast::relay::nostr::{
    AddError, Added, Adding, HookList, Nostr, NostrHandle, NostrSettings, Rejection,
};
use corecast_nostr::{Draft, Event};
use serde_json::json;

use crate::support::eventually;
use crate::{Relay, event, id, now, signer, tags};

fn relay(hooks: HookList) -> (Relay, NostrHandle) {
    let nostr = Nostr::new(NostrSettings {
        hooks,
        ..NostrSettings::default()
    });
    let handle = nostr.handle();
    (Relay::of(2, EndpointSettings::default(), nostr), handle)
}

fn add(handle: &NostrHandle, event: Event) -> Result<Added, AddError> {
    handle.add_event(Arc::new(event))?.wait()
}

#[test]
fn an_added_event_is_stored_and_sent_like_a_clients_one() {
    let (relay, handle) = relay(HookList::new().reject_event(|context, event| {
        assert!(context.client().is_none() && context.ip().is_none());
        match event.kind() {
            7 => Err("no sevens".into()),
            _ => Ok(()),
        }
    }));
    let mut readers = [relay.open(), relay.open()];
    for reader in &mut readers {
        reader.req("s", &[json!({})]);
        reader.stored("s");
    }
    assert_eq!(handle.subscriptions(), 2);
    let (newer, older) = (event(1, 0, 1, &[]), event(1, 0, 2, &[]));
    let sent = [id(&newer), id(&event(1, 20_001, 0, &[]))];
    assert_eq!(add(&handle, newer), Ok(Added::Stored));
    assert_eq!(add(&handle, event(1, 0, 1, &[])), Ok(Added::Duplicate));
    let told = Rejection::from("duplicate: the relay knows a newer version of this event");
    assert_eq!(add(&handle, older), Err(AddError::Refused(told)));
    let told = Rejection::from("blocked: no sevens");
    assert_eq!(
        add(&handle, event(1, 7, 0, &[])),
        Err(AddError::Refused(told))
    );
    let expired = signer(1).sign(Draft {
        created_at: now() - 60,
        kind: 1,
        tags: tags(&[&["expiration", &(now() - 30).to_string()]]),
        ..Draft::default()
    });
    let told = Rejection::from("invalid: the event has expired");
    assert_eq!(add(&handle, expired), Err(AddError::Refused(told)));
    let elsewhere = event(1, 62, 0, &[&["relay", "wss://other.example"]]);
    let told = "invalid: this request to vanish names neither this relay nor ALL_RELAYS";
    let told = Err(AddError::Refused(told.into()));
    assert_eq!(add(&handle, elsewhere), told);
    assert_eq!(add(&handle, event(1, 20_001, 0, &[])), Ok(Added::Ephemeral));
    for reader in &mut readers {
        assert_eq!([reader.live("s"), reader.live("s")], sent);
        reader.expect_nothing();
    }
    assert_eq!(relay.open().query(&[json!({})]), [sent[0].clone()]);
}

#[test]
fn a_broadcast_event_is_sent_and_not_stored() {
    let (relay, handle) = relay(HookList::new().reject_event(|_, _| Err("nothing".into())));
    let mut reader = relay.open();
    reader.req("s", &[json!({"kinds": [1]})]);
    reader.stored("s");
    let note = event(1, 1, 0, &[]);
    let sent = id(&note);
    handle.broadcast_event(Arc::new(note)).expect("a relay");
    assert_eq!(reader.live("s"), sent);
    assert_eq!(reader.query(&[json!({})]).len(), 0);
}

/// A hook that adds an event for each saved one, as relays with groups do.
#[test]
fn a_hook_may_use_the_handle() {
    let own: Arc<OnceLock<NostrHandle>> = Arc::default();
    let in_hook = Arc::clone(&own);
    let hooks = HookList::new().on_event_saved(move |_, event| {
        if event.kind() == 1 {
            let reply = crate::event(9, 1_111, 0, &[&["e", &id(event)]]);
            let handle = in_hook.get().expect("a handle");
            let _added = handle.add_event(Arc::new(reply));
        }
    });
    let (relay, handle) = relay(hooks);
    own.set(handle).expect("the only one");
    let (mut reader, mut writer) = (relay.open(), relay.open());
    reader.req("s", &[json!({"kinds": [1111]})]);
    reader.stored("s");
    let note = event(1, 1, 0, &[]);
    writer.expect_taken(&note);
    let reply = reader.hear();
    assert_eq!(reply[2]["tags"], json!([["e", id(&note)]]));
}

#[test]
fn a_notice_reaches_one_client() {
    let (sender, ids) = crossbeam_channel::unbounded();
    let (relay, handle) = relay(HookList::new().reject_filter(move |context, _, _| {
        let client = context.client().expect("a client");
        sender.send(client.connection()).expect("a test");
        Ok(())
    }));
    let (mut one, mut other) = (relay.open(), relay.open());
    assert_eq!(one.query(&[json!({})]).len(), 0);
    let id = ids.recv().expect("an id");
    handle.send_notice(id, "for \"you\"").expect("a relay");
    assert_eq!(one.hear(), json!(["NOTICE", "for \"you\""]));
    other.expect_nothing();
}

#[test]
fn a_handle_does_not_outlive_its_relay() {
    let (relay, handle) = relay(HookList::new());
    assert_eq!(add(&handle, event(1, 1, 0, &[])), Ok(Added::Stored));
    drop(relay);
    eventually("the relay has ended", || {
        let added = handle.add_event(Arc::new(event(1, 1, 1, &[])));
        added.and_then(Adding::wait) == Err(AddError::Ended)
    });
    assert_eq!(handle.subscriptions(), 0);
}
