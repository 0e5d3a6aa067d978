//! The relays: their programs, and the settings that make them comparable.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::load::strings;

/// Where an event is when the relay answers OK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Durability {
    /// Written to the disk, and synced.
    Disk,
    /// Kept in memory.
    Memory,
}

/// A relay.
#[derive(Clone, Debug)]
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) durability: Durability,
    /// The settings that matter for the comparison.
    pub(super) settings: &'static str,
    /// Its program, or why it is skipped.
    pub(super) program: Result<PathBuf, String>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Corecast,
    NostrRsRelay,
    Rnostr,
    RelayBuilder,
    Strfry,
}

/// The relay that others of a durability are compared with.
pub(super) fn base(durability: Durability) -> &'static str {
    match durability {
        Durability::Disk => CORECAST,
        Durability::Memory => CORECAST_MEMORY,
    }
}

pub(super) const CORECAST: &str = "corecast";
const CORECAST_MEMORY: &str = "corecast (memory)";

/// All contenders: `relay` is our own program, `peers` the folder of the others.
pub(super) fn all(relay: &Path, peers: &Path, strfry: Option<&Path>) -> Vec<Contender> {
    let built = |name: &str| built(peers, name);
    let mut all = vec![
        Contender {
            name: CORECAST,
            durability: Durability::Disk,
            settings: "one shard, store on disk: an event is synced before its OK",
            program: Ok(relay.to_owned()),
            kind: Kind::Corecast,
        },
        Contender {
            name: CORECAST_MEMORY,
            durability: Durability::Memory,
            settings: "one shard, store in memory",
            program: Ok(relay.to_owned()),
            kind: Kind::Corecast,
        },
        Contender {
            name: "nostr-rs-relay 0.8.12",
            durability: Durability::Disk,
            settings: "SQLite, write-ahead log, built with synchronous = FULL instead of NORMAL, \
                       so that a commit is synced; no other limit than its defaults",
            program: built("nostr-rs-relay"),
            kind: Kind::NostrRsRelay,
        },
        Contender {
            name: "rnostr 0.4.8",
            durability: Durability::Disk,
            settings: "LMDB without MDB_NOSYNC, so that a commit is synced; it commits every \
                       100 ms, and may send an OK before the commit that it belongs to",
            program: built("rnostr"),
            kind: Kind::Rnostr,
        },
        Contender {
            name: "nostr-relay-builder 0.44.1",
            durability: Durability::Memory,
            settings: "MemoryDatabase, no rate limit",
            program: built("peer-nostr-relay-builder"),
            kind: Kind::RelayBuilder,
        },
    ];
    all.extend(strfry.map(|program| {
        Contender {
            name: "strfry",
            durability: Durability::Disk,
            settings: "LMDB as strfry opens it by default",
            program: program
                .canonicalize()
                .map_err(|error| format!("{}: {error}", program.display())),
            kind: Kind::Strfry,
        }
    }));
    all
}

/// A peer's program, or the reason that its build left.
fn built(peers: &Path, name: &str) -> Result<PathBuf, String> {
    let program = peers.join("bin").join(name).canonicalize();
    program.map_err(|_| {
        let why = fs::read_to_string(peers.join(format!("{name}.skipped")));
        let why = why.map(|why| why.trim().to_owned());
        why.unwrap_or_else(|_| "it is not built (benches/compare/peers/nostr.sh)".to_owned())
    })
}

impl Contender {
    /// Writes its configuration, and returns the command that starts it on `port` with its data in
    /// `data`.
    pub(super) fn command(&self, data: &Path, port: u16) -> Result<Vec<String>> {
        let program = self
            .program
            .as_ref()
            .map_err(|why| anyhow::anyhow!("{why}"))?;
        let program = program.to_string_lossy();
        let folder = data.to_string_lossy();
        // Some read only files that end so.
        let file = data.join("config.toml");
        let config = file.to_string_lossy();
        let write = |text: String| fs::write(&file, text).context("writing a configuration");
        Ok(match self.kind {
            Kind::Corecast => self.corecast(&program, &folder, port),
            Kind::NostrRsRelay => {
                write(nostr_rs_relay(port))?;
                quiet(&[&program, "--db", &folder, "--config", &config])
            }
            Kind::Rnostr => {
                write(rnostr(&folder, port))?;
                quiet(&[&program, "relay", "-c", &config])
            }
            Kind::RelayBuilder => quiet(&[&program, &port.to_string()]),
            Kind::Strfry => {
                write(strfry(&folder, port))?;
                strings(&[&program, &format!("--config={config}"), "relay"])
            }
        })
    }

    fn corecast(&self, program: &str, folder: &str, port: u16) -> Vec<String> {
        let mut settings = vec![
            "server.host=127.0.0.1".to_owned(),
            format!("server.port={port}"),
            "metrics.enabled=false".to_owned(),
            "engine.shards=1".to_owned(),
            "limits.connections=0".to_owned(),
            "logging.level=warn".to_owned(),
            "endpoints.nostr.kind=nostr".to_owned(),
            "endpoints.nostr.path=/nostr".to_owned(),
            "endpoints.nostr.nostr.memory_events=10000000".to_owned(),
        ];
        if self.durability == Durability::Disk {
            settings.push(format!("endpoints.nostr.nostr.store={folder}/store"));
        }
        let settings = settings
            .into_iter()
            .flat_map(|one| ["--set".to_owned(), one]);
        [program.to_owned()].into_iter().chain(settings).collect()
    }

    /// The path of its URL.
    pub(super) fn path(&self) -> &'static str {
        match self.kind {
            Kind::Corecast => "nostr",
            _ => "",
        }
    }
}

/// With a log of errors only.
fn quiet(command: &[&str]) -> Vec<String> {
    strings(&[&["env", "RUST_LOG=error"], command].concat())
}

fn nostr_rs_relay(port: u16) -> String {
    format!(
        "[info]\nrelay_url = \"ws://127.0.0.1:{port}/\"\n\
         [network]\naddress = \"127.0.0.1\"\nport = {port}\n\
         [limits]\nmax_ws_message_bytes = 524288\nmax_ws_frame_bytes = 524288\n"
    )
}

fn rnostr(folder: &str, port: u16) -> String {
    format!(
        "[information]\nname = \"rnostr\"\n[data]\npath = \"{folder}\"\n\
         [network]\nhost = \"127.0.0.1\"\nport = {port}\n\
         [limitation]\nmax_limit = 5000\nmax_subscriptions = 1000\n\
         max_event_time_older_than_now = 0\n"
    )
}

fn strfry(folder: &str, port: u16) -> String {
    format!(
        "db = \"{folder}/\"\nrelay {{\n    bind = \"127.0.0.1\"\n    port = {port}\n    \
         nofiles = 0\n    maxWebsocketPayloadSize = 524288\n    maxFilterLimit = 5000\n    \
         compression {{\n        enabled = false\n    }}\n}}\n\
         events {{\n    rejectEventsOlderThanSeconds = 946080000\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_was_not_built_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let why = |name| built(folder.path(), name).expect_err("it is not there");
        assert!(why("rnostr").contains("not built"));
        fs::write(folder.path().join("rnostr.skipped"), "no compiler\n").expect("a file");
        assert_eq!(why("rnostr"), "no compiler");
    }

    #[test]
    fn each_relay_gets_its_port_and_the_folder_of_its_data() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        fs::create_dir(path.join("bin")).expect("a folder");
        for name in [
            "nostr-rs-relay",
            "rnostr",
            "peer-nostr-relay-builder",
            "strfry",
        ] {
            fs::write(path.join("bin").join(name), "").expect("a file");
        }
        let strfry = path.join("bin/strfry");
        let contenders = all(Path::new("/corecast"), path, Some(&strfry));
        assert_eq!(contenders.len(), 6);
        for contender in contenders {
            let command = contender.command(path, 4711).expect("a command").join(" ");
            let config = fs::read_to_string(path.join("config.toml")).unwrap_or_default();
            let told = format!("{command} {config}");
            assert!(told.contains("4711"), "{told}");
            let data = told.replace(&*path.join("bin").to_string_lossy(), "");
            let is_here = data.contains(&*path.to_string_lossy());
            let is_durable = contender.durability == Durability::Disk;
            assert!(is_here || !is_durable, "{told}");
            let _ = fs::remove_file(path.join("config.toml"));
        }
    }
}
