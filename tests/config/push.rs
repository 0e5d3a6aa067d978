//! Push endpoints: the file and the variables of the relay that they come from, and what does not
//! go together.

use std::time::Duration;

use corecast::config::keys::PLAIN_ENDPOINT_ENVIRONMENT;
use corecast::config::{Config, EndpointConfig, EndpointKind, Kind, PushOptions};

use crate::problems::problems;
use crate::samples::api_key;
use crate::{from_all, from_file};

/// As the earlier relay writes it.
const CONFIG_JSON: &str = "{\n  \"port\": \"3000\",\n  \"api_key\": \"a,key\",\n  \
                           \"ws_path\": \"/socket\",\n  \"push_path\": \"/internal/push\"\n}";

fn push(config: &Config) -> &EndpointConfig {
    &config.endpoints["push"]
}

fn push_path(config: &Config) -> Option<&str> {
    push(config).push()?.push_path.as_deref()
}

#[test]
fn a_push_endpoint_is_there_without_being_written_down() {
    let config = Config::default();
    let endpoint = push(&config);
    assert_eq!(
        (endpoint.kind.which(), endpoint.enabled),
        (EndpointKind::Push, true)
    );
    assert_eq!(endpoint.path, "/ws");
    assert_eq!(push_path(&config), Some("/api/push"));
    assert_eq!(config.api.keys, None, "no key that everybody knows");
    assert_eq!(config.endpoints["hub"].path, "/**");
}

#[test]
fn the_earlier_relays_file_loads_unchanged() {
    let config = from_file(CONFIG_JSON).expect("a file of the earlier relay");
    assert_eq!(config.server.port, 3000);
    assert_eq!(
        config.api.keys,
        Some(vec![api_key("a,key")]),
        "one key, comma and all"
    );
    assert_eq!(push(&config).path, "/socket");
    assert_eq!(push_path(&config), Some("/internal/push"));
}

#[test]
fn a_flat_key_that_is_absent_or_empty_leaves_the_default() {
    let empty = "{\"port\": \"\", \"api_key\": \"\", \"ws_path\": \"\", \"push_path\": \"\"}";
    assert_eq!(from_file(empty), Ok(Config::default()));
    let config = from_file("{\"port\": 3000}").expect("a file of the earlier relay");
    assert_eq!(
        (config.server.port, push(&config).path.as_str()),
        (3000, "/ws")
    );
}

#[test]
fn variables_beat_the_earlier_relays_file_and_flags_beat_both() {
    let plain = [
        ("PORT", "4000"),
        ("RELAY_API_KEY", "other"),
        ("WS_PATH", "/w"),
        ("PUSH_PATH", "/p"),
    ];
    let of_endpoints = PLAIN_ENDPOINT_ENVIRONMENT.iter();
    let of_push = of_endpoints.filter(|(_, path)| path.starts_with("endpoints.push."));
    assert!(of_push.map(|(name, _)| *name).eq(["WS_PATH", "PUSH_PATH"]));
    let seen = |config: Result<Config, String>| {
        let config = config.expect("a config");
        let endpoint = push(&config);
        let paths = (endpoint.path.clone(), push_path(&config).map(str::to_owned));
        (config.server.port, config.api.keys.clone(), paths)
    };
    let paths = |path: &str, push_path: &str| (path.to_owned(), Some(push_path.to_owned()));
    assert_eq!(
        seen(from_all(CONFIG_JSON, &plain, &[])),
        (4000, Some(vec![api_key("other")]), paths("/w", "/p"))
    );
    let specific = [plain[2], ("CORECAST_ENDPOINTS_PUSH_PATH", "/specific")];
    assert_eq!(
        seen(from_all(CONFIG_JSON, &specific, &[])).2,
        paths("/specific", "/internal/push")
    );
    let flags = [
        "server.port=5000",
        "api.keys=third",
        "endpoints.push.path=/x",
        "endpoints.push.push_path=/y",
    ];
    assert_eq!(
        seen(from_all(CONFIG_JSON, &plain, &flags)),
        (5000, Some(vec![api_key("third")]), paths("/x", "/y"))
    );
}

#[test]
fn the_earlier_relays_variable_is_one_key_whatever_is_in_it() {
    for key in ["a,key", "#key", "[key]", "null", "\"key\"", "1e3", "key:"] {
        let config = from_all(CONFIG_JSON, &[("RELAY_API_KEY", key)], &[]);
        assert_eq!(config.expect(key).api.keys, Some(vec![api_key(key)]));
    }
    let keys = from_all(CONFIG_JSON, &[("CORECAST_API_KEYS", "one,two")], &[]);
    assert_eq!(
        keys.expect("keys").api.keys,
        Some(vec![api_key("one"), api_key("two")])
    );
}

#[test]
fn one_key_under_two_names_is_a_problem() {
    for file in [
        "port: 3000\nserver: {port: 4000}\n",
        "server: {port: 4000}\nport: 3000\n",
        "ws_path: /a\nendpoints: {push: {path: /b}}\n",
    ] {
        let found = problems(file);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("is written twice"), "{found:?}");
    }
}

#[test]
fn the_earlier_relays_key_is_never_shown() {
    let config = from_file(CONFIG_JSON).expect("a file of the earlier relay");
    assert!(!config.to_yaml().contains("a,key") && !format!("{config:?}").contains("a,key"));
    let bad = CONFIG_JSON.replace("a,key", "a secret with spaces");
    let found = problems(&bad);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("api.keys") && !found[0].contains("spaces"),
        "{found:?}"
    );
}

#[test]
fn a_bad_flat_key_is_a_problem_at_its_place() {
    let found = problems("{\n  \"port\": \"x\",\n  \"ws_path\": \"no slash\"\n}");
    assert!(
        found[0].starts_with("config.yaml:2:11 server.port: "),
        "{found:?}"
    );
    assert!(
        found[1].starts_with("config.yaml:3:14 endpoints.push.path: "),
        "{found:?}"
    );
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn an_endpoint_of_its_kind_has_its_defaults_and_other_paths() {
    let config = from_file("endpoints:\n  more: {push_path: /more, path: /m, kind: push}\n");
    let options = PushOptions {
        push_path: Some("/more".to_owned()),
        ..PushOptions::default()
    };
    let expected = EndpointConfig {
        kind: Kind::Push(options),
        ..EndpointConfig::new(EndpointKind::Push, "/m")
    };
    assert_eq!(config.expect("a config").endpoints["more"], expected);
    let found = problems("endpoints:\n  more: {path: /m, kind: push}\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("/api/push is already used"), "{found:?}");
}

#[test]
fn paths_and_files_that_meet_are_conflicts() {
    let one =
        |key: &str, value: &str| problems(&format!("endpoints: {{push: {{{key}: {value}}}}}"));
    for path in ["/api/**", "/api/", "/ws", "/health"] {
        let found = one("push_path", path);
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        assert!(found[0].contains("endpoints.push.push_path: "), "{found:?}");
    }
    for path in ["/api/push/pending", "/api/push/pending/{number}"] {
        let found = problems(&format!(
            "endpoints: {{lobby: {{kind: hub, path: \"{path}\"}}}}"
        ));
        assert!(found[0].contains("is already used"), "{path}: {found:?}");
    }
    let found = problems("pages: {enabled: true}\nendpoints: {push: {push_path: /demo}}");
    assert!(found[0].contains("/demo is already used"), "{found:?}");
    let more = "kind: push, path: /m, push_path: /more, journal: a.redb";
    let found = problems(&format!(
        "endpoints: {{push: {{journal: a.redb}}, more: {{{more}}}}}"
    ));
    assert!(found[0].contains("cannot share a journal"), "{found:?}");
    let found = problems("limits: {rooms_per_connection: 2}");
    assert!(found[0].contains("needs 3 rooms"), "{found:?}");
    let off = "limits: {rooms_per_connection: 2}\nendpoints: {push: {enabled: false}}";
    assert!(from_file(off).is_ok());
}

#[test]
fn delays_are_bounded_by_a_week() {
    let config = Config::default();
    let options = push(&config).push().expect("a push endpoint");
    assert_eq!(options.delay_max, Duration::from_secs(7 * 24 * 3_600));
    assert_eq!(problems("endpoints: {push: {delay_max: 169h}}").len(), 1);
}
