//! Relays for Nostr: their keys, their example in `config.yaml`, and what does not go together.

use std::time::Duration;

use corecast::config::keys::{ENDPOINT_KEYS, environment_name};
use corecast::config::{
    Config, EndpointConfig, EndpointKind, KIB, Kind, MIB, NostrConfig, SlowPolicy,
};

use crate::binary::{corecast, text};
use crate::problems::problems;
use crate::samples::{HEX_KEY, SAMPLES, api_key};
use crate::{file_of, from_all, from_file};

const MINIMAL: [&str; 2] = ["endpoints.nostr.kind=nostr", "endpoints.nostr.path=/nostr"];

/// A file with a relay at `/nostr` that has these keys too.
fn file(keys: &str) -> String {
    format!("endpoints:\n  nostr: {{kind: nostr, path: /nostr, {keys}}}\n")
}

/// The relay of a file, which loads.
fn relay(file: &str) -> EndpointConfig {
    let config = from_file(file).expect(file);
    config.endpoints["nostr"].clone()
}

/// The options of an endpoint that is a relay.
fn options(endpoint: &EndpointConfig) -> &NostrConfig {
    endpoint.nostr().expect("a relay")
}

fn default_relay() -> EndpointConfig {
    EndpointConfig::new(EndpointKind::Nostr, "/nostr")
}

/// The warnings of a file that loads.
fn warnings(file: &str) -> Vec<String> {
    from_file(file).expect(file).warnings()
}

/// `config.yaml` with its example of a relay uncommented.
fn with_example() -> String {
    let text = include_str!("../../config.yaml");
    let (mut inside, mut found) = (false, String::new());
    for line in text.lines() {
        inside = line == "  # nostr:" || inside && line.starts_with("  #   ");
        let line = match inside {
            true => line.replacen("# ", "", 1),
            false => line.to_owned(),
        };
        found += &line;
        found.push('\n');
    }
    found
}

#[test]
fn two_flags_or_variables_add_a_nostr_endpoint() {
    let mut expected = Config::default();
    expected
        .endpoints
        .insert("nostr".to_owned(), default_relay());
    let variables = [
        ("CORECAST_ENDPOINTS_NOSTR_KIND", "nostr"),
        ("CORECAST_ENDPOINTS_NOSTR_PATH", "/nostr"),
    ];
    for config in [from_all("", &[], &MINIMAL), from_all("", &variables, &[])] {
        assert_eq!(config, Ok(expected.clone()));
    }
    let settings = expected.settings_of(&expected.endpoints["nostr"]);
    assert_eq!(
        (settings.message_bytes, settings.slow_client.policy),
        (512_000, SlowPolicy::Disconnect)
    );
    let with_url = ("CORECAST_ENDPOINTS_NOSTR_NOSTR_URLS", "wss://a.example");
    let config = from_all("", &[variables[0], variables[1], with_url], &[]).expect("a config");
    let urls = &options(&config.endpoints["nostr"]).urls;
    assert_eq!(urls[0].as_str(), "wss://a.example");
    assert_eq!(urls.len(), 1);
}

#[test]
fn the_example_is_the_default_of_the_kind_and_names_every_key() {
    let text = with_example();
    let mut expected = Config::default();
    expected
        .endpoints
        .insert("nostr".to_owned(), default_relay());
    assert_eq!(from_file(&text), Ok(expected));
    let file: serde_yaml::Value = serde_yaml::from_str(&text).expect("YAML");
    let example = &file["endpoints"]["nostr"];
    let keys: Vec<&str> = ENDPOINT_KEYS
        .iter()
        .map(|key| key.path)
        .filter(|path| path.starts_with("nostr."))
        .collect();
    for path in &keys {
        let node = path
            .split('.')
            .try_fold(example, |node, part| node.get(part));
        assert!(node.is_some(), "{path} is not in the example");
    }
    assert_eq!(keys.len(), 37);
}

#[test]
fn every_nostr_key_changes_only_its_field() {
    let samples = SAMPLES.iter().filter_map(|(path, value, change)| {
        let is_own = path.starts_with("endpoints.nostr.nostr.");
        is_own.then(|| ((*path).to_owned(), value, change))
    });
    let mut count = 0;
    for (path, value, change) in samples {
        let mut changed = from_all("", &[], &MINIMAL).expect("a config");
        change(&mut changed);
        let mut expected = options(&changed.endpoints["nostr"]).clone();
        let mut environment = vec![
            ("CORECAST_ENDPOINTS_NOSTR_KIND", "nostr"),
            ("CORECAST_ENDPOINTS_NOSTR_PATH", "/nostr"),
        ];
        if expected.auth.read || expected.auth.write || !expected.admins.is_empty() {
            environment.push(("CORECAST_ENDPOINTS_NOSTR_NOSTR_URLS", "wss://a.example"));
            expected.urls = vec!["wss://a.example".parse().expect("a URL")];
        }
        let variable = environment_name(&path);
        let set = format!("{path}={value}");
        let own = [environment.clone(), vec![(&*variable, *value)]].concat();
        for config in [
            from_all(&file_of(&path, value), &environment, &[]),
            from_all("", &own, &[]),
            from_all("", &environment, &[&set]),
        ] {
            let config = config.expect(&path);
            let endpoint = EndpointConfig {
                kind: Kind::Nostr(Box::new(expected.clone())),
                ..default_relay()
            };
            assert_eq!(config.endpoints["nostr"], endpoint, "{path}");
            assert_eq!(from_file(&config.to_yaml()), Ok(config), "{path}");
        }
        count += 1;
    }
    assert!(count > 20);
}

#[test]
fn only_nostr_endpoints_print_unset_nostr_keys() {
    let has = |config: &Config, endpoint: &str, key: &str| {
        let printed: serde_yaml::Value = serde_yaml::from_str(&config.to_yaml()).expect("YAML");
        let path = format!("endpoints.{endpoint}.{key}");
        path.split('.')
            .try_fold(&printed, |node, part| node.get(part))
            .is_some()
    };
    let config = from_all("", &[], &MINIMAL).expect("a config");
    assert!(has(&config, "nostr", "nostr.events.bytes"));
    assert!(!has(&config, "hub", "nostr"));
}

#[test]
fn values_that_are_none_are_refused_at_their_place() {
    for (key, value, told) in [
        ("urls", "relay.example.com", "write wss://relay.example.com"),
        (
            "urls",
            "[https://a.example]",
            "write wss:// in place of https://",
        ),
        ("urls", "['wss://a.example/?b']", "query or a fragment"),
        ("urls", "['wss://a.example#b']", "query or a fragment"),
        ("urls", "['wss://']", "not the URL of a relay"),
        ("urls", "['wss://a@b.example']", "not the URL of a relay"),
        ("urls", "null", "not a list of URLs"),
        ("memory_events", "0", "less than the minimum, 1"),
        ("info.name", "\"\"", "not a text"),
        ("info.name", "\"a\\nb\"", "printable"),
        ("info.description", "\"a\\tb\"", "printable but for line"),
        ("info.pubkey", "npub1xyz", "not npub1"),
        ("info.pubkey", "abc", "64 lower-case hexadecimal digits"),
        ("auth.challenge", "always", "not one of demand, connect"),
        ("auth.read", "maybe", "neither true nor false"),
        ("auth.private_kinds", "[4, x]", "\"x\" is not a kind"),
        ("auth.private_kinds", "[65536]", "0 to 65535"),
        ("admins", "[npub1x]", "is not a public key"),
        ("admins", "{}", "is not a list of public keys"),
        ("auth.private_kinds", "[-1]", "0 to 65535"),
        ("auth.private_kinds", "['+1']", "0 to 65535"),
        ("auth.keys", "1001", "more than the maximum, 1000"),
        ("events.bytes", "0", "less than the minimum"),
        ("events.content_chars", "many", "(or off)"),
        ("events.future", "900", "did you mean 900s?"),
        ("events.future", "off", "not a duration"),
        ("events.past", "100ms", "less than the minimum, 1s"),
        ("events.pow", "256", "more than the maximum, 255"),
        ("events.kinds", "[]", "would accept no event at all"),
        ("events.kinds", "some", "\"some\" is not a kind"),
        ("queries.filters", "0", "less than the minimum"),
        ("queries.limit", "0", "less than the minimum"),
        ("readers", "65", "more than the maximum, 64"),
        ("readers", "0", "less than the minimum, 1"),
    ] {
        let path = format!("endpoints.hub.nostr.{key}");
        let found = problems(&file_of(&path, value));
        assert_eq!(found.len(), 1, "{key}: {found:?}");
        assert!(found[0].starts_with("config.yaml:"), "{found:?}");
        assert!(found[0].contains(&format!(" {path}: ")), "{found:?}");
        assert!(found[0].contains(told), "{found:?} tells {told}");
    }
    let upper = HEX_KEY.to_uppercase();
    let found = problems(&file_of("endpoints.hub.nostr.info.pubkey", &upper));
    assert!(found[0].contains("lower-case"), "{found:?}");
}

#[test]
fn a_secret_key_in_the_place_of_a_public_one_is_not_repeated() {
    for (key, value) in [
        ("info.pubkey", "nsec1secret".to_owned()),
        ("admins", "nsec1secret".to_owned()),
        ("admins", format!("[{HEX_KEY}, nsec1secret]")),
    ] {
        let found = problems(&file_of(&format!("endpoints.hub.nostr.{key}"), &value));
        assert!(found[0].contains("a secret key is not a public key"));
        assert!(!found[0].contains("nsec1secret"), "{found:?}");
    }
}

#[test]
fn kinds_are_a_list_numbers_with_commas_or_one_number() {
    for (written, kinds) in [
        ("[1, 2]", vec![1, 2]),
        ("\"1, 2\"", vec![1, 2]),
        ("1", vec![1]),
    ] {
        let relay = relay(&file(&format!("nostr: {{events: {{kinds: {written}}}}}")));
        assert_eq!(options(&relay).events.kinds, Some(kinds), "{written}");
    }
    let set = "endpoints.nostr.nostr.events.kinds=1,2";
    let config = from_all("", &[], &[MINIMAL[0], MINIMAL[1], set]).expect("a config");
    let kinds = &options(&config.endpoints["nostr"]).events.kinds;
    assert_eq!(*kinds, Some(vec![1, 2]));
}

#[test]
fn conflicting_nostr_keys_are_reported_with_their_place() {
    let at = |key: &str| format!(" endpoints.nostr.{key}: ");
    for (keys, place, told) in [
        (
            "nostr: {auth: {read: true}}",
            "nostr.auth.read",
            "endpoints.nostr.nostr.urls to the URL",
        ),
        (
            "nostr: {auth: {write: true}, urls: []}",
            "nostr.auth.write",
            "endpoints.nostr.nostr.urls is empty",
        ),
        (
            &format!("nostr: {{admins: [{HEX_KEY}]}}"),
            "nostr.admins",
            "no admin can sign a call (NIP-86) while endpoints.nostr.nostr.urls is empty",
        ),
        (
            "nostr: {events: {bytes: 512001}}",
            "nostr.events.bytes",
            "larger than the largest message, 500KiB",
        ),
        (
            "limits: {message_bytes: 64KiB}, nostr: {events: {bytes: 65KiB}}",
            "nostr.events.bytes",
            "larger than the largest message, 64KiB",
        ),
        (
            "nostr: {events: {bytes: 65536}}, limits: {message_bytes: 65536}, \
             slow_client: {outbox_bytes: 65600}",
            "nostr.events.bytes",
            "an outbox of 65600 bytes does not hold an event of 64KiB",
        ),
        (
            "nostr: {queries: {limit_default: 5001}}",
            "nostr.queries.limit_default",
            "would get 5001 events, which is more than the maximum of 5000",
        ),
        (
            "slow_client: {policy: drop_oldest}",
            "slow_client.policy",
            "set endpoints.nostr.slow_client.policy to disconnect",
        ),
    ] {
        let found = problems(&file(keys));
        assert_eq!(found.len(), 1, "{keys}: {found:?}");
        assert!(found[0].starts_with("config.yaml:2:"), "{found:?}");
        assert!(found[0].contains(&at(place)), "{found:?} at {place}");
        assert!(found[0].contains(told), "{found:?} tells {told}");
    }
    // Disabled endpoints and those of another kind are not checked.
    assert!(from_file(&file("enabled: false, nostr: {auth: {read: true}}")).is_ok());
}

#[test]
fn a_relay_has_an_exact_path_and_no_other_endpoint_has_it() {
    for path in ["/**", "/nostr/**", "/nostr/{name}"] {
        let found = problems(&format!(
            "endpoints: {{hub: {{enabled: false}}, relay: {{kind: nostr, path: \"{path}\"}}}}"
        ));
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        assert!(found[0].contains(" endpoints.relay.path: "), "{found:?}");
        assert!(found[0].contains("is not an exact path"), "{found:?}");
    }
    for path in ["/", "/nostr/", "/a/b"] {
        let file = format!("endpoints: {{relay: {{kind: nostr, path: {path}}}}}");
        assert!(from_file(&file).is_ok(), "{path}");
    }
    let found = problems(&(file("") + "  other: {kind: nostr, path: /nostr}\n"));
    assert!(found[0].contains("have the same path /nostr"), "{found:?}");
}

#[test]
fn two_relays_do_not_share_a_store() {
    let both = |one: &str, other: &str| {
        let relay = |name, path, store| {
            format!("  {name}: {{kind: nostr, path: {path}, nostr: {{store: {store}}}}}\n")
        };
        format!(
            "endpoints:\n{}{}",
            relay("one", "/1", one),
            relay("two", "/2", other)
        )
    };
    for (one, other) in [("events", "more"), ("null", "null"), ("events", "null")] {
        assert!(from_file(&both(one, other)).is_ok(), "{one} {other}");
    }
    let found = problems(&both("events", "events"));
    assert_eq!(found.len(), 1, "{found:?}");
    let due = "two relays cannot share a store; give each a folder of its own";
    assert!(found[0].contains(due), "{found:?}");
    assert!(found[0].contains("endpoints.one.nostr.store"), "{found:?}");
    let found = problems(&both("''", "more"));
    assert!(found[0].contains("is not a path"), "{found:?}");
}

#[test]
fn nostr_closes_slow_clients_despite_the_global_policy() {
    for common in ["drop_oldest", "drop_newest", "latest_only", "disconnect"] {
        let text = format!("slow_client: {{policy: {common}}}\n");
        for own in [
            "",
            "slow_client: {policy: null}",
            "slow_client: {policy: disconnect}",
        ] {
            let config = from_file(&(text.clone() + &file(own))).expect("a config");
            let settings = config.settings_of(&config.endpoints["nostr"]);
            assert_eq!(
                settings.slow_client.policy,
                SlowPolicy::Disconnect,
                "{common}"
            );
        }
    }
}

#[test]
fn a_default_of_a_relay_yields_to_what_is_set_beside_it() {
    for (text, own, message_bytes, event_bytes) in [
        ("", "", 512_000, 256 * KIB),
        ("limits: {message_bytes: 2MiB}", "", 2 * MIB, 256 * KIB),
        ("limits: {message_bytes: 64KiB}", "", 64 * KIB, 64 * KIB),
        ("", "limits: {message_bytes: 64KiB}", 64 * KIB, 64 * KIB),
        ("", "limits: {message_bytes: null}", MIB, 256 * KIB),
        (
            "",
            "limits: {message_bytes: 65536}, slow_client: {outbox_bytes: 65KiB}",
            64 * KIB,
            64 * KIB,
        ),
        (
            "",
            "limits: {message_bytes: 65536}, slow_client: {outbox_bytes: 65600}",
            64 * KIB,
            65_600 - 512,
        ),
    ] {
        let config = from_file(&format!("{text}\n{}", file(own))).expect(own);
        let endpoint = &config.endpoints["nostr"];
        assert_eq!(config.settings_of(endpoint).message_bytes, message_bytes);
        assert_eq!(options(endpoint).events.bytes, event_bytes, "{text} {own}");
        assert_eq!(from_file(&config.to_yaml()), Ok(config.clone()));
    }
    let relay = relay(&file("nostr: {queries: {limit: 20}}"));
    let queries = &options(&relay).queries;
    assert_eq!((queries.limit, queries.limit_default), (20, 20));
}

#[test]
fn policies_are_listed_by_name_and_wrong_ones_are_refused() {
    let listed = relay(&file(
        "nostr: {urls: ['wss://a.example'], \
         policies: [must_auth, restrict_to_specified_kinds=0 1]}",
    ));
    let read: Vec<String> = options(&listed)
        .policies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(read, ["must_auth", "restrict_to_specified_kinds=0 1"]);
    let found = problems(&file("nostr: {policies: [no_empty_filter, must_auth=1]}"));
    let told = "\"no_empty_filter\" is not a policy; did you mean no_empty_filters?; \
                \"must_auth=1\" takes no value";
    assert!(found.len() == 1 && found[0].ends_with(told), "{found:?}");
    let found = problems(&file("nostr: {policies: [must_auth]}"));
    assert!(
        found[0].contains("nostr.policies has must_auth, but nobody can prove"),
        "{found:?}"
    );
}

#[test]
fn unusual_nostr_settings_cause_warnings() {
    let kinds = "endpoints.nostr.nostr.urls: the list is empty, so nobody can prove a key \
                 (NIP-42), and events of private kinds (4, 1059, 21059) are refused";
    let found = warnings(&file(""));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with(kinds), "{found:?}");
    for quiet in [
        "nostr: {urls: ['wss://a.example'], auth: {challenge: connect}}",
        "nostr: {auth: {private_kinds: []}}",
        "nostr: {events: {kinds: [1]}}",
        "enabled: false",
    ] {
        assert_eq!(warnings(&file(quiet)), [""; 0], "{quiet}");
    }
    let some = warnings(&file("nostr: {events: {kinds: [1, 1059]}}"));
    assert!(some[0].contains("kinds (1059) are"), "{some:?}");
    let connect = "nostr: {auth: {private_kinds: [], challenge: connect}}";
    let found = warnings(&file(connect));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("endpoints.nostr.nostr.auth.challenge: connect does nothing"));
}

#[test]
fn an_endpoint_at_the_root_hides_the_default_room_and_warns() {
    let rooms = |text: &str| {
        let mut found = warnings(text);
        found.retain(|warning| warning.contains("default room"));
        found
    };
    for kind in ["nostr", "pubsub"] {
        let text = format!("endpoints: {{relay: {{kind: {kind}, path: /}}}}");
        let expected = "endpoints.relay.path: endpoint hub loses its default room / to endpoint \
                        relay, since an exact path beats /**";
        assert_eq!(rooms(&text), [expected]);
    }
    for quiet in [
        "endpoints: {relay: {kind: nostr, path: /nostr}}",
        "endpoints: {relay: {kind: nostr, path: /, enabled: false}}",
        "endpoints: {hub: {enabled: false}, relay: {kind: nostr, path: /}}",
        "endpoints: {hub: {path: /chat/**}, relay: {kind: nostr, path: /}}",
        "endpoints: {hub: {path: /}}",
    ] {
        assert_eq!(rooms(quiet), [""; 0], "{quiet}");
    }
}

#[test]
fn check_prints_a_relay_and_what_is_odd_about_it() {
    let flags = ["--set", MINIMAL[0], "--set", "endpoints.nostr.path=/"];
    let output = corecast(&[], &[&["--check"], &flags[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let config = from_file(text(&output.stdout)).expect("what it prints loads");
    let expected = EndpointConfig::new(EndpointKind::Nostr, "/");
    assert_eq!(config.endpoints["nostr"], expected);
    let said: Vec<&str> = text(&output.stderr).lines().collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[1].starts_with("warning: endpoints.nostr.path: endpoint hub loses"));
    assert!(said[2].starts_with("warning: endpoints.nostr.nostr.urls: the list is empty"));
}

#[test]
fn the_page_of_the_api_names_every_kind() {
    let kinds: Vec<&str> = EndpointKind::ALL.iter().map(|(name, _)| *name).collect();
    let expected = format!("kind: {{enum: [{}]}}", kinds.join(", "));
    let page = include_str!("../../docs/openapi.yaml");
    assert!(page.contains(&expected), "{expected}");
}

#[test]
fn nostr_limits_reload_live_and_the_rest_needs_a_restart() {
    let running = from_file(&file("")).expect("a config");
    let wanted = from_file(&file(
        "nostr: {readers: 2, events: {future: 1h}, auth: {keys: 3}}, limits: {message_bytes: 1MiB}",
    ));
    let reloaded = running
        .reloaded(wanted.expect("a config"))
        .expect("no door");
    let changes: Vec<(&str, bool)> = reloaded
        .changes
        .iter()
        .map(|change| (change.path.as_str(), change.needs_restart))
        .collect();
    assert_eq!(
        changes,
        [
            ("endpoints.nostr.nostr.auth.keys", true),
            ("endpoints.nostr.nostr.events.future", true),
            ("endpoints.nostr.nostr.readers", true),
            ("endpoints.nostr.limits.message_bytes", false),
        ]
    );
    let endpoint = &reloaded.config.endpoints["nostr"];
    assert_eq!(endpoint.kind, default_relay().kind);
    assert_eq!(options(endpoint).events.future, Duration::from_secs(900));
    assert_eq!(endpoint.limits.message_bytes, Some(MIB));
    // A kind waits too, and until then no event is left out.
    let text = "slow_client: {policy: drop_oldest}\nendpoints: {nostr: {kind: hub, path: /nostr}}";
    let hub = from_file(text).expect("a config");
    let config = running.reloaded(hub).expect("no door").config;
    let endpoint = &config.endpoints["nostr"];
    assert_eq!(endpoint.kind, EndpointKind::Nostr);
    let policy = config.settings_of(endpoint).slow_client.policy;
    assert_eq!(policy, SlowPolicy::Disconnect);
}

#[test]
fn an_endpoint_named_like_a_section_keeps_its_keys() {
    let key = "a-key-of-0123456789";
    let variables = [
        ("CORECAST_ENDPOINTS_MY_NOSTR_AUTH_KEYS", key),
        ("CORECAST_ENDPOINTS_MY_NOSTR_KIND", "nostr"),
        ("CORECAST_ENDPOINTS_MY_NOSTR_PATH", "/my"),
    ];
    let set = [
        "endpoints.my_nostr.kind=nostr",
        "endpoints.my_nostr.path=/my",
    ];
    let text = "endpoints: {my_nostr: {kind: nostr, path: /my}}";
    for config in [
        from_all("", &variables, &[]),
        from_all("", &variables[..1], &set),
        from_all(text, &variables[..1], &[]),
    ] {
        let endpoint = &config.expect("a config").endpoints["my_nostr"];
        assert_eq!(endpoint.auth.keys, Some(vec![api_key(key)]));
        assert_eq!(options(endpoint).auth.keys, 16);
    }
}
