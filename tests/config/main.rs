//! The configuration from outside: every key through every source, errors with their places, and
//! the binary's exit codes.

mod binary;
mod doors;
mod nostr;
mod problems;
mod push;
mod samples;

use std::collections::BTreeSet;
use std::path::PathBuf;

use corecast::config::keys::{ENDPOINT_KEYS, KEYS, environment_name};
use corecast::config::{
    Config, ConfigFile, EndpointConfig, EndpointKind, FlagValue, KIB, LogLevel, LogOutput, MIB,
    SlowClientPolicy, load,
};
use problems::problems;
use samples::{FIXED, SAMPLES, network, seconds};

/// Every key there is, those of endpoints as the hub's.
fn all_keys() -> BTreeSet<String> {
    let common = KEYS.iter().map(|key| key.path.to_owned());
    let hub = ENDPOINT_KEYS
        .iter()
        .map(|key| format!("endpoints.hub.{}", key.path));
    common.chain(hub).collect()
}

/// Whether the value of a key is shown to nobody.
fn is_secret(path: &str) -> bool {
    let of_hub = path.strip_prefix("endpoints.hub.");
    let mut endpoint_keys = ENDPOINT_KEYS.iter();
    KEYS.iter().any(|key| key.secret && key.path == path)
        || endpoint_keys.any(|key| key.secret && Some(key.path) == of_hub)
}

/// A file with one key: a mapping in a mapping.
fn file_of(path: &str, value: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    let lines = parts.iter().enumerate().map(|(depth, part)| {
        let end = if depth + 1 == parts.len() {
            format!(" {value}")
        } else {
            "\n".to_owned()
        };
        format!("{}{part}:{end}", "  ".repeat(depth))
    });
    lines.collect::<String>() + "\n"
}

fn from_file(text: &str) -> Result<Config, String> {
    from_all(text, &[], &[])
}

/// Loads; problems become lines.
fn from_all(file: &str, environment: &[(&str, &str)], set: &[&str]) -> Result<Config, String> {
    let file = ConfigFile {
        name: "config.yaml",
        text: file,
    };
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let flags: Vec<FlagValue> = set
        .iter()
        .map(|argument| FlagValue::from_set(argument).expect("KEY=VALUE"))
        .collect();
    load(Some(file), environment.iter().map(owned), &flags).map_err(|error| error.to_string())
}

#[test]
fn the_samples_are_about_every_key() {
    let sampled = SAMPLES
        .iter()
        .map(|(path, ..)| *path)
        .chain(FIXED.iter().copied());
    assert_eq!(sampled.clone().count(), all_keys().len(), "each key once");
    assert_eq!(
        sampled.map(str::to_owned).collect::<BTreeSet<_>>(),
        all_keys()
    );
}

#[test]
fn every_key_changes_only_its_field_from_every_source() {
    for (path, value, change) in SAMPLES {
        let mut expected = Config::default();
        change(&mut expected);
        assert_ne!(
            expected,
            Config::default(),
            "{path}: the sample is the default"
        );
        let expected = Ok(expected);
        assert_eq!(
            from_file(&file_of(path, value)),
            expected,
            "{path} in the file"
        );
        let variable = environment_name(path);
        assert_eq!(
            from_all("", &[(&variable, value)], &[]),
            expected,
            "{variable}"
        );
        let argument = format!("{path}={value}");
        assert_eq!(
            from_all("", &[], &[&argument]),
            expected,
            "--set {argument}"
        );
    }
}

#[test]
fn the_printed_config_loads_to_the_same_except_secrets() {
    for (path, value, _) in SAMPLES {
        let config = from_file(&file_of(path, value)).expect("a sample");
        let printed = config.to_yaml();
        if is_secret(path) {
            let secrets = value.trim_matches(['[', ']']).split(", ");
            assert!(printed.contains("(hidden)"), "{path}");
            assert!(secrets.into_iter().all(|secret| !printed.contains(secret)));
        } else {
            assert_eq!(from_file(&printed), Ok(config), "{path}");
        }
    }
}

#[test]
fn the_repositorys_file_is_the_default_and_names_every_key() {
    let text = include_str!("../../config.yaml");
    assert_eq!(from_file(text), Ok(Config::default()));
    let file: serde_yaml::Value = serde_yaml::from_str(text).expect("YAML");
    // Those of a relay are in its example.
    let is_in_example = |path: &String| path.starts_with("endpoints.hub.nostr.");
    for path in all_keys().into_iter().filter(|path| !is_in_example(path)) {
        let node = path.split('.').try_fold(&file, |node, part| node.get(part));
        assert!(node.is_some(), "{path} is not in config.yaml");
    }
    for key in KEYS {
        let plain = key.plain_environment.unwrap_or_default();
        assert!(text.contains(plain), "{plain} is not explained");
    }
}

#[test]
fn flags_beat_environment_beats_file_beats_defaults() {
    let port = |file: &str, environment: &[(&str, &str)], set: &[&str]| {
        from_all(file, environment, set)
            .expect("a config")
            .server
            .port
    };
    let file = "server: {port: 1}";
    let (plain, specific) = (("PORT", "2"), ("CORECAST_SERVER_PORT", "3"));
    assert_eq!(port("", &[], &[]), 8443);
    assert_eq!(port(file, &[], &[]), 1);
    assert_eq!(port(file, &[plain], &[]), 2);
    assert_eq!(port(file, &[specific, plain], &[]), 3);
    assert_eq!(port(file, &[specific, plain], &["server.port=4"]), 4);
    assert_eq!(port(file, &[], &["server.port=4", "server.port=5"]), 5);
}

#[test]
fn plain_names_of_earlier_relays_work() {
    let environment = [
        ("PORT", "8080"),
        ("MAX_MESSAGE_SIZE", "20MB"),
        ("READ_BUFFER_SIZE", "1MB"),
        ("WRITE_BUFFER_SIZE", "1MB"),
        ("RELAY_API_KEY", "a-key"),
    ];
    let config = from_all("", &environment, &[]).expect("a config");
    assert_eq!(config.server.port, 8080);
    assert_eq!(config.limits.message_bytes, 20 * MIB);
    let named = config.settings_of(&config.endpoints["named"]);
    assert_eq!(named.message_bytes, 20 * MIB);
    assert_eq!(config.engine.read_buffer_bytes, MIB);
    assert_eq!(config.engine.send_buffer_bytes, Some(MIB));
    assert_eq!(config.api.keys, Some(vec![samples::api_key("a-key")]));
    assert_eq!(
        KEYS.iter().filter_map(|key| key.plain_environment).count(),
        environment.len()
    );
}

#[test]
fn an_earlier_hubs_file_loads_unchanged() {
    let config = from_file(
        "server:\n  port: 8443\n  tls:\n    enabled: false\n    cert_file: \"./cert.pem\"\n    \
         key_file: \"./key.pem\"\n\nmetrics:\n  enabled: true\n  port: 9091\n\nlogging:\n  \
         output: logs/relay.log\n  level: warn\n",
    )
    .expect("a file of the earlier hub");
    assert_eq!(config.metrics.port, 9091);
    assert_eq!(config.logging.level, LogLevel::Warn);
    assert_eq!(
        config.logging.output,
        LogOutput::File(PathBuf::from("logs/relay.log"))
    );
}

#[test]
fn every_source_can_add_an_endpoint_with_kind_and_path() {
    let expected = EndpointConfig {
        echo: false,
        ..EndpointConfig::new(EndpointKind::Hub, "/lobby/**")
    };
    let file = from_file("endpoints:\n  lobby: {kind: hub, path: /lobby/**, echo: off}\n");
    let environment = from_all(
        "",
        &[
            ("CORECAST_ENDPOINTS_LOBBY_KIND", "hub"),
            ("CORECAST_ENDPOINTS_LOBBY_PATH", "/lobby/**"),
            ("CORECAST_ENDPOINTS_LOBBY_ECHO", "false"),
        ],
        &[],
    );
    for config in [file, environment] {
        let config = config.expect("a config");
        assert_eq!(config.endpoints.get("lobby"), Some(&expected));
        let built_in = Config::default().endpoints.len();
        assert_eq!(config.endpoints.len(), built_in + 1);
    }
    let found = problems("endpoints:\n  hbu: {echo: false}\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("config.yaml:2:8 endpoints.hbu: "),
        "{found:?}"
    );
    assert!(
        found[0].ends_with("no kind and no path; did you mean endpoints.hub?"),
        "{found:?}"
    );
    for empty in [
        "lobby:",
        "lobby: {}",
        "lobby: {limits: {}}",
        "lobby: {path: /lobby}",
    ] {
        let found = problems(&format!("endpoints:\n  {empty}\n"));
        assert!(
            found[0].contains("endpoint lobby is new and has no kind"),
            "{found:?}"
        );
    }
    let set = from_all("", &[], &["endpoints.lobby.echo=false"]).expect_err("no kind");
    assert!(
        set.starts_with("--set endpoints.lobby.echo: endpoint lobby is new"),
        "{set}"
    );
    let found = problems("endpoints: {a: {kind: chat, path: /a}, B: {kind: hub}}");
    assert!(
        found[0].contains("\"chat\" is not one of hub, named, push, pubsub, nostr"),
        "{found:?}"
    );
    assert!(found[1].contains("lower-case letters"), "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn an_endpoint_overrides_what_it_names_and_inherits_the_rest() {
    let config = from_file(
        "limits: {message_bytes: 2MiB, frame_bytes: 1MiB}\nkeepalive: {ping: 20s}\nendpoints:\n  \
         hub:\n    limits: {message_bytes: 64KiB}\n    slow_client: {policy: drop_newest, \
         outbox_age: off}\n    keepalive: {pong: 90s}\n",
    )
    .expect("a config");
    let settings = config.settings_of(&config.endpoints["hub"]);
    assert_eq!(settings.message_bytes, 64 * KIB);
    assert_eq!(
        settings.frame_bytes,
        64 * KIB,
        "no frame is larger than its message"
    );
    assert_eq!(settings.policy, SlowClientPolicy::DropNewest);
    assert_eq!(settings.outbox_bytes, config.slow_client.outbox_bytes);
    assert_eq!(settings.outbox_age, None);
    assert_eq!((settings.ping, settings.pong), (seconds(20), seconds(90)));
    let common = config.settings_of(&EndpointConfig::new(EndpointKind::Hub, "/"));
    assert_eq!((common.message_bytes, common.frame_bytes), (2 * MIB, MIB));
    assert_eq!((common.outbox_age, common.pong), (seconds(10), seconds(60)));
}

#[test]
fn global_settings_apply_to_named_users_by_default() {
    let named = |text: &str| {
        let config = from_file(text).expect("a config");
        let settings = config.settings_of(&config.endpoints["named"]);
        (settings.message_bytes, settings.ping, settings.pong)
    };
    let (common, own) = ((seconds(30), seconds(60)), (seconds(54), seconds(60)));
    for (file, message_bytes, (ping, pong)) in [
        ("", 10 * MIB, own),
        ("limits: {message_bytes: 2MiB}", 2 * MIB, own),
        ("limits: {message_bytes: 1MiB}", MIB, own),
        ("limits: {head_bytes: 8KiB}", 10 * MIB, own),
        ("keepalive: {ping: 30s}", 10 * MIB, common),
        ("keepalive: {pong: off}", 10 * MIB, (seconds(30), None)),
        // A default that does not fit is not used.
        ("slow_client: {outbox_bytes: 2MiB}", MIB, own),
        ("limits: {inbound_bytes: 2MiB}", MIB, own),
        (
            "endpoints: {named: {slow_client: {outbox_bytes: 2MiB}}}",
            MIB,
            own,
        ),
        (
            "limits: {message_bytes: 2MiB}\nendpoints: {named: {limits: {message_bytes: 3MiB}}}",
            3 * MIB,
            own,
        ),
        (
            "endpoints: {named: {limits: {message_bytes: null}}}",
            MIB,
            own,
        ),
    ] {
        assert_eq!(named(file), (message_bytes, ping, pong), "{file}");
    }
}

#[test]
fn an_endpoints_defaults_do_not_depend_on_key_order() {
    let expected = EndpointConfig {
        binary_out: true,
        ..EndpointConfig::new(EndpointKind::Named, "/talk/{name}")
    };
    assert_eq!(
        (expected.echo, expected.limits.message_bytes),
        (false, Some(10 * MIB))
    );
    for file in [
        "endpoints: {talk: {binary_out: true, path: '/talk/{name}', kind: named}}",
        "endpoints: {talk: {kind: named, path: '/talk/{name}', binary_out: true}}",
    ] {
        let config = from_file(file).expect("a config");
        assert_eq!(config.endpoints["talk"], expected);
        assert_eq!(from_file(&config.to_yaml()), Ok(config));
    }
    let hub = from_file("endpoints: {named: {kind: hub, path: /talk}}").expect("a config");
    assert_eq!(
        hub.endpoints["named"],
        EndpointConfig::new(EndpointKind::Hub, "/talk")
    );
    let null = "endpoints: {named: {limits: {message_bytes: null}}}";
    let config = from_file(null).expect("a config");
    assert_eq!(from_file(&config.to_yaml()), Ok(config));
}

#[test]
fn lists_come_as_yaml_or_with_commas() {
    let expected = ["10.0.0.0/8", "::1/128"].map(network).to_vec();
    let file = from_file("limits:\n  exempt_networks:\n    - 10.0.0.0/8\n    - ::1\n");
    let set = from_all("", &[], &["limits.exempt_networks=[10.0.0.0/8, '::1/128']"]);
    let variable = [("CORECAST_LIMITS_EXEMPT_NETWORKS", "10.0.0.0/8,::1/128")];
    for config in [file, set, from_all("", &variable, &[])] {
        assert_eq!(config.expect("a config").limits.exempt_networks, expected);
    }
    let none = from_all("", &[("CORECAST_LIMITS_EXEMPT_NETWORKS", "[]")], &[]);
    assert_eq!(none.expect("a config").limits.exempt_networks, []);
}

#[test]
fn empty_and_foreign_variables_change_nothing() {
    let environment = [
        ("PORT", ""),
        ("CORECAST_SERVER_PORT", ""),
        ("CORECAST_SERVICE_HOST", "10.0.0.1"),
        ("CORECAST_PORT", "tcp://10.0.0.1:8443"),
        ("CORECAST_PORT_8443_TCP_PORT", "8443"),
        ("CORECAST_COMMIT", "abc"),
        ("CORECAST_BUILD_DATE", "2026-01-01"),
        ("HOME", "/"),
    ];
    assert_eq!(from_all("", &environment, &[]), Ok(Config::default()));
}
