//! The cases with compression and TLS, against the relay without them.

use std::time::Duration;

use super::{Case, Goal, Peer, Programs, Tier};
use crate::load::strings;
use crate::measure::{
    CONNECTS_BEFORE, CONNECTS_STORM, Contender, GENERATOR, GENERATOR_STORM, Load, P50, P99,
    Quantile, WIRE_BYTES,
};

pub(super) const DEFLATE: &[&str] = &["deflate.enabled=true"];
/// The driver writes these files into the folder of the servers.
pub(super) const TLS: &[&str] = &[
    "server.tls.enabled=true",
    "server.tls.cert_file=cert.pem",
    "server.tls.key_file=key.pem",
];
const MESSAGES: [&str; 8] = [
    "--clients",
    "50",
    "--publishers",
    "8",
    "--rate",
    "1000",
    "--size",
    "128",
];
const STORM_CONNECTS: u32 = 5_000;

impl Programs {
    pub(super) fn edge_cases(&self, is_quick: bool) -> Vec<Case> {
        vec![
            self.deflate(),
            self.tls(),
            self.idle_tls(is_quick),
            self.storm(),
        ]
    }

    /// Clients send plain messages and inflate received ones.
    fn deflate(&self) -> Case {
        let many = ["--clients", "1000", "--publishers", "8", "--rate", "20"];
        let json = ["--size", "512", "--payload", "json"];
        let plain = Load::Deliveries(strings(&[&many[..], &json].concat()));
        let compressed = Load::Deliveries(strings(&[&many[..], &json, &["--deflate"]].concat()));
        let mut contenders = vec![
            contender("corecast, deflate off", self.relay(&[]), "ws", &plain),
            contender(
                "corecast, deflate on",
                self.relay(DEFLATE),
                "ws",
                &compressed,
            ),
        ];
        contenders.extend(self.peers("deflate", "ws", &compressed, &["npm ws", "Bun publish"]));
        Case {
            name: "deflate-1000".to_owned(),
            title: "1,000 clients, 20 messages/s of 512 B in JSON, compressed".to_owned(),
            unit: "µs/delivery",
            goal: Goal::Ratio(1.10),
            tier: Tier::Default,
            rounds_max: None,
            tells: &[WIRE_BYTES],
            contenders,
        }
    }

    fn tls(&self) -> Case {
        let load = Load::Deliveries(strings(&MESSAGES));
        let mut contenders = vec![
            contender("corecast, plain", self.relay(&[]), "ws", &load),
            contender("corecast, TLS", self.relay(TLS), "wss", &load),
        ];
        contenders.extend(self.peers("tls", "wss", &load, &["Bun publish"]));
        Case {
            name: "tls-50".to_owned(),
            title: "50 clients, 1,000 messages/s, 128 B, over TLS".to_owned(),
            unit: "µs/delivery",
            goal: Goal::Ratio(1.35),
            tier: Tier::Quick,
            rounds_max: None,
            tells: &[WIRE_BYTES, P50, P99],
            contenders,
        }
    }

    fn idle_tls(&self, is_quick: bool) -> Case {
        let many = if is_quick { 3_000 } else { 6_000 };
        let load = Load::Idle { few: 1_000, many };
        let mut contenders = vec![
            contender("corecast, plain", self.relay(&[]), "ws", &load),
            contender("corecast, TLS", self.relay(TLS), "wss", &load),
        ];
        contenders.extend(self.peers("tls", "wss", &load, &["Bun publish"]));
        Case {
            name: "idle-tls".to_owned(),
            title: "memory of an idle connection over TLS 1.3".to_owned(),
            unit: "bytes",
            goal: Goal::AtMost(10_240.0),
            tier: Tier::Default,
            rounds_max: Some(3),
            tells: &[],
            contenders,
        }
    }

    fn storm(&self) -> Case {
        let args = strings(&MESSAGES);
        let quiet = Load::Latency {
            args: args.clone(),
            quantile: Quantile::P99,
            at_least: Duration::ZERO,
        };
        let storm = Load::Storm {
            args,
            connects: STORM_CONNECTS,
        };
        Case {
            name: "storm-tls".to_owned(),
            title: "50 clients, 1,000 messages/s over TLS, p99 while 5,000 others connect"
                .to_owned(),
            unit: "µs",
            goal: Goal::Ratio(5.0),
            tier: Tier::Default,
            rounds_max: None,
            tells: &[CONNECTS_BEFORE, CONNECTS_STORM, GENERATOR, GENERATOR_STORM],
            contenders: vec![
                contender("nobody connects", self.relay(TLS), "wss", &quiet),
                contender("5,000 TLS connects", self.relay(TLS), "wss", &storm),
            ],
        }
    }

    pub(super) fn relay(&self, keys: &[&str]) -> Result<Vec<String>, String> {
        Ok(self.relay_command(1, keys))
    }

    /// The peers of these names that support `what`, the last argument of their command.
    pub(super) fn peers(
        &self,
        what: &str,
        scheme: &'static str,
        load: &Load,
        names: &[&str],
    ) -> Vec<Contender> {
        let peers = self.peers.iter();
        peers
            .filter(|peer| names.contains(&peer.name.as_str()))
            .map(|Peer { name, command }| {
                let command = command.clone();
                let command = command.map(|words| [words, strings(&[what])].concat());
                contender(&format!("{name}, {what}"), command, scheme, load)
            })
            .collect()
    }
}

pub(super) fn contender(
    name: &str,
    command: Result<Vec<String>, String>,
    scheme: &'static str,
    load: &Load,
) -> Contender {
    Contender {
        name: name.to_owned(),
        command,
        pinned: true,
        scheme,
        load: load.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_peers_that_can_are_asked_to_and_only_after_their_port() {
        let command = |name: &str| Ok(strings(&[name, "{port}"]));
        let programs = Programs {
            relay: "corecast".into(),
            floor: "floor".into(),
            peers: ["tokio-tungstenite", "npm ws", "Bun publish", "mine"]
                .map(|name| Peer {
                    name: name.to_owned(),
                    command: command(name),
                })
                .to_vec(),
            against: None,
        };
        let deflate = programs.deflate();
        let names = deflate.contenders.iter().map(|one| one.name.as_str());
        let names: Vec<_> = names.skip(2).collect();
        assert_eq!(names, ["npm ws, deflate", "Bun publish, deflate"]);
        let tls = programs.tls();
        assert_eq!(tls.contenders.len(), 3);
        let bun = tls.contenders[2].command.clone();
        assert_eq!(bun, Ok(strings(&["Bun publish", "{port}", "tls"])));
    }

    #[test]
    fn the_base_is_the_relay_without_the_judged_feature() {
        let programs = Programs {
            relay: "corecast".into(),
            floor: "floor".into(),
            peers: Vec::new(),
            against: None,
        };
        for case in [programs.deflate(), programs.tls(), programs.idle_tls(true)] {
            let [base, judged] = &case.contenders[..] else {
                panic!("{}: {} contenders", case.name, case.contenders.len());
            };
            let command = |one: &Contender| one.command.clone().expect("a command");
            let (plain, extra) = (command(base), command(judged));
            assert_eq!(base.scheme, "ws");
            assert!(
                extra.starts_with(&plain) && extra.len() > plain.len(),
                "{}",
                case.name
            );
        }
        let storm = programs.storm();
        assert_eq!(storm.contenders[0].command, storm.contenders[1].command);
    }
}
