//! How many places a new key takes: its row, its field with the default and, if endpoints can
//! override it, the field there. The use is the last.

use std::fs;
use std::path::{Path, PathBuf};

use corecast::config::keys::{ENDPOINT_KEYS, KEYS};

/// Keys of which the engine has a field of its own: as a rule in another form, such as two keys
/// that make one token bucket. They take a field and a copy more.
const TRANSLATED: [&str; 12] = [
    "server.listen",
    "server.unix_mode",
    "server.trusted_proxies",
    "server.proxy_protocol",
    "engine.shards",
    "engine.pin",
    "engine.read_buffer_bytes",
    "engine.send_buffer_bytes",
    "limits.message_bytes",
    "limits.frame_bytes",
    "limits.exempt_networks",
    "rate.messages",
];

/// Doors and their overrides have rows of their own, since an endpoint's keys replace all others.
const OF_DOORS: [&str; 4] = ["auth.", "origins.", "cors.", "networks."];

/// `echo` is an option of three kinds, `kind` has no field of its own, and the names of the others
/// are names of other fields too, or of none that Rust allows.
const SPECIAL: [&str; 9] = [
    "kind",
    "path",
    "echo",
    "timeouts.message",
    "limits.connects_per_ip.rate",
    "nostr.info.self",
    "nostr.info.name",
    "nostr.events.kinds",
    "nostr.sync.events",
];

/// The lines of code of the configuration and of the engine's settings.
fn lines() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("crates/engine/src/engine/settings.rs")];
    add_files(&root.join("src/config"), &mut files);
    let texts = files
        .iter()
        .map(|file| fs::read_to_string(file).expect("a file"));
    let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    lines
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect()
}

fn add_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            add_files(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn last_part(path: &str) -> &str {
    path.rsplit('.').next().expect("a part")
}

#[test]
fn a_key_has_two_places_and_one_of_endpoints_three() {
    let lines = lines();
    let lines_with = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    let all = KEYS.iter().map(|key| key.path);
    let all: Vec<&str> = all
        .chain(ENDPOINT_KEYS.iter().map(|key| key.path))
        .collect();
    let (mut counted, mut more) = (Vec::new(), Vec::new());
    for path in &all {
        let name = last_part(path);
        let has_namesake = all
            .iter()
            .any(|other| other != path && last_part(other) == name);
        let is_of_doors = OF_DOORS.iter().any(|doors| path.starts_with(doors));
        let is_special = SPECIAL.contains(path);
        if has_namesake || is_of_doors || is_special || TRANSLATED.contains(path) {
            continue;
        }
        let below = path.strip_prefix("nostr.").unwrap_or(path);
        let rows = lines_with(&format!("({below},")) + lines_with(&format!("({below}),"));
        let fields = lines_with(&format!("pub {name}: "));
        let is_overridable = all.iter().filter(|other| *other == path).count() == 2;
        let places = if is_overridable { 3 } else { 2 };
        counted.push(*path);
        if rows + fields != places {
            more.push(format!(
                "{path}: {rows} rows and {fields} fields, not {places}"
            ));
        }
    }
    assert!(more.is_empty(), "{more:#?}");
    for sample in [
        "limits.head_bytes",
        "limits.room_name_bytes",
        "deflate.min_bytes",
        "slow_client.outbox_age",
        "health.status_word",
        "broadcast_fallback",
        "nostr.queries.limit_default",
    ] {
        assert!(counted.contains(&sample), "{sample}: {counted:?}");
    }
}
