//! The configuration from outside: every key through every source, errors with their places, and
//! the binary's exit codes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use corecast::config::keys::{ENDPOINT_KEYS, KEYS, environment_name};
use corecast::config::{
    Config, ConfigFile, ConnectionLimit, EndpointConfig, EndpointKind, FlagValue, KIB, LogFormat,
    LogLevel, LogOutput, MIB, Shards, SlowClientPolicy, load,
};
use proptest::prelude::*;

/// A key, a value for it that is not its default, and the field that it has to change.
type Sample = (&'static str, &'static str, fn(&mut Config));

const SAMPLES: &[Sample] = &[
    ("server.host", "127.0.0.1", |c| {
        c.server.host = IpAddr::V4(Ipv4Addr::LOCALHOST)
    }),
    ("server.port", "8080", |c| c.server.port = 8080),
    ("server.tls.cert_file", "tls/cert.pem", |c| {
        c.server.tls.cert_file = Some(PathBuf::from("tls/cert.pem"));
    }),
    ("server.tls.key_file", "key.pem", |c| {
        c.server.tls.key_file = Some(PathBuf::from("key.pem"))
    }),
    ("engine.shards", "3", |c| c.engine.shards = Shards::Count(3)),
    ("engine.pin", "true", |c| c.engine.pin = true),
    ("engine.spin_us", "50", |c| c.engine.spin_us = 50),
    ("engine.read_buffer_bytes", "1MB", |c| {
        c.engine.read_buffer_bytes = MIB
    }),
    ("engine.send_buffer_bytes", "64KiB", |c| {
        c.engine.send_buffer_bytes = Some(64 * KIB)
    }),
    ("limits.message_bytes", "10 MB", |c| {
        c.limits.message_bytes = 10 * MIB
    }),
    ("limits.frame_bytes", "4096", |c| {
        c.limits.frame_bytes = Some(4096)
    }),
    ("limits.head_bytes", "8KiB", |c| {
        c.limits.head_bytes = 8 * KIB
    }),
    ("limits.connections", "off", |c| {
        c.limits.connections = ConnectionLimit::Unlimited
    }),
    ("limits.connections_per_ip", "0", |c| {
        c.limits.connections_per_ip = None
    }),
    ("limits.exempt_networks", "10.0.0.0/8, 192.0.2.1", |c| {
        c.limits.exempt_networks = ["10.0.0.0/8", "192.0.2.1/32"].map(network).to_vec();
    }),
    ("limits.inbound_bytes", "1GiB", |c| {
        c.limits.inbound_bytes = KIB * MIB
    }),
    ("limits.rooms_per_connection", "7", |c| {
        c.limits.rooms_per_connection = 7
    }),
    ("limits.room_name_bytes", "100", |c| {
        c.limits.room_name_bytes = 100
    }),
    ("slow_client.policy", "drop_oldest", |c| {
        c.slow_client.policy = SlowClientPolicy::DropOldest
    }),
    ("slow_client.outbox_bytes", "2MiB", |c| {
        c.slow_client.outbox_bytes = 2 * MIB
    }),
    ("slow_client.outbox_age", "off", |c| {
        c.slow_client.outbox_age = None
    }),
    ("slow_client.process_bytes", "16MiB", |c| {
        c.slow_client.process_bytes = 16 * MIB
    }),
    ("keepalive.ping", "10s", |c| c.keepalive.ping = seconds(10)),
    ("keepalive.pong", "1m30s", |c| {
        c.keepalive.pong = seconds(90)
    }),
    ("timeouts.handshake", "250ms", |c| {
        c.timeouts.handshake = Duration::from_millis(250)
    }),
    ("timeouts.message", "1h", |c| {
        c.timeouts.message = Duration::from_secs(3600)
    }),
    ("timeouts.close", "1s", |c| {
        c.timeouts.close = Duration::from_secs(1)
    }),
    ("shutdown.delay", "3s", |c| {
        c.shutdown.delay = Duration::from_secs(3)
    }),
    ("shutdown.timeout", "0", |c| {
        c.shutdown.timeout = Duration::ZERO
    }),
    ("metrics.enabled", "no", |c| c.metrics.enabled = false),
    ("metrics.host", "::1", |c| {
        c.metrics.host = Some("::1".parse().expect("an address"))
    }),
    ("metrics.port", "0", |c| c.metrics.port = 0),
    ("health.status_word", "ok", |c| {
        c.health.status_word = "ok".to_owned()
    }),
    ("health.users", "false", |c| c.health.users = false),
    ("logging.level", "DEBUG", |c| {
        c.logging.level = LogLevel::Debug
    }),
    ("logging.format", "json", |c| {
        c.logging.format = LogFormat::Json
    }),
    ("logging.output", "relay.log", |c| {
        c.logging.output = LogOutput::File(PathBuf::from("relay.log"));
    }),
    ("endpoints.hub.path", "/chat/**", |c| {
        hub(c).path = "/chat/**".to_owned()
    }),
    ("endpoints.hub.enabled", "false", |c| hub(c).enabled = false),
    ("endpoints.hub.echo", "false", |c| hub(c).echo = false),
    ("endpoints.hub.limits.message_bytes", "2KB", |c| {
        hub(c).limits.message_bytes = Some(2 * KIB);
    }),
    ("endpoints.hub.limits.frame_bytes", "off", |c| {
        hub(c).limits.frame_bytes = Some(None)
    }),
    ("endpoints.hub.slow_client.policy", "latest_only", |c| {
        hub(c).slow_client.policy = Some(SlowClientPolicy::LatestOnly);
    }),
    ("endpoints.hub.slow_client.outbox_bytes", "3MiB", |c| {
        hub(c).slow_client.outbox_bytes = Some(3 * MIB);
    }),
    ("endpoints.hub.slow_client.outbox_age", "5s", |c| {
        hub(c).slow_client.outbox_age = Some(seconds(5));
    }),
    ("endpoints.hub.keepalive.ping", "off", |c| {
        hub(c).keepalive.ping = Some(None)
    }),
    ("endpoints.hub.keepalive.pong", "2m", |c| {
        hub(c).keepalive.pong = Some(seconds(120))
    }),
];

/// Keys that have one legal value in this version, and so cannot change anything.
const FIXED: &[&str] = &["server.tls.enabled", "endpoints.hub.kind"];

fn network(text: &str) -> corecast::config::Network {
    text.parse().expect("a network")
}

fn seconds(count: u64) -> Option<Duration> {
    Some(Duration::from_secs(count))
}

fn hub(config: &mut Config) -> &mut EndpointConfig {
    config
        .endpoints
        .get_mut("hub")
        .expect("the built-in endpoint")
}

/// Every key there is, those of endpoints as the hub's.
fn all_keys() -> BTreeSet<String> {
    let common = KEYS.iter().map(|key| key.path.to_owned());
    let hub = ENDPOINT_KEYS
        .iter()
        .map(|key| format!("endpoints.hub.{}", key.path));
    common.chain(hub).collect()
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

/// The lines of problems of a file that has some.
fn problems(text: &str) -> Vec<String> {
    let problems = from_file(text).expect_err("a file with problems");
    problems.lines().map(str::to_owned).collect()
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
fn every_key_changes_its_field_and_no_other_from_file_environment_and_flags() {
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
fn what_check_prints_loads_to_the_same_config() {
    for (path, value, _) in SAMPLES {
        let config = from_file(&file_of(path, value)).expect("a sample");
        assert_eq!(from_file(&config.to_yaml()), Ok(config), "{path}");
    }
}

#[test]
fn every_key_refuses_a_mapping_with_its_place() {
    for path in all_keys() {
        let found = problems(&file_of(&path, "{surprise: 1}"));
        let depth = path.matches('.').count();
        let column = 2 * depth + path.rsplit('.').next().map_or(0, str::len) + 3;
        let place = format!("config.yaml:{}:{column} {path}: ", depth + 1);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&place), "{found:?} at {place}");
        assert!(found[0].contains("a mapping"), "{found:?}");
    }
}

#[test]
fn the_repositorys_file_is_the_default_and_names_every_key() {
    let text = include_str!("../config.yaml");
    assert_eq!(from_file(text), Ok(Config::default()));
    let file: serde_yaml::Value = serde_yaml::from_str(text).expect("YAML");
    for path in all_keys() {
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
        ("MAX_MESSAGE_SIZE", "10MB"),
        ("READ_BUFFER_SIZE", "1MB"),
        ("WRITE_BUFFER_SIZE", "1MB"),
    ];
    let config = from_all("", &environment, &[]).expect("a config");
    assert_eq!(config.server.port, 8080);
    assert_eq!(config.limits.message_bytes, 10 * MIB);
    assert_eq!(config.engine.read_buffer_bytes, MIB);
    assert_eq!(config.engine.send_buffer_bytes, Some(MIB));
    assert_eq!(
        KEYS.iter().filter_map(|key| key.plain_environment).count(),
        environment.len()
    );
}

#[test]
fn a_file_of_the_earlier_hub_loads_as_it_is() {
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
fn tls_is_an_error_wherever_it_is_switched_on() {
    let file = from_file("server:\n  tls:\n    enabled: true\n").expect_err("no TLS");
    assert!(
        file.starts_with("config.yaml:3:14 server.tls.enabled: this version has no TLS"),
        "{file}"
    );
    let environment = from_all("", &[("CORECAST_SERVER_TLS_ENABLED", "true")], &[]);
    let environment = environment.expect_err("no TLS");
    assert!(
        environment.starts_with("environment CORECAST_SERVER_TLS_ENABLED: "),
        "{environment}"
    );
    let flag = from_all("", &[], &["server.tls.enabled=true"]).expect_err("no TLS");
    assert!(flag.starts_with("--set server.tls.enabled: "), "{flag}");
    assert!(from_file("server: {tls: {enabled: false}}").is_ok());
}

#[test]
fn all_problems_of_all_sources_come_at_once_with_place_and_suggestion() {
    let file = "server:\n  prot: 8080\n  tls: {cert: x}\nengine: 4\nkeepalive:\n  ping: 30\n\
                slow_client: {policy: drop-oldest}\nport: 3000\nlimits: {message_bytes: 1XB}\n";
    let environment = [
        ("CORECAST_SERVER_PROT", "1"),
        ("PORT", "abc"),
        ("CORECAST_METRICS_PORT", "70000"),
    ];
    let error = from_all(file, &environment, &["server.prt=1", "limits=2"]).expect_err("problems");
    let expected = [
        ("config.yaml:2:3 server.prot", "did you mean server.port?"),
        (
            "config.yaml:3:9 server.tls.cert",
            "did you mean server.tls.cert_file?",
        ),
        ("config.yaml:4:9 engine", "is a section"),
        ("config.yaml:6:9 keepalive.ping", "did you mean 30s?"),
        (
            "config.yaml:7:23 slow_client.policy",
            "did you mean drop_oldest?",
        ),
        ("config.yaml:8:1 port", "did you mean server.port?"),
        ("config.yaml:9:25 limits.message_bytes", "such as 64KiB"),
        ("environment PORT", "\"abc\" is not a port"),
        (
            "environment CORECAST_METRICS_PORT",
            "\"70000\" is not a port",
        ),
        (
            "environment CORECAST_SERVER_PROT",
            "did you mean CORECAST_SERVER_PORT?",
        ),
        ("--set server.prt", "did you mean server.port?"),
        ("--set limits", "is a section"),
    ];
    assert_eq!(error.lines().count(), expected.len(), "{error}");
    for (line, (place, part)) in error.lines().zip(expected) {
        assert!(line.starts_with(&format!("{place}: ")), "{line} at {place}");
        assert!(line.contains(part), "{line} says {part}");
    }
}

#[test]
fn keys_that_do_not_go_together_are_reported_where_one_of_them_was_set() {
    for (file, place) in [
        (
            "limits: {message_bytes: 16MiB}",
            "config.yaml:1:25 limits.message_bytes: an outbox",
        ),
        (
            "slow_client: {outbox_bytes: 1MiB}",
            "config.yaml:1:29 slow_client.outbox_bytes: ",
        ),
        (
            "limits: {frame_bytes: 2MiB}",
            "config.yaml:1:23 limits.frame_bytes: a frame of 2MiB",
        ),
        (
            "limits: {inbound_bytes: 1000KiB}",
            "config.yaml:1:25 limits.inbound_bytes: ",
        ),
        (
            "slow_client: {process_bytes: 15MiB}",
            "config.yaml:1:30 slow_client.process_bytes: ",
        ),
        (
            "keepalive: {ping: 1m}",
            "config.yaml:1:19 keepalive.ping: pong, 1m, must be longer",
        ),
        (
            "keepalive: {pong: 30s}",
            "config.yaml:1:19 keepalive.pong: pong, 30s, must be longer",
        ),
        (
            "server: {port: 9090}",
            "config.yaml:1:16 server.port: server.port and metrics.port",
        ),
        (
            "metrics: {port: 8443, host: 127.0.0.1}",
            "config.yaml:1:17 metrics.port: ",
        ),
        (
            "endpoints: {b: {kind: hub, path: /**}}",
            "config.yaml:1:34 endpoints.b.path: endpoints",
        ),
        (
            "endpoints: {hub: {limits: {frame_bytes: 2MiB}}}",
            "config.yaml:1:41 endpoints.hub.limi",
        ),
        (
            "endpoints: {hub: {limits: {message_bytes: 20MiB}}}",
            "config.yaml:1:43 endpoints.hub.",
        ),
        (
            "endpoints: {hub: {keepalive: {ping: 2m}}}",
            "config.yaml:1:37 endpoints.hub.keepalive.",
        ),
        (
            "endpoints: {hub: {slow_client: {outbox_bytes: 600MiB}}}",
            "config.yaml:1:47 endpoints",
        ),
        (
            "endpoints: {hub: {slow_client: {outbox_bytes: 1MiB}}}",
            "config.yaml:1:47 endpoints",
        ),
    ] {
        let found = problems(file);
        assert_eq!(found.len(), 1, "{file}: {found:?}");
        assert!(found[0].starts_with(place), "{file}: {found:?} at {place}");
    }
}

#[test]
fn keys_that_go_together_just_so_are_fine() {
    for file in [
        "slow_client: {outbox_bytes: 1048586}",
        "limits: {frame_bytes: 1MiB}",
        "slow_client: {process_bytes: 16MiB}",
        "keepalive: {ping: 59s}",
        "keepalive: {ping: off, pong: 10s}",
        "keepalive: {pong: off, ping: 10m}",
        "server: {port: 0}\nmetrics: {port: 0}",
        "server: {port: 9090}\nmetrics: {enabled: false}",
        "server: {port: 9090, host: 127.0.0.1}\nmetrics: {host: 127.0.0.2}",
        "endpoints: {hub: {enabled: false}, b: {kind: hub, path: /**}}",
    ] {
        assert_eq!(from_file(file).map(drop), Ok(()), "{file}");
    }
}

#[test]
fn a_value_that_cannot_be_read_raises_no_second_problem() {
    let found = problems("limits: {message_bytes: 32MiB}\nslow_client: {outbox_bytes: 64Mib!}\n");
    assert_eq!(
        found.len(),
        2,
        "the outbox, and the memory for parts of messages? {found:?}"
    );
}

#[test]
fn an_endpoint_can_be_added_from_every_source_and_needs_kind_and_path() {
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
        assert_eq!(config.endpoints.len(), 2);
    }
    let found = problems("endpoints:\n  hbu: {echo: false}\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("config.yaml:2:15 endpoints.hbu.echo: "),
        "{found:?}"
    );
    assert!(
        found[0].ends_with("no kind and no path; did you mean endpoints.hub?"),
        "{found:?}"
    );
    let found = problems("endpoints: {a: {kind: chat, path: /a}, B: {kind: hub}}");
    assert!(found[0].contains("\"chat\" is not one of hub"), "{found:?}");
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
fn values_out_of_bounds_are_refused() {
    for (path, value) in [
        ("server.port", "65536"),
        ("server.port", "-1"),
        ("server.host", "example.com"),
        ("engine.shards", "0"),
        ("engine.shards", "256"),
        ("engine.spin_us", "1000001"),
        ("engine.read_buffer_bytes", "1KiB"),
        ("engine.pin", "perhaps"),
        ("limits.message_bytes", "0"),
        ("limits.message_bytes", "2GiB"),
        ("limits.rooms_per_connection", "0"),
        ("limits.connections", "many"),
        ("limits.exempt_networks", "10.0.0.0/33"),
        ("limits.exempt_networks", "[[10.0.0.0/8]]"),
        ("slow_client.outbox_age", "10"),
        ("timeouts.handshake", "off"),
        ("timeouts.message", "0"),
        ("timeouts.close", "200h"),
        ("health.status_word", "\"\""),
        ("logging.output", "\"\""),
        ("endpoints.hub.path", "chat"),
        ("endpoints.hub.path", "/ws/{username}"),
        ("endpoints.hub.kind", "named"),
        ("server.port", "null"),
    ] {
        let found = problems(&file_of(path, value));
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        assert!(found[0].contains(&format!(" {path}: ")), "{found:?}");
    }
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
fn variables_that_are_empty_or_somebody_elses_change_nothing() {
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

#[test]
fn duplicates_and_broken_yaml_have_their_place() {
    let found = problems("server: {port: 1}\nmetrics: {port: 2}\nserver: {port: 3}\n");
    assert_eq!(
        found,
        ["config.yaml:3:1 server: is written twice; remove one"]
    );
    let found = problems("server:\n  port: [1\nmetrics: 2\n");
    assert!(found[0].starts_with("config.yaml:3:8: "), "{found:?}");
    for text in [
        "- a list",
        "only a word",
        "a: 1\n---\nb: 2\n",
        "server: !secret x",
        "\u{0}",
    ] {
        assert_eq!(problems(text).len(), 1, "{text:?}");
    }
    for text in ["", "# nothing\n", "server:\nendpoints:\n  hub:\n", "{}"] {
        assert_eq!(from_file(text), Ok(Config::default()), "{text:?}");
    }
}

#[test]
fn a_file_with_thousands_of_problems_is_reported_whole() {
    let text: String = (0..5_000)
        .map(|index| format!("key_{index}: 1\n"))
        .collect();
    assert_eq!(problems(&text).len(), 5_000);
}

/// Texts that look like a config: keys, values and punctuation in any order.
fn yaml_like() -> impl Strategy<Value = String> {
    let parts = [
        "server:",
        "port:",
        "endpoints:",
        "hub:",
        "limits:",
        "exempt_networks:",
        "ping:",
        "kind: ",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        ": ",
        "&a ",
        "*a",
        "!t ",
        "| ",
        "\"",
        "'",
        "#",
        "null",
        "true",
        "8443",
        "1MiB",
        "30s",
        "-1",
        "0x10",
        ".nan",
        "<<: ",
        "---",
    ];
    proptest::collection::vec(proptest::sample::select(parts.as_slice()), 0..40)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_file_panics(text in prop_oneof![yaml_like(), "\\PC{0,200}", any::<String>()]) {
        if let Ok(config) = from_file(&text) {
            prop_assert_eq!(from_file(&config.to_yaml()), Ok(config));
        }
    }

    #[test]
    fn no_value_of_any_key_panics(
        key in proptest::sample::select(SAMPLES),
        value in prop_oneof![yaml_like(), "\\PC{0,40}", "[0-9]{1,30}[a-zA-Z]{0,3}"],
    ) {
        let argument = format!("{}={value}", key.0);
        if let Ok(config) = from_all("", &[], &[&argument]) {
            prop_assert_eq!(from_file(&config.to_yaml()), Ok(config));
        }
    }

    #[test]
    fn no_variable_panics(name in "CORECAST_[A-Z_0-9]{0,40}", value in "\\PC{1,20}") {
        let _ = from_all("", &[(&name, &value)], &[]);
    }
}

/// Runs the binary in an empty directory, without the variables of this process that concern it.
fn corecast(files: &[(&str, &str)], arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).expect("a file");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_corecast"));
    command
        .args(arguments)
        .current_dir(directory.path())
        .env_clear();
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn check_prints_the_config_in_effect_and_exits_0() {
    let files = [("config.yaml", "server: {port: 8080}\n")];
    let arguments = [
        "--check",
        "--host",
        "127.0.0.1",
        "--shards",
        "2",
        "--log-level",
        "debug",
    ];
    let output = corecast(&files, &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let config = from_file(text(&output.stdout)).expect("what it prints loads");
    assert_eq!(config.server.port, 8080);
    assert_eq!(config.server.host, IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert_eq!(config.engine.shards, Shards::Count(2));
    assert_eq!(config.logging.level, LogLevel::Debug);
    assert_eq!(text(&output.stderr), "config: config.yaml\n");
}

#[test]
fn without_a_file_the_defaults_hold_and_a_line_says_so() {
    let output = corecast(&[], &["--check"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(from_file(text(&output.stdout)), Ok(Config::default()));
    assert!(
        text(&output.stderr).contains("no config.yaml here"),
        "{output:?}"
    );
}

#[test]
fn a_named_file_that_is_absent_is_an_error() {
    let output = corecast(&[], &["--config-file", "other.yaml", "--check"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert_eq!(text(&output.stderr), "other.yaml: there is no such file\n");
    assert!(output.stdout.is_empty());
}

#[test]
fn problems_are_printed_one_a_line_and_exit_78() {
    let files = [("bad.yaml", "server:\n  prot: 1\nlogging: {level: loud}\n")];
    let output = corecast(&files, &["--config-file", "bad.yaml", "--port", "x"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let lines: Vec<&str> = text(&output.stderr).lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].starts_with("bad.yaml:2:3 server.prot: "),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("bad.yaml:3:18 logging.level: "),
        "{lines:?}"
    );
    assert!(lines[2].starts_with("--port: "), "{lines:?}");
}

#[test]
fn version_and_help_say_what_they_should() {
    let version = corecast(&[], &["--version"]);
    assert_eq!(version.status.code(), Some(0));
    let version = text(&version.stdout);
    assert!(
        version.starts_with(&format!("corecast {}", env!("CARGO_PKG_VERSION"))),
        "{version}"
    );
    assert!(
        version.contains("commit ") && version.contains("built 20"),
        "{version}"
    );
    let help = corecast(&[], &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for part in [
        "Examples:",
        "Exit codes:",
        "78",
        "--config-file",
        "--set",
        "--check",
    ] {
        assert!(text(&help.stdout).contains(part), "{part}");
    }
    for arguments in [["--colour"].as_slice(), &["--set", "server.port"]] {
        assert_eq!(
            corecast(&[], arguments).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
}
