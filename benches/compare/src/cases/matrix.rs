//! The matrix: message sizes × numbers of clients × pace, plain, over TLS and compressed, and with
//! clients that never read. Not the full product: slow cases that add nothing are left to `--full`,
//! and cases that fit into no machine's memory are left out.

use std::time::Duration;

use super::edge::{DEFLATE, TLS, contender};
use super::{Case, Goal, PUBLISHERS, Peer, Programs, Tier, closed_loop};
use crate::load::strings;
use crate::measure::{CPU, Contender, Load, P50, P99, PEAK, Quantile, RATE, WIRE_BYTES};

const SIZES: [(u32, &str, &str); 4] = [
    (64, "64b", "64 B"),
    (512, "512b", "512 B"),
    (4_096, "4k", "4 KiB"),
    (65_536, "64k", "64 KiB"),
];
const CLIENTS: [(u32, &str); 3] = [(50, "50"), (1_000, "1,000"), (10_000, "10,000")];

/// At a fixed rate no server on one core may be saturated: otherwise the reading shows how it falls
/// behind.
const DELIVERIES_PER_SECOND: u32 = 50_000;
const BYTES_PER_SECOND: u64 = 200_000_000;
/// One message to all clients, in a closed loop with one in flight for each publisher.
const BURST_BYTES_MAX: u64 = 64 << 20;
/// A closed loop keeps this many bytes in flight for each client, which fit any outbox.
const WINDOW_BYTES_MAX: u32 = 512 << 10;
const WINDOW_MAX: u32 = 64;

const QUICK: [&str; 3] = ["64b-50-fixed", "512b-50-max", "512b-1000-fixed"];
const DEFAULT: [&str; 9] = [
    "512b-50-fixed",
    "4k-50-fixed",
    "64k-50-fixed",
    "512b-10000-fixed",
    "64b-50-max",
    "4k-50-max",
    "64k-50-max",
    "512b-1000-max",
    "512b-10000-max",
];
const DEFAULT_EDGE: [&str; 2] = ["4k-50-max-tls", "4k-50-fixed-deflate"];

/// Number of clients, in the cases with some that never read.
const STALLED_OF: u32 = 100;
/// The deliveries to a client in this time must more than fill its socket's buffers.
const STALLED_TIME: Duration = Duration::from_millis(1_500);
const STALLED_LOAD: [&str; 4] = ["--rate", "200", "--size", "16384"];

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Fixed,
    Max,
}

/// A row of the matrix.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    title: String,
    clients: u32,
    pace: Pace,
    args: Vec<String>,
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for pace in [Pace::Fixed, Pace::Max] {
        for (clients, clients_text) in CLIENTS {
            for (bytes, short, size_text) in SIZES {
                let burst = u64::from(clients) * u64::from(bytes);
                if burst > BURST_BYTES_MAX {
                    continue;
                }
                let who = format!("{clients_text} clients, {size_text}");
                let (pace_name, pace_text, args) = match pace {
                    Pace::Fixed => {
                        let rate = rate(clients, bytes);
                        let text = format!("{} messages/s", grouped(rate));
                        ("fixed", text, fixed_rate(clients, rate, bytes))
                    }
                    Pace::Max => {
                        let window = (WINDOW_BYTES_MAX / bytes).clamp(PUBLISHERS, WINDOW_MAX);
                        let window = if clients > 1_000 { PUBLISHERS } else { window };
                        let text = format!("saturated, {window} under way");
                        ("max", text, closed_loop(clients, window, bytes))
                    }
                };
                rows.push(Row {
                    name: format!("{short}-{clients}-{pace_name}"),
                    title: format!("{who}, {pace_text}"),
                    clients,
                    pace,
                    args,
                });
            }
        }
    }
    rows
}

/// With a comma between the thousands.
fn grouped(number: u32) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", number / 1_000, number % 1_000),
    }
}

/// Messages a second, a round number.
fn rate(clients: u32, bytes: u32) -> u32 {
    let by_bytes = BYTES_PER_SECOND / (u64::from(clients) * u64::from(bytes));
    let most = (DELIVERIES_PER_SECOND / clients)
        .min(by_bytes as u32)
        .max(1);
    match most {
        0..10 => most,
        10..100 => most / 10 * 10,
        _ => most / 100 * 100,
    }
}

fn fixed_rate(clients: u32, rate: u32, bytes: u32) -> Vec<String> {
    let numbers = [clients, PUBLISHERS, rate, bytes].map(|number| number.to_string());
    let [clients, publishers, rate, bytes] = &numbers;
    let args = [
        ["--clients", clients, "--publishers", publishers],
        ["--rate", rate, "--size", bytes],
    ];
    strings(args.as_flattened())
}

impl Row {
    fn tier(&self) -> Tier {
        let is_in = |names: &[&str]| names.contains(&self.name.as_str());
        match (is_in(&QUICK), is_in(&DEFAULT) || is_in(&DEFAULT_EDGE)) {
            (true, _) => Tier::Quick,
            (_, true) => Tier::Default,
            _ => Tier::Full,
        }
    }

    /// A reading of ten thousand connections takes ten seconds.
    fn rounds_max(&self) -> Option<u32> {
        (self.clients >= 10_000).then_some(5)
    }

    fn tells(&self) -> &'static [&'static str] {
        match self.pace {
            Pace::Fixed => &[P50, P99, PEAK],
            // Latency is that of the window's own queue.
            Pace::Max => &[RATE, PEAK],
        }
    }
}

impl Programs {
    pub(super) fn matrix_cases(&self) -> Vec<Case> {
        let rows = rows();
        let mut cases: Vec<Case> = rows.iter().map(|row| self.plain(row)).collect();
        let few = rows.iter().filter(|row| row.clients <= 1_000);
        cases.extend(few.clone().map(|row| self.over_tls(row)));
        // Below some hundred bytes there is nothing to compress; JSON payloads have at most 64 KiB.
        let is_worth = |row: &&Row| !row.name.starts_with("64");
        cases.extend(few.filter(is_worth).map(|row| self.deflated(row)));
        cases.extend([1, 10].map(|percent| self.never_reading(percent)));
        cases
    }

    fn plain(&self, row: &Row) -> Case {
        let load = Load::Deliveries(row.args.clone());
        let work = match row.pace {
            Pace::Fixed => (Goal::Ratio(1.05), "message", load),
            Pace::Max => (Goal::RatioAndCheapest(1.15), "turn", load),
        };
        Case {
            tier: row.tier(),
            rounds_max: row.rounds_max(),
            tells: row.tells(),
            ..self.all(&row.name, &row.title, "µs/delivery", work)
        }
    }

    fn over_tls(&self, row: &Row) -> Case {
        let load = Load::Deliveries(row.args.clone());
        let mut contenders = vec![
            contender("corecast, plain", self.relay(&[]), "ws", &load),
            contender("corecast, TLS", self.relay(TLS), "wss", &load),
        ];
        contenders.extend(self.peers("tls", "wss", &load, &["Bun publish", "gorilla (Go)"]));
        let row = Row {
            name: format!("{}-tls", row.name),
            title: format!("{}, over TLS", row.title),
            ..row.clone()
        };
        // The cost of encryption grows with the bytes, so it has no single target ratio.
        self.edge_case(&row, Goal::Told, row.tells(), contenders)
    }

    fn deflated(&self, row: &Row) -> Case {
        let json = strings(&["--payload", "json"]);
        let args = [row.args.clone(), json].concat();
        let plain = Load::Deliveries(args.clone());
        let load = Load::Deliveries([args, strings(&["--deflate"])].concat());
        let mut contenders = vec![
            contender("corecast, deflate off", self.relay(&[]), "ws", &plain),
            contender("corecast, deflate on", self.relay(DEFLATE), "ws", &load),
        ];
        let able = ["npm ws", "Bun publish", "gorilla (Go)"];
        contenders.extend(self.peers("deflate", "ws", &load, &able));
        let row = Row {
            name: format!("{}-deflate", row.name),
            title: format!("{}, JSON, compressed", row.title),
            ..row.clone()
        };
        self.edge_case(&row, Goal::Told, &[WIRE_BYTES], contenders)
    }

    fn edge_case(
        &self,
        row: &Row,
        goal: Goal,
        tells: &'static [&'static str],
        contenders: Vec<Contender>,
    ) -> Case {
        Case {
            name: row.name.clone(),
            title: row.title.clone(),
            unit: "µs/delivery",
            goal,
            tier: row.tier(),
            rounds_max: row.rounds_max(),
            tells,
            contenders,
        }
    }

    /// The p99 of the reading clients, compared with a run in which all read.
    fn never_reading(&self, percent: u32) -> Case {
        let numbers = [STALLED_OF, PUBLISHERS, STALLED_OF * percent / 100];
        let [clients, publishers, stalled] = &numbers.map(|number| number.to_string());
        let who = ["--clients", clients, "--publishers", publishers];
        let args = [who, STALLED_LOAD];
        let load = |extra: &[&str]| Load::Latency {
            args: strings(&[args.as_flattened(), extra].concat()),
            quantile: Quantile::P99,
            at_least: STALLED_TIME,
        };
        let some = load(&["--stalled", stalled]);
        let relay = self.relay(&[
            "slow_client.outbox_bytes=1MiB",
            "limits.message_bytes=64KiB",
        ]);
        let mut contenders = vec![
            contender("corecast, all read", relay.clone(), "ws", &load(&[])),
            contender("corecast", relay, "ws", &some),
        ];
        let peers = self.peers.iter();
        contenders.extend(
            peers.map(|Peer { name, command }| contender(name, command.clone(), "ws", &some)),
        );
        Case {
            name: format!("stalled-{percent}-percent"),
            title: format!("{stalled} of {clients} never read, 16 KiB, 200 messages/s: p99"),
            unit: "µs",
            goal: Goal::Ratio(1.1),
            tier: if percent == 10 {
                Tier::Quick
            } else {
                Tier::Default
            },
            rounds_max: None,
            tells: &[CPU, PEAK],
            contenders,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_that_a_tier_names_is_there() {
        let programs = Programs {
            relay: "corecast".into(),
            floor: "floor".into(),
            peers: Vec::new(),
            against: None,
        };
        let cases = programs.matrix_cases();
        for name in QUICK.iter().chain(&DEFAULT).chain(&DEFAULT_EDGE) {
            let case = cases.iter().find(|case| case.name == *name);
            let tier = case.map(|case| case.tier);
            let is_quick = QUICK.contains(name);
            assert_eq!(
                tier,
                Some(if is_quick { Tier::Quick } else { Tier::Default }),
                "{name}"
            );
        }
    }

    #[test]
    fn a_fixed_rate_keeps_within_what_a_core_can_send() {
        assert_eq!(rate(50, 64), 1_000);
        assert_eq!(rate(10_000, 512), 5);
        assert_eq!(rate(50, 65_536), 60);
        assert_eq!(rate(1_000, 65_536), 3);
    }

    #[test]
    fn no_row_keeps_more_under_way_than_memory_holds() {
        assert!(rows().iter().all(|row| row.name != "64k-10000-max"));
        assert_eq!(rows().len(), 2 * (4 + 4 + 3));
    }
}
