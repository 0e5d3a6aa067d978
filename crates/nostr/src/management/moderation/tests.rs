use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const KEY: Bytes32 = [1; 32];
const OTHER: Bytes32 = [2; 32];
const ID: Bytes32 = [3; 32];

impl Moderation {
    fn after(mut self, changes: &[Change]) -> Moderation {
        for change in changes {
            let note = self.note(change).expect("room");
            self.apply(&note).expect("a note");
        }
        self
    }
}

fn after(changes: &[Change]) -> Moderation {
    Moderation::default().after(changes)
}

fn spam() -> String {
    "spam \u{1f600}\nand more".to_owned()
}

fn some(methods: &[&str]) -> Methods {
    Methods::Some(methods.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn a_banned_key_is_refused_and_hidden_until_it_is_unbanned() {
    let banned = after(&[Change::BanKey(KEY, spam())]);
    assert_eq!(banned.check(&ID, &KEY, 1, None), Err(Forbidden::Key));
    assert_eq!(banned.check(&ID, &OTHER, 1, None), Ok(()));
    assert!(banned.hidden().hides_id(&ID, &KEY) && !banned.hidden().hides_id(&ID, &OTHER));
    let again = banned.after(&[Change::UnbanKey(KEY)]);
    assert_eq!(again, Moderation::default());
}

#[test]
fn an_allowed_event_is_an_exception_to_every_list() {
    let ban = [
        Change::BanKey(KEY, spam()),
        Change::AllowKey(OTHER, spam()),
        Change::DisallowKind(1),
    ];
    let all = after(&ban).after(&[Change::AllowEvent(ID, spam())]);
    assert_eq!(all.check(&ID, &KEY, 1, None), Ok(()));
    assert_eq!(all.check(&[4; 32], &KEY, 1, None), Err(Forbidden::Key));
    assert!(!all.hidden().hides_id(&ID, &KEY));
    let banned = all.after(&[Change::BanEvent(ID, spam())]);
    assert_eq!(banned.check(&ID, &OTHER, 7, None), Err(Forbidden::Event));
    assert!(banned.hidden().hides_id(&ID, &OTHER));
    assert_eq!(banned.entries(List::AllowedEvents), 0);
}

#[test]
fn allowed_keys_exclude_the_others_once_there_are_any() {
    let listed = after(&[Change::AllowKey(KEY, spam())]);
    assert_eq!(listed.check(&ID, &KEY, 1, None), Ok(()));
    assert_eq!(
        listed.check(&ID, &OTHER, 1, None),
        Err(Forbidden::NotListed)
    );
    assert!(listed.restricts_writes() && !listed.hidden().hides_id(&ID, &OTHER));
    let open = listed.after(&[Change::UnallowKey(KEY)]);
    assert_eq!(open.check(&ID, &OTHER, 1, None), Ok(()));
}

#[test]
fn kinds_change_what_the_configuration_accepts() {
    let configured = HashSet::from([1, 3]);
    let state = after(&[Change::AllowKind(7), Change::DisallowKind(3)]);
    let takes = |kind, kinds| state.check(&ID, &KEY, kind, kinds).is_ok();
    assert!(takes(1, Some(&configured)) && takes(7, Some(&configured)));
    assert!(!takes(3, Some(&configured)) && !takes(8, Some(&configured)));
    assert!(takes(1, None) && takes(8, None) && !takes(3, None));
    assert_eq!(
        state.list(List::AllowedKinds, Some(&configured)),
        json!([1, 7])
    );
    assert_eq!(state.list(List::DisallowedKinds, None), json!([3]));
    let back = state.after(&[Change::AllowKind(3)]);
    assert_eq!(back.check(&ID, &KEY, 3, None), Ok(()));
    assert_eq!(back.list(List::DisallowedKinds, None), json!([]));
}

#[test]
fn an_address_is_blocked_in_both_of_its_forms() {
    let blocked = after(&[Change::BlockIp([10, 0, 0, 1].into(), spam())]);
    for ip in ["10.0.0.1", "::ffff:10.0.0.1"] {
        assert!(blocked.blocks(ip.parse().expect(ip)), "{ip}");
    }
    assert!(!blocked.blocks([10, 0, 0, 2].into()));
}

#[test]
fn methods_are_granted_and_revoked_one_by_one() {
    let grant = |methods| Change::GrantAdmin(KEY, methods);
    let revoke = |methods| Change::RevokeAdmin(KEY, methods);
    let state = after(&[grant(some(&["stats"])), grant(some(&["banpubkey"]))]);
    let two = some(&["banpubkey", "stats"]);
    assert_eq!(state.granted_to(&KEY), Some(&two));
    let one = state.clone().after(&[revoke(some(&["stats", "blockip"]))]);
    assert_eq!(one.granted_to(&KEY), Some(&some(&["banpubkey"])));
    for none in [revoke(some(&["banpubkey", "stats"])), revoke(Methods::All)] {
        assert_eq!(state.clone().after(&[none]).granted_to(&KEY), None);
    }
    let all = state.after(&[grant(Methods::All), grant(some(&["stats"]))]);
    assert_eq!(all.granted_to(&KEY), Some(&Methods::All));
    let fewer = all.after(&[revoke(some(&["grantadmin"]))]);
    let left = fewer.granted_to(&KEY).expect("an admin");
    assert!(left.contain("stats") && !left.contain("grantadmin"));
    assert!(Methods::All.contain_all(left) && !left.contain_all(&Methods::All));
    assert!(left.contain_all(&some(&["stats"])) && !left.contain_all(&some(&["x"])));
}

#[test]
fn lists_have_the_form_of_nip_86() {
    let state = after(&[
        Change::BanKey(OTHER, String::new()),
        Change::BanKey(KEY, spam()),
        Change::BanEvent(ID, spam()),
        Change::BlockIp([10, 0, 0, 1].into(), spam()),
    ]);
    let keys = json!([
        {"pubkey": "01".repeat(32), "reason": spam()},
        {"pubkey": "02".repeat(32), "reason": ""},
    ]);
    assert_eq!(state.list(List::BannedKeys, None), keys);
    let events = json!([{"id": "03".repeat(32), "reason": spam()}]);
    assert_eq!(state.list(List::BannedEvents, None), events);
    let ips = json!([{"ip": "10.0.0.1", "reason": spam()}]);
    assert_eq!(state.list(List::BlockedIps, None), ips);
}

#[test]
fn a_full_list_takes_no_new_entry_and_lets_old_ones_change() {
    let mut state = Moderation::default();
    for number in 0..ADMINS_MAX {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        state.admins.insert(key, Methods::All);
    }
    assert!(state.note(&Change::GrantAdmin(KEY, Methods::All)).is_err());
    let known = Change::RevokeAdmin([0; 32], Methods::All);
    assert_eq!(state.note(&known).map(|note| note.value), Ok(None));
}

#[test]
fn unreadable_notes_are_errors_and_those_of_others_are_not() {
    let load = |name: &str, value: &[u8]| Moderation::load(&[(name.to_owned(), value.to_vec())]);
    assert_eq!(load("import/place", b"\xff"), Ok(Moderation::default()));
    let event = format!("manage/event/{}", to_hex(&ID));
    for (name, value) in [
        ("manage/", &b""[..]),
        ("manage/later/1", b""),
        ("manage/banned-key/00", b""),
        ("manage/kind/65536", b"ban "),
        ("manage/kind/1", b"maybe "),
        ("manage/ip/x", b""),
        ("manage/text/other", b""),
        (&event, b"ban"),
        (&event, b"\xff"),
    ] {
        assert_eq!(load(name, value), Err(NoteError(name.to_owned())));
    }
}

fn changes() -> impl Strategy<Value = Change> {
    let key = || (0_u8..3).prop_map(|byte| [byte; 32]);
    let kind = || 0_u16..4;
    let ip = || (0_u8..3).prop_map(|byte| IpAddr::from([10, 0, 0, byte]));
    let text = || prop_oneof![Just(String::new()), Just(spam()), Just("ban x".to_owned())];
    let methods = || {
        prop_oneof![
            Just(Methods::All),
            prop::collection::btree_set(prop::sample::select(&METHODS[..]), 1..4).prop_map(
                |names| {
                    let names: BTreeSet<String> = names.into_iter().map(str::to_owned).collect();
                    Methods::Some(names)
                }
            ),
        ]
    };
    let part = prop_oneof![
        Just(RelayText::Name),
        Just(RelayText::Description),
        Just(RelayText::Icon)
    ];
    prop_oneof![
        (key(), text()).prop_map(|(key, text)| Change::BanKey(key, text)),
        key().prop_map(Change::UnbanKey),
        (key(), text()).prop_map(|(key, text)| Change::AllowKey(key, text)),
        key().prop_map(Change::UnallowKey),
        (key(), text()).prop_map(|(key, text)| Change::BanEvent(key, text)),
        (key(), text()).prop_map(|(key, text)| Change::AllowEvent(key, text)),
        (part, text()).prop_map(|(part, text)| Change::Text(part, text)),
        kind().prop_map(Change::AllowKind),
        kind().prop_map(Change::DisallowKind),
        (ip(), text()).prop_map(|(ip, text)| Change::BlockIp(ip, text)),
        ip().prop_map(Change::UnblockIp),
        (key(), methods()).prop_map(|(key, methods)| Change::GrantAdmin(key, methods)),
        (key(), methods()).prop_map(|(key, methods)| Change::RevokeAdmin(key, methods)),
    ]
}

proptest! {
    #[test]
    fn the_notes_alone_restore_the_state(changes in prop::collection::vec(changes(), 0..40)) {
        let mut notes = BTreeMap::new();
        let mut state = Moderation::default();
        for change in &changes {
            let note = state.note(change).expect("room");
            state.apply(&note).expect("a note");
            match note.value {
                Some(value) => notes.insert(note.name, value.into_bytes()),
                None => notes.remove(&note.name),
            };
        }
        let notes: Vec<_> = notes.into_iter().collect();
        prop_assert_eq!(Moderation::load(&notes), Ok(state));
    }
}
