//! Each hook of a Nostr relay once.
//!
//! `cargo run --example nostr_hooks`, then use `ws://127.0.0.1:8080/` in any Nostr client. It is
//! the relay of a club: whoever has proven a key (NIP-42) is a member. The end of standard input
//! ends the program.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corecast::engine::{Engine, Settings, StartError};
use corecast::hooks::{Hooks, policies::khatru, rejection};
use corecast::relay::nostr::{
    self, Caller, Context, HookList, Management, Nostr, NostrHandle, NostrHooks, NostrSettings,
    Operation, Prefix, Rejection, Subscriber,
};
use corecast_nostr::{Bytes32, Event, Filter, RelayUrls};
use serde_json::{Map, Value, json};

const URL: &str = "ws://127.0.0.1:8080/";
const NOTE: u16 = 1;
const REACTION: u16 = 7;

/// Counts what has happened, for the relay's description.
#[derive(Default)]
pub struct Club {
    saved: AtomicUsize,
    ephemeral: AtomicUsize,
    present: AtomicUsize,
}

/// Hooks may be one value with state.
struct ClubHooks(Arc<Club>);

impl NostrHooks for ClubHooks {
    /// khatru: `RejectEvent`.
    fn reject_event(&self, context: &Context<'_>, event: &Event) -> Result<(), Rejection> {
        if event.kind() == NOTE && !context.has_key(event.pubkey()) {
            // The client gets the challenge before this answer.
            return Err(Rejection::new(
                Prefix::AuthRequired,
                "notes are for members",
            ));
        }
        // A reason without a prefix gets `blocked: `.
        match event.content().contains("password") {
            true => Err("passwords do not belong here".into()),
            false => Ok(()),
        }
    }

    /// khatru: `RejectFilter` and `RejectCountFilter`. It sees the filter as changed below.
    fn reject_filter(
        &self,
        context: &Context<'_>,
        operation: Operation,
        _filter: &Filter,
    ) -> Result<(), Rejection> {
        match operation {
            Operation::Req => Ok(()),
            Operation::Count | Operation::Sync if context.keys().is_empty() => {
                context.send_notice("members can count");
                context.request_auth();
                Err("restricted: for members only".into())
            }
            Operation::Count | Operation::Sync => Ok(()),
        }
    }

    /// khatru: `OverwriteFilter`. It applies to stored and to new events.
    fn overwrite_filter(&self, _context: &Context<'_>, filter: &mut Filter) {
        filter.limit = Some(filter.limit.unwrap_or(100).min(100));
    }

    /// khatru: `OverwriteDeletionOutcome`. Reactions stay. Called on the thread of the store.
    fn overwrite_deletion_outcome(&self, target: &Event, _deletion: &Event, is_due: bool) -> bool {
        is_due && target.kind() != REACTION
    }

    /// khatru: `OnEventSaved`.
    fn on_event_saved(&self, _context: &Context<'_>, _event: &Event) {
        self.0.saved.fetch_add(1, Ordering::Relaxed);
    }

    /// khatru: `OnEphemeralEvent`.
    fn on_ephemeral_event(&self, _context: &Context<'_>, _event: &Event) {
        self.0.ephemeral.fetch_add(1, Ordering::Relaxed);
    }

    /// khatru: `OverwriteResponseEvent`. Guests get reactions without their content.
    fn overwrite_response_event(
        &self,
        context: &Context<'_>,
        event: &Event,
    ) -> Option<bytes::Bytes> {
        if event.kind() != REACTION || !context.keys().is_empty() {
            return None;
        }
        let mut json: Value = serde_json::from_str(event.json()).ok()?;
        json["content"] = json!("");
        Some(json.to_string().into())
    }

    /// khatru: `PreventBroadcast`. Guests read notes later, from the store.
    fn prevent_broadcast(
        &self,
        subscriber: &Subscriber<'_>,
        _filter: &Filter,
        event: &Event,
    ) -> bool {
        event.kind() == NOTE && subscriber.keys().is_empty()
    }
}

/// khatru: `ManagementAPI`. Most of NIP-86 needs no code; this adds a method.
struct Desk(Arc<Club>);

impl Management for Desk {
    fn methods(&self) -> Vec<String> {
        vec!["countmembers".to_owned()]
    }

    fn manage(
        &self,
        _caller: &Caller,
        method: &str,
        _params: &[Value],
    ) -> Option<Result<Value, String>> {
        let present = self.0.present.load(Ordering::Relaxed);
        (method == "countmembers").then(|| Ok(json!(present)))
    }
}

/// The hooks of the club. They may also be closures, one for each purpose.
fn hooks(club: &Arc<Club>) -> HookList {
    let counts = Arc::clone(club);
    HookList::new()
        .with(ClubHooks(Arc::clone(club)))
        // khatru: `OverwriteRelayInformation`.
        .overwrite_relay_information(move |_, document: &mut Map<String, Value>| {
            let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
            let told = format!(
                "{} present, {} saved, {} ephemeral",
                count(&counts.present),
                count(&counts.saved),
                count(&counts.ephemeral)
            );
            document.insert("description".to_owned(), json!(told));
        })
}

/// Starts the relay on `listen`, with these keys as its admins. The handle publishes from any
/// thread (khatru: `AddEvent`, `BroadcastEvent`).
pub fn start(
    listen: SocketAddr,
    admins: Vec<Bytes32>,
) -> Result<(Engine, NostrHandle), StartError> {
    let club = Arc::<Club>::default();
    let (comes, goes) = (Arc::clone(&club), Arc::clone(&club));
    let relay = Nostr::new(NostrSettings {
        urls: RelayUrls::new(vec![URL.to_owned()]),
        hooks: hooks(&club),
        admins,
        ..NostrSettings::default()
    })
    .with_management(Arc::new(Desk(Arc::clone(&club))));
    let handle = relay.handle();
    // khatru: `RejectConnection`, `OnConnect`, `OnDisconnect`, which every endpoint can have.
    let relay = Hooks::around(relay)
        .reject_connection(|request| match request.head.header("x-bot") {
            Some(_) => Err(rejection("People only.")),
            None => Ok(()),
        })
        .on_connect(move |_, _| {
            comes.present.fetch_add(1, Ordering::Relaxed);
        })
        .on_disconnect(move |_, _| {
            goes.present.fetch_sub(1, Ordering::Relaxed);
        });
    let mut builder = Engine::builder().settings(Settings {
        listen: vec![listen.into()],
        ..Settings::default()
    });
    let id = builder.endpoint_and_service(khatru(), relay);
    builder.render_refusals(id, nostr::rendered);
    builder.route("/", id)?;
    Ok((builder.start()?, handle))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (engine, handle) = start(SocketAddr::from(([127, 0, 0, 1], 8080)), Vec::new())?;
    println!("{URL}");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    println!("{} subscriptions are open", handle.subscriptions());
    engine.stop();
    Ok(())
}
