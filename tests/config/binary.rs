//! The binary: what it prints and its exit codes.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Output};

use corecast::config::{Config, LogLevel, Shards};

use crate::from_file;

/// Runs the binary in an empty directory, without the variables of this process that concern it.
pub(crate) fn corecast(files: &[(&str, &str)], arguments: &[&str]) -> Output {
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

pub(crate) fn text(bytes: &[u8]) -> &str {
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
fn check_says_what_is_odd_beside_what_is_in_effect() {
    let files = [(
        "config.yaml",
        "auth: {keys: [short]}\napi: {keys: [short]}\n",
    )];
    let output = corecast(&files, &["--check"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said: Vec<&str> = text(&output.stderr).lines().collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[1].starts_with("warning: auth.keys: 1 of these keys can be guessed"));
    assert!(said[2].starts_with("warning: api.keys: 1 of these keys can be guessed"));
    assert!(!text(&output.stdout).contains("short"));
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
fn check_reads_the_files_of_tls_too() {
    let files = [
        (
            "config.yaml",
            "server: {tls: {enabled: true, cert_file: a.pem, key_file: b.pem}}",
        ),
        ("a.pem", ""),
    ];
    for arguments in [&["--check"][..], &[]] {
        let output = corecast(&files, arguments);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let expected = "server.tls.cert_file: a.pem: holds no certificate in PEM\n";
        assert_eq!(text(&output.stderr), expected);
    }
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
        "--print-config",
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

#[test]
fn the_example_of_the_deploy_kit_loads_with_tls_on() {
    let example = include_str!("../../deploy/config.example.yaml");
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("signed");
    let files = [
        ("config.yaml", example),
        ("cert.pem", &signed.cert.pem()),
        ("key.pem", &signed.signing_key.serialize_pem()),
        ("keys", "a-key-of-0123456789"),
    ];
    let ours = [
        "server.tls.cert_file=cert.pem",
        "server.tls.key_file=key.pem",
        "auth.keys_file=keys",
    ];
    let arguments = [
        "--check", "--set", ours[0], "--set", ours[1], "--set", ours[2],
    ];
    let output = corecast(&files, &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let config = from_file(text(&output.stdout)).expect("what it prints loads");
    assert!(config.server.tls.enabled);
    assert_eq!(config.metrics.host, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    // Nobody connects without a credential, and nobody is told who is there.
    for endpoint in config.endpoints.values() {
        assert!(config.needs_auth(endpoint) && !config.tells_users_of(endpoint));
    }
    // As it is, it lacks these three files, of which the first is told.
    let output = corecast(&files[..1], &["--check"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let lines: Vec<&str> = text(&output.stderr).lines().collect();
    let [line] = lines[..] else {
        panic!("{lines:?}");
    };
    let place = "server.tls.cert_file: /etc/corecast/tls/fullchain.pem: ";
    assert!(line.starts_with(place), "{line}");
}
