//! All problems are reported at once, with their position; nothing panics.

use corecast::config::{Config, DEMO_PATHS, PAGE_PATHS};
use proptest::prelude::*;

use crate::samples::SAMPLES;
use crate::{all_keys, file_of, from_all, from_file, from_file_of};

/// The lines of problems of a file that has some.
pub(crate) fn problems(text: &str) -> Vec<String> {
    let problems = from_file(text).expect_err("a file with problems");
    problems.lines().map(str::to_owned).collect()
}

#[test]
fn a_secret_that_is_too_short_is_told_the_rule_and_not_repeated() {
    for (path, rule) in [
        ("admin.token", "needs at least 16 characters"),
        ("auth.jwt.secret", "32 to 1024 bytes"),
    ] {
        let found = problems(&file_of(path, "hunter2"));
        assert!(found[0].contains(rule), "{found:?}");
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }
}

#[test]
fn every_key_refuses_a_mapping_with_its_place() {
    for path in all_keys() {
        let found = from_file_of(&path, "{surprise: 1}").expect_err("a mapping");
        let found: Vec<&str> = found.lines().collect();
        let depth = path.matches('.').count();
        let column = 2 * depth + path.rsplit('.').next().map_or(0, str::len) + 3;
        let place = format!("config.yaml:{}:{column} {path}: ", depth + 1);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&place), "{found:?} at {place}");
        let is_said = found[0].contains("a mapping") || found[0].contains("it is secret");
        assert!(is_said, "{found:?}");
    }
}

#[test]
fn tls_without_its_files_is_an_error_wherever_it_is_switched_on() {
    let missing = "TLS needs a certificate and its key; set server.tls.cert_file and \
                   server.tls.key_file, or set server.tls.enabled to false";
    let file = from_file("server:\n  tls:\n    enabled: true\n").expect_err("no files");
    assert_eq!(
        file,
        format!("config.yaml:3:14 server.tls.enabled: {missing}")
    );
    let environment = from_all("", &[("CORECAST_SERVER_TLS_ENABLED", "true")], &[]);
    let environment = environment.expect_err("no files");
    assert!(
        environment.starts_with("environment CORECAST_SERVER_TLS_ENABLED: "),
        "{environment}"
    );
    for one in ["cert_file", "key_file"] {
        let file = format!("server: {{tls: {{enabled: true, {one}: a.pem}}}}");
        let problem = from_file(&file).expect_err("one file");
        assert!(problem.ends_with(missing), "{problem}");
    }
    let both = "server: {tls: {enabled: true, cert_file: a.pem, key_file: b.pem}}";
    assert!(from_file(both).expect("both files").server.tls.enabled);
    assert!(from_file("server: {tls: {enabled: false}}").is_ok());
}

#[test]
fn listeners_and_proxies_need_what_they_rest_on() {
    let https = problems("server:\n  listen: [\"https://0.0.0.0:8444\"]\n");
    assert_eq!(https.len(), 1, "{https:?}");
    assert!(
        https[0].starts_with("config.yaml:2:11 server.listen: ")
            && https[0].contains("needs a certificate"),
        "{https:?}"
    );
    let headers = problems("server:\n  proxy_protocol: true\n");
    assert_eq!(headers.len(), 1, "{headers:?}");
    assert!(
        headers[0].starts_with("config.yaml:2:19 server.proxy_protocol: ")
            && headers[0].contains("server.trusted_proxies"),
        "{headers:?}"
    );
    let config = from_file("server: {proxy_protocol: true, trusted_proxies: [unix]}");
    assert!(config.expect("a config").server.proxy_protocol);
    let bad = problems("server: {listen: [\"8080\"], trusted_proxies: [proxy], unix_mode: rw}");
    assert_eq!(bad.len(), 3, "{bad:?}");
    assert!(
        bad[0].contains("\"8080\" is not a listener; write http://"),
        "{bad:?}"
    );
}

#[test]
fn no_endpoint_can_have_a_path_that_tells_the_relays_health() {
    for path in PAGE_PATHS {
        let at = |path: &str, enabled| {
            format!("endpoints:\n  x: {{kind: hub, path: {path}, enabled: {enabled}}}\n")
        };
        let found = problems(&at(path, true));
        let expected = format!("config.yaml:2:24 endpoints.x.path: {path} is a status page");
        assert!(
            found.len() == 1 && found[0].starts_with(&expected),
            "{found:?}"
        );
        assert!(from_file(&at(path, false)).is_ok());
        // Paths below it are free.
        assert!(from_file(&at(&format!("{path}/**"), true)).is_ok());
    }
}

#[test]
fn an_endpoint_cannot_use_the_path_of_served_pages() {
    for path in DEMO_PATHS {
        let with = |enabled| {
            format!("endpoints:\n  x: {{kind: hub, path: {path}}}\npages: {{enabled: {enabled}}}\n")
        };
        let found = problems(&with(true));
        let expected = format!("config.yaml:2:24 endpoints.x.path: {path} is where the pages are");
        assert!(
            found.len() == 1 && found[0].starts_with(&expected),
            "{found:?}"
        );
        assert!(from_file(&with(false)).is_ok());
    }
}

#[test]
fn all_problems_are_reported_at_once_with_place_and_advice() {
    let file = "server:\n  prot: 8080\n  tls: {cert: x}\nengine: 4\nkeepalive:\n  ping: 30\n\
                slow_client: {policy: drop-oldest}\nmetric: 3000\nlimits: {message_bytes: 1XB}\n";
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
        ("config.yaml:8:1 metric", "did you mean metrics?"),
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
fn a_place_fills_one_line_whatever_the_names_are() {
    let variable = ("CORECAST_SERVER_P\n\u{1b}[31m".to_owned(), "1".to_owned());
    let error = corecast::config::load(None, [variable], &[]).expect_err("an unknown variable");
    let shown = error.to_string();
    assert!(
        shown.starts_with("environment CORECAST_SERVER_P�"),
        "{shown:?}"
    );
    assert!(!shown.contains(char::is_control), "{shown:?}");
}

#[test]
fn conflicting_keys_are_reported_with_their_place() {
    for (file, place) in [
        (
            "limits: {message_bytes: 64MiB}",
            "config.yaml:1:25 limits.message_bytes: an outbox",
        ),
        (
            "slow_client: {outbox_bytes: 1MiB}",
            "config.yaml:1:29 slow_client.outbox_bytes: an outbox",
        ),
        (
            "limits: {frame_bytes: 2MiB}",
            "config.yaml:1:23 limits.frame_bytes: a frame of 2MiB",
        ),
        (
            "limits: {inbound_bytes: 1000KiB}",
            "config.yaml:1:25 limits.inbound_bytes: inbound_bytes",
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
            "endpoints: {hub: {limits: {message_bytes: 80MiB}}}",
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
fn conflicting_push_keys_name_the_endpoint() {
    let file = "slow_client: {outbox_bytes: 5MiB}\n\
                endpoints: {named: {limits: {message_bytes: 6MiB}}}";
    let place = "config.yaml:2:45 endpoints.named.limits.message_bytes: endpoint named: an outbox";
    let found = problems(file);
    assert!(found.len() == 1 && found[0].starts_with(place), "{found:?}");
    // The name of a parameter tells no two paths apart.
    let found = problems("endpoints: {b: {kind: hub, path: '/ws/{room}'}}");
    let place = "config.yaml:1:34 endpoints.b.path: endpoints b and named have the same path";
    assert!(found.len() == 1 && found[0].starts_with(place), "{found:?}");
}

#[test]
fn a_guard_that_admits_no_client_is_an_error() {
    for (file, place) in [
        (
            "auth: {enabled: true}",
            "config.yaml:1:17 auth.enabled: nobody could connect",
        ),
        (
            "endpoints: {hub: {auth: {enabled: true}}}",
            "config.yaml:1:35 endpoints.hub.auth.enabled: endpoint hub: nobody could connect",
        ),
        (
            "auth: {jwt: {audience: relay}}",
            "config.yaml:1:24 auth.jwt.audience: issuer and audience apply to tokens",
        ),
        (
            "endpoints: {hub: {auth: {jwt: {issuer: us}}}}",
            "config.yaml:1:40 endpoints.hub.auth.jwt.issuer: endpoint hub: issuer and audience",
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
        "endpoints: {a: {kind: named, path: '/a/{name}'}, b: {kind: hub, path: /a/**}}",
        "endpoints: {a: {kind: hub, path: '/a/{name}'}, b: {kind: hub, path: /a/}}",
        "limits: {frame_bytes: 1MiB}",
        "slow_client: {process_bytes: 64MiB}",
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
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("slow_client.outbox_bytes: "), "{found:?}");
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
        ("admin.token", "fifteen-letters"),
        ("admin.token", "a token with its spaces"),
        ("health.status_word", "\"\""),
        ("logging.output", "\"\""),
        ("endpoints.hub.path", "chat"),
        ("endpoints.hub.path", "/{room}/chat"),
        ("endpoints.hub.path", "/ws/{user name}"),
        ("endpoints.hub.path", "/ws/{}"),
        ("endpoints.hub.kind", "chat"),
        ("endpoints.named.path", "/people"),
        ("endpoints.named.on_duplicate", "multi"),
        ("cors.origin", "\"\""),
        ("server.port", "null"),
    ] {
        let found = problems(&file_of(path, value));
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        assert!(found[0].contains(&format!(" {path}: ")), "{found:?}");
    }
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
fn a_file_with_hundreds_of_problems_is_reported_whole() {
    let text: String = (0..500).map(|index| format!("key_{index}: 1\n")).collect();
    assert_eq!(problems(&text).len(), 500);
}

/// Texts that look like a config: keys, values and punctuation in any order.
fn yaml_like() -> impl Strategy<Value = String> {
    const PARTS: &[&str] = &[
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
    proptest::collection::vec(proptest::sample::select(PARTS), 0..40)
        .prop_map(|parts| parts.concat())
}

/// Whether what is printed of a config is that config. With a secret it cannot be.
fn loads_again(config: Config) -> bool {
    let printed = config.to_yaml();
    printed.contains("(hidden)") || from_file(&printed) == Ok(config)
}

proptest! {
    #[test]
    fn no_file_panics(text in prop_oneof![yaml_like(), "\\PC{0,200}", any::<String>()]) {
        if let Ok(config) = from_file(&text) {
            prop_assert!(loads_again(config));
        }
    }

    #[test]
    fn no_value_of_any_key_panics(
        key in proptest::sample::select(SAMPLES),
        value in prop_oneof![yaml_like(), "\\PC{0,40}", "[0-9]{1,30}[a-zA-Z]{0,3}"],
    ) {
        let argument = format!("{}={value}", key.0);
        if let Ok(config) = from_all("", &[], &[&argument]) {
            prop_assert!(loads_again(config));
        }
    }

    #[test]
    fn no_variable_panics(name in "CORECAST_[A-Z_0-9]{0,40}", value in "\\PC{1,20}") {
        let _ = from_all("", &[(&name, &value)], &[]);
    }
}
