//! The crates that an embedder of the engine has to compile.

use std::collections::BTreeSet;
use std::process::Command;

use crate::source::root;

/// Crates, the engine and the wire format among them.
const CRATES_MAX: usize = 70;

/// Crates that only the relay needs.
const OF_THE_RELAY: [&str; 7] = [
    "clap",
    "ratatui",
    "redb",
    "serde",
    "tracing-appender",
    "x509-parser",
    "yaml_serde",
];

#[test]
fn an_embedder_compiles_few_crates_and_none_of_the_relay() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", "corecast-engine", "--edges", "normal"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--prefix", "none"])
        .args(["--format", "{p}", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo");
    let said = String::from_utf8_lossy(&tree.stderr);
    assert!(tree.status.success(), "{said}");
    let lines = String::from_utf8(tree.stdout).expect("UTF-8");
    let crates: BTreeSet<&str> = lines
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .collect();
    let name = |line: &&str| line.split(' ').next().unwrap_or_default().to_owned();
    let names: BTreeSet<String> = crates.iter().map(name).collect();
    assert!(names.contains("mio"), "{names:?}");
    assert!(crates.len() <= CRATES_MAX, "{} crates", crates.len());
    let of_the_relay = OF_THE_RELAY.iter().filter(|each| names.contains(**each));
    assert_eq!(of_the_relay.collect::<Vec<_>>(), Vec::<&&str>::new());
}
