//! Uses of an earlier relay, or of an earlier Corecast, work unchanged, or the change
//! stands in `docs/upgrading.md`.
//!
//! `configs/` has the files and the environment of the earlier relays, as their documents have
//! them, and earlier versions of `config.yaml`. `captures/` has what the relays answered. Each
//! configuration is loaded as it is, and the captured exchanges are replayed with it. Each
//! difference must be a row of the page's table, and each row must differ.

mod capture;
mod replay;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use corecast_test::binary;
use corecast_test::relay::Relay;
use serde_yaml::Value;

use capture::parse;
use replay::{Difference, expect_nobody, replay};

const PAGE: &str = include_str!("../../docs/upgrading.md");
const CONFIGS: [&str; 2] = ["corecast-2026-11-22.yaml", "corecast-2026-11-29.yaml"];

fn config(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/upgrade/configs");
    folder.join(name).to_string_lossy().into_owned()
}

/// Replays what was captured of `source`, and holds the differences to the page's table.
fn hold(source: &str, captures: &str, start: impl Fn() -> Relay) {
    let exchanges = parse(captures);
    assert!(!exchanges.is_empty());
    let mut relay = start();
    let mut found = BTreeSet::new();
    for exchange in &exchanges {
        let (differences, is_stopped) = replay(&relay, exchange);
        found.extend(differences);
        if is_stopped {
            assert_eq!(relay.exit_code(), Some(0), "{}", exchange.title);
            relay = start();
        }
        expect_nobody(&relay);
    }
    let listed = listed(source);
    let is_unlisted = |each: &&Difference| !listed.iter().any(|row| row.tells(each));
    let unlisted: Vec<String> = found
        .iter()
        .filter(is_unlisted)
        .map(|each| row(source, each))
        .collect();
    assert!(
        unlisted.is_empty(),
        "docs/upgrading.md has no row for:\n{}",
        unlisted.join("\n")
    );
    let is_gone = |row: &&Difference| !found.iter().any(|each| row.tells(each));
    let gone: Vec<&Difference> = listed.iter().filter(is_gone).collect();
    assert!(gone.is_empty(), "these do not differ any more: {gone:#?}");
}

fn row(source: &str, difference: &Difference) -> String {
    let Difference {
        exchange,
        part,
        was,
        is,
    } = difference;
    format!("| {source} | {exchange} | {part} | `{was}` | `{is}` |")
}

/// The rows of the page's table of differences that are about `source`.
fn listed(source: &str) -> BTreeSet<Difference> {
    let (_, table) = PAGE
        .split_once("\n| captured from | exchange | part | was | is |\n")
        .expect("the table of differences");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim));
    let code = |cell: &str| cell.trim_matches('`').to_owned();
    let differences = cells.filter_map(|cells| match cells.collect::<Vec<&str>>()[..] {
        [of, exchange, part, was, is] if of == source => Some(Difference {
            exchange: exchange.to_owned(),
            part: part.to_owned(),
            was: code(was),
            is: code(is),
        }),
        _ => None,
    });
    differences.collect()
}

#[test]
fn the_hub_answers_as_the_first_relay_did() {
    let file = config("hub.yaml");
    hold("websocket-relay", include_str!("captures/hub.txt"), || {
        Relay::start(&["--config-file", &file])
    });
}

#[test]
fn named_users_are_answered_as_the_second_relay_did() {
    let variables = include_str!("configs/named.env").lines();
    let by: Vec<&str> = ["/usr/bin/env"].into_iter().chain(variables).collect();
    hold("relay", include_str!("captures/named.txt"), || {
        Relay::start_by(&by, &[])
    });
}

#[test]
fn pushes_are_answered_as_the_third_relay_did() {
    let file = config("push.json");
    let captures = include_str!("captures/push.txt");
    hold("go-websocket-relay", captures, || {
        Relay::start(&["--config-file", &file])
    });
}

#[test]
fn corecast_answers_as_it_did() {
    for name in CONFIGS {
        let file = config(name);
        let key = ["--set", "api.keys=[a-key-of-the-test]"];
        hold("Corecast", include_str!("captures/corecast.txt"), || {
            Relay::start(&[&["--config-file", &file], &key[..]].concat())
        });
    }
}

/// Every key of a mapping with its value, the path in dots.
fn leaves(prefix: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    let Value::Mapping(mapping) = value else {
        let text = serde_yaml::to_string(value).expect("YAML");
        found.insert(prefix.to_owned(), text.trim_end().to_owned());
        return;
    };
    for (key, value) in mapping {
        let key = key.as_str().expect("a name");
        let dot = if prefix.is_empty() { "" } else { "." };
        leaves(&format!("{prefix}{dot}{key}"), value, found);
    }
}

/// The configuration in effect with these arguments, as `--check` prints it.
fn in_effect(by: &[&str], arguments: &[&str]) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().expect("a folder without a config.yaml");
    let output = Command::new("/usr/bin/env")
        .args(by)
        .arg(binary("corecast"))
        .args(arguments)
        .arg("--check")
        .env_clear()
        .current_dir(folder.path())
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    let value = serde_yaml::from_slice(&output.stdout).expect("YAML");
    let mut found = BTreeMap::new();
    leaves("", &value, &mut found);
    found
}

#[test]
fn earlier_configurations_load_and_say_what_they_said() {
    let named: Vec<&str> = include_str!("configs/named.env").lines().collect();
    for (by, arguments, expected) in [
        (
            &[][..],
            &["--config-file", &config("hub.yaml")][..],
            &[("server.port", "8443"), ("metrics.port", "9090")][..],
        ),
        (
            &named,
            &[],
            &[
                ("server.port", "8080"),
                ("endpoints.named.limits.message_bytes", "10MiB"),
                ("engine.read_buffer_bytes", "1MiB"),
                ("engine.send_buffer_bytes", "1MiB"),
            ],
        ),
        (
            &[],
            &["--config-file", &config("push.json")],
            &[
                ("server.port", "3000"),
                ("endpoints.push.path", "/socket"),
                ("endpoints.push.push_path", "/api/notify"),
            ],
        ),
    ] {
        let found = in_effect(by, arguments);
        for (key, value) in expected {
            assert_eq!(found.get(*key).map(String::as_str), Some(*value), "{key}");
        }
    }
}

/// An earlier `config.yaml` has the defaults of its day, each key of them.
#[test]
fn every_default_that_has_changed_is_on_the_page() {
    let now = in_effect(&[], &[]);
    let mut untold = Vec::new();
    for name in CONFIGS {
        let before = in_effect(&[], &["--config-file", &config(name)]);
        for (key, value) in &before {
            let is_same = now.get(key) == Some(value);
            let is_told = PAGE.contains(&format!("`{key}`"));
            if !is_same && !is_told {
                untold.push(format!("{name}: {key} was {value}, is {:?}", now.get(key)));
            }
        }
    }
    assert!(untold.is_empty(), "{}", untold.join("\n"));
}
