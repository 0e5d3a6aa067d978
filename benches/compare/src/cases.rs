//! The cases: their contenders, load and target.
//!
//! In every case the first contender is the base of the ratios, the second is the one that is
//! judged, and the rest are peers. For every value less is better.

mod edge;
mod matrix;

use std::path::PathBuf;
use std::time::Duration;

use crate::load::strings;
use crate::measure::{CONNECTS, Contender, Load, P50, P99, PEAK, Quantile, RATE};

/// One row of the comparison.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The name that `--case` selects.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) goal: Goal,
    /// The smallest run that includes it.
    pub(crate) tier: Tier,
    /// A lower number of rounds, for readings that take long.
    pub(crate) rounds_max: Option<u32>,
    /// Figures measured besides the value that the table should show.
    pub(crate) tells: &'static [&'static str],
    pub(crate) contenders: Vec<Contender>,
}

/// The size of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    Quick,
    Default,
    Full,
}

impl Tier {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Default => "default",
            Self::Full => "full",
        }
    }
}

/// The target of the judged contender.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// At most this many times the base.
    Ratio(f64),
    /// The same, and less than every peer.
    RatioAndCheapest(f64),
    /// At most this value; the base is only for orientation.
    AtMost(f64),
    /// No target: the figures are only shown.
    Told,
}

/// Paths of the programs.
pub(crate) struct Programs {
    pub(crate) relay: PathBuf,
    pub(crate) floor: PathBuf,
    pub(crate) peers: Vec<Peer>,
    /// Another build of the relay, which is a contender in every case that judges the relay.
    pub(crate) against: Option<PathBuf>,
}

/// The name of the relay given with `--against`.
pub(crate) const BEFORE: &str = "before";

/// A relay of other authors.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    /// Its command, or why it is unavailable.
    pub(crate) command: Result<Vec<String>, String>,
}

/// Publishers that share the messages in flight of a closed loop.
const PUBLISHERS: u32 = 8;

impl Programs {
    /// All cases, in the order in which they are run.
    pub(crate) fn cases(&self, is_quick: bool) -> Vec<Case> {
        let mut cases = self.matrix_cases();
        cases.extend(self.small_cases());
        cases.extend(self.connection_cases(is_quick));
        cases.extend([
            self.stalled(
                "stalled-disconnect",
                "one of 50 never reads: p99, disconnect",
            ),
            self.stalled(
                "stalled-drop-oldest",
                "one of 50 never reads: p99, drop_oldest",
            ),
            self.shards(),
        ]);
        cases.extend(self.edge_cases(is_quick));
        for case in &mut cases {
            case.contenders.extend(self.before(&case.contenders[1]));
        }
        cases
    }

    /// The judged contender with the other build.
    fn before(&self, judged: &Contender) -> Option<Contender> {
        let program = self.against.as_ref()?;
        let swapped = judged.command.as_ref().map(|words| {
            let mut words = words.clone();
            words[0] = program.to_string_lossy().into_owned();
            words
        });
        Some(Contender {
            name: BEFORE.to_owned(),
            command: swapped.map_err(Clone::clone),
            ..judged.clone()
        })
    }

    /// Messages of 128 bytes and of 16 KiB, sizes between the rows of the matrix.
    fn small_cases(&self) -> Vec<Case> {
        let few_rate = ["--clients", "50", "--rate", "1000", "--size", "128"];
        let many_clients = ["--clients", "1000", "--rate", "100", "--size", "128"];
        vec![
            self.steady(
                "steady-50",
                "50 clients, 1,000 messages/s, 128 B",
                &few_rate,
            ),
            self.steady(
                "steady-1000",
                "1,000 clients, 100 messages/s, 128 B",
                &many_clients,
            ),
            self.closed(
                "closed-64",
                "50 clients, closed loop, window 64, 128 B",
                64,
                128,
            ),
            self.closed(
                "closed-512",
                "50 clients, closed loop, window 512, 128 B",
                512,
                128,
            ),
            self.closed(
                "closed-16k",
                "50 clients, closed loop, window 64, 16 KiB",
                64,
                16_384,
            ),
        ]
    }

    fn connection_cases(&self, is_quick: bool) -> Vec<Case> {
        let (few, many) = if is_quick {
            (500, 3_000)
        } else {
            (1_000, 15_000)
        };
        let handshakes = if is_quick { 2_000 } else { 10_000 };
        let idle = (Goal::AtMost(320.0), "message", Load::Idle { few, many });
        let handshake = (Goal::Ratio(1.3), "message", Load::Handshakes(handshakes));
        vec![
            Case {
                tier: Tier::Quick,
                rounds_max: Some(3),
                ..self.all("idle", "memory of an idle connection", "bytes", idle)
            },
            Case {
                tier: Tier::Quick,
                tells: &[CONNECTS],
                ..self.all("handshake", "connect, upgrade, close", "µs", handshake)
            },
        ]
    }

    fn steady(&self, name: &str, title: &str, args: &[&str]) -> Case {
        let publishers = PUBLISHERS.to_string();
        let args = strings(&[args, &["--publishers", &publishers]].concat());
        let work = (Goal::Ratio(1.05), "message", Load::Deliveries(args));
        Case {
            tells: &[P50, P99],
            ..self.all(name, title, "µs/delivery", work)
        }
    }

    /// A closed loop with `window` messages in flight, of all publishers together.
    fn closed(&self, name: &str, title: &str, window: u32, size: u32) -> Case {
        let args = closed_loop(50, window, size);
        let work = (Goal::RatioAndCheapest(1.15), "turn", Load::Deliveries(args));
        Case {
            tells: &[RATE],
            ..self.all(name, title, "µs/delivery", work)
        }
    }

    /// The floor, the relay with one shard, and all peers under one load.
    fn all(
        &self,
        name: &str,
        title: &str,
        unit: &'static str,
        (goal, mode, load): (Goal, &str, Load),
    ) -> Case {
        let pinned = |name: &str, command| Contender {
            name: name.to_owned(),
            command,
            pinned: true,
            scheme: "ws",
            load: load.clone(),
        };
        let mut contenders = vec![
            pinned(
                &format!("floor, one send per {mode}"),
                Ok(self.floor_command(mode)),
            ),
            pinned("corecast", Ok(self.relay_command(1, &[]))),
        ];
        let peers = self.peers.iter();
        contenders.extend(peers.map(|peer| pinned(&peer.name, peer.command.clone())));
        Case {
            name: name.to_owned(),
            title: title.to_owned(),
            unit,
            goal,
            tier: Tier::Full,
            rounds_max: None,
            tells: &[],
            contenders,
        }
    }

    /// The messages are large enough to fill the sockets' buffers within a reading. The outbox is
    /// small enough for the policy to act within one, yet large enough for readers that the
    /// scheduler delays for a moment.
    fn stalled(&self, name: &str, title: &str) -> Case {
        let policy = match name {
            "stalled-disconnect" => "slow_client.policy=disconnect",
            _ => "slow_client.policy=drop_oldest",
        };
        let keys = [
            policy,
            "slow_client.outbox_bytes=1MiB",
            "limits.message_bytes=64KiB",
        ];
        let contender = |name: &str, extra: &[&str]| {
            let args = [
                "--clients",
                "50",
                "--publishers",
                "8",
                "--rate",
                "1000",
                "--size",
                "4096",
            ];
            Contender {
                name: name.to_owned(),
                command: Ok(self.relay_command(1, &keys)),
                pinned: true,
                scheme: "ws",
                load: Load::Latency {
                    args: strings(&[&args, extra].concat()),
                    quantile: Quantile::P99,
                    at_least: Duration::ZERO,
                },
            }
        };
        let contenders = vec![
            contender("all read", &[]),
            contender("one never reads", &["--stalled", "1"]),
        ];
        Case {
            name: name.to_owned(),
            title: title.to_owned(),
            unit: "µs",
            goal: Goal::Ratio(1.1),
            tier: Tier::Default,
            rounds_max: None,
            tells: &[PEAK],
            contenders,
        }
    }

    fn shards(&self) -> Case {
        let contender = |name: &str, shards| Contender {
            name: name.to_owned(),
            command: Ok(self.relay_command(shards, &[])),
            pinned: false,
            scheme: "ws",
            load: Load::Latency {
                args: strings(&["--clients", "50", "--rate", "1000", "--size", "128"]),
                quantile: Quantile::P50,
                at_least: Duration::ZERO,
            },
        };
        Case {
            name: "shards".to_owned(),
            title: "two shards against one, not pinned: p50 at 1,000 messages/s".to_owned(),
            unit: "µs",
            goal: Goal::Ratio(1.0),
            tier: Tier::Default,
            rounds_max: None,
            tells: &[],
            contenders: vec![contender("one shard", 1), contender("two shards", 2)],
        }
    }

    fn floor_command(&self, mode: &str) -> Vec<String> {
        strings(&[
            &self.floor.to_string_lossy(),
            "--mode",
            mode,
            "--port",
            "{port}",
        ])
    }

    /// The relay with its defaults, except for the settings that a comparison needs, and `keys`.
    pub(crate) fn relay_command(&self, shards: u32, keys: &[&str]) -> Vec<String> {
        let shards = format!("engine.shards={shards}");
        let fixed = [
            "server.host=127.0.0.1",
            "server.port={port}",
            "metrics.enabled=false",
            "limits.connections=0",
            &shards,
        ];
        let mut command = strings(&[&self.relay.to_string_lossy()]);
        for key in fixed.iter().chain(keys) {
            command.extend(strings(&["--set", key]));
        }
        command
    }
}

/// The arguments of a closed loop with `window` messages in flight, of all publishers together.
fn closed_loop(clients: u32, window: u32, size: u32) -> Vec<String> {
    let each = (window / PUBLISHERS).max(1);
    let numbers = [clients, PUBLISHERS, each, size].map(|number| number.to_string());
    let [clients, publishers, each, size] = &numbers;
    let args = [
        ["--clients", clients, "--publishers", publishers],
        ["--rate", "max", "--window", each],
    ];
    strings(&[&args.concat()[..], &["--size", size]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs() -> Programs {
        let peers = vec![Peer {
            name: "a peer".to_owned(),
            command: Ok(strings(&["peer", "{port}"])),
        }];
        Programs {
            relay: "corecast".into(),
            floor: "floor".into(),
            peers,
            against: None,
        }
    }

    #[test]
    fn cases_have_unique_names_a_base_and_a_judged_contender() {
        let cases = programs().cases(false);
        let mut names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len());
        assert!(cases.iter().all(|case| case.contenders.len() >= 2));
    }

    #[test]
    fn another_build_is_the_last_contender_of_every_case() {
        let mut programs = programs();
        programs.against = Some("old/corecast".into());
        for case in programs.cases(false) {
            let (judged, before) = (&case.contenders[1], case.contenders.last());
            let before = before.expect("a contender");
            assert_eq!(before.name, BEFORE);
            let words = |one: &Contender| one.command.clone().expect("a command");
            assert_eq!(words(before)[0], "old/corecast");
            assert_eq!(words(before)[1..], words(judged)[1..]);
        }
    }

    #[test]
    fn a_window_is_shared_by_the_publishers() {
        let case = programs().closed("name", "title", 512, 128);
        let Load::Deliveries(args) = &case.contenders[1].load else {
            panic!("another load: {:?}", case.contenders[1].load);
        };
        let value = |name: &str| {
            let at = args
                .iter()
                .position(|arg| arg == name)
                .expect("the option is there");
            args[at + 1].parse::<u32>().expect("a number")
        };
        assert_eq!(value("--window") * value("--publishers"), 512);
    }
}
