//! The command line as it is typed. [`Args::plan`] turns it into a checked [`Plan`].

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::plan::{Handshakes, Pace, Plan, PlanError, Relay, Target, Work};
use crate::stamp::Form;
use crate::tls::{Tls, Trust};

pub(crate) const EXAMPLES: &str = "\
Examples:
  loadgen                                      50 clients, 1000 messages/s, 10 s
  loadgen --clients 1000 --rate 100 --size 128
  loadgen --rate max --window 64 --size 128    closed loop: as fast as it goes
  loadgen --publishers 0 --clients 15000       hold idle connections
  loadgen --handshakes 20000 --concurrency 100 open, upgrade, close
  loadgen --deflate --payload json             messages that are worth compressing
  loadgen --url wss://relay.example/ --ca ca.pem
  loadgen --url 'ws://127.0.0.1:8443/ws/user{i}' --no-echo
  loadgen --report run.html --report run.json  a page with charts, and the figures

Exit codes: 0 every delivery right, 2 usage or connection error, 3 wrong deliveries.";

/// Loads a WebSocket relay and checks every delivery.
///
/// Every client receives; some publish. Each message carries the time at which it was due, its
/// publisher and its number, and every receiver checks order, gaps, repeats and content.
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Where the clients connect; {i} is replaced by the client's number
    #[arg(long, default_value = "ws://127.0.0.1:8443/")]
    pub url: String,

    /// With a wss:// URL: trust the certificates that an authority in this PEM file has signed
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,

    /// With a wss:// URL: verify neither certificate nor signature
    #[arg(long)]
    pub insecure: bool,

    /// Offer permessage-deflate, without context takeover; what is sent stays uncompressed
    #[arg(long)]
    pub deflate: bool,

    /// Connections
    #[arg(long, default_value_t = 50)]
    pub clients: u32,

    /// How long messages are sent, after the warm-up: 10s, 500ms, 2m; a bare number is milliseconds
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub duration: Duration,

    /// Load before the measurement; its messages are checked, but not counted
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    pub warmup: Duration,

    /// Clients that publish, in turn; 0 holds idle connections
    /// [default: every client, at most 1000]
    #[arg(long)]
    pub publishers: Option<u32>,

    /// Messages a second of all publishers together, sent when due whatever the relay does (open
    /// loop); `max` sends as soon as the window allows (closed loop)
    #[arg(long, default_value = "1000", value_parser = parse_rate)]
    pub rate: Rate,

    /// With --rate max: messages of one publisher that may be under way
    #[arg(long, default_value_t = 64)]
    pub window: u32,

    /// Payload bytes; at least 40, with --text 80, which is the stamp's size, with json 256
    #[arg(long, default_value_t = 512)]
    pub size: usize,

    /// Send text messages
    #[arg(long, conflicts_with = "binary")]
    pub text: bool,

    /// What follows the stamp: a pattern that cannot be compressed, or, as a text message, the
    /// changes of an order book in JSON
    #[arg(long, value_enum, default_value_t = Payload::Pattern)]
    pub payload: Payload,

    /// Send binary messages (the default)
    #[arg(long)]
    pub binary: bool,

    /// The relay does not send a message back to its publisher
    #[arg(long)]
    pub no_echo: bool,

    /// Of the clients, so many connect and then never read
    #[arg(long, default_value_t = 0)]
    pub stalled: u32,

    /// Threads that share the clients
    #[arg(long, default_value_t = 1)]
    pub threads: u32,

    /// Give up on a connection that is not upgraded after this time
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub connect_timeout: Duration,

    /// Instead of messages: open, upgrade and close so many connections
    #[arg(long, value_name = "N")]
    #[arg(conflicts_with_all = ["publishers", "stalled", "no_echo", "text", "payload"])]
    pub handshakes: Option<u32>,

    /// With --handshakes: connections in flight
    #[arg(long, default_value_t = 64)]
    pub concurrency: u32,

    /// With --handshakes: reset the connection after the upgrade instead of a closing handshake
    #[arg(long, requires = "handshakes")]
    pub reset: bool,

    /// With --handshakes: open at most so many connections a second [default: no limit]
    #[arg(long, value_name = "N", requires = "handshakes", value_parser = parse_per_second)]
    pub per_second: Option<f64>,

    /// What to call this run in its report
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,

    /// Makes payloads and mask repeatable [default: from the clock]
    #[arg(long)]
    pub seed: Option<u64>,
}

/// What a message holds behind its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Payload {
    /// Random bytes, or with `--text` random characters.
    Pattern,
    /// The changes of an order book.
    Json,
}

/// `--rate` as it was typed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Messages a second.
    PerSecond(f64),
    /// Closed loop.
    Max,
}

impl Args {
    /// Checks what the single options cannot see, and resolves defaults that depend on others.
    ///
    /// # Errors
    /// The first thing that does not fit, in words for the person who typed it.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        let form = self.form()?;
        let sizes = form.sizes();
        within(
            "--size",
            self.size as u64,
            *sizes.start() as u64,
            *sizes.end() as u64,
        )?;
        within("--clients", self.clients.into(), 1, CLIENTS_MAX.into())?;
        within("--threads", self.threads.into(), 1, THREADS_MAX.into())?;
        within("--window", self.window.into(), 1, 1 << 20)?;
        let work = match self.handshakes {
            Some(count) => self.handshakes_work(count)?,
            None => self.relay_work()?,
        };
        let target = Target::parse(&self.url)?;
        Ok(Plan {
            scenario: "broadcast".to_owned(),
            label: self.label.clone(),
            tls: self.tls(&target)?,
            target,
            deflate: self.deflate,
            threads: self.threads.min(match work {
                Work::Handshakes(handshakes) => handshakes.concurrency,
                Work::Relay(_) => self.clients,
            }),
            connect_timeout: self.connect_timeout,
            size: self.size,
            form,
            seed: self.seed.unwrap_or_else(seed_from_clock),
            work,
        })
    }

    fn form(&self) -> Result<Form, PlanError> {
        match (self.payload, self.text, self.binary) {
            (Payload::Json, _, true) => Err(PlanError::new(
                "--payload json is text: it does not go with --binary",
            )),
            (Payload::Json, ..) => Ok(Form::Json),
            (Payload::Pattern, true, _) => Ok(Form::Text),
            (Payload::Pattern, false, _) => Ok(Form::Binary),
        }
    }

    fn tls(&self, target: &Target) -> Result<Option<Tls>, PlanError> {
        let trust = match (&self.ca, self.insecure) {
            (Some(file), _) => Some(Trust::Authorities(file.clone())),
            (None, true) => Some(Trust::Everybody),
            (None, false) => None,
        };
        match (target.is_tls(), trust) {
            (true, Some(trust)) => Tls::new(target.host(), &trust).map(Some),
            (true, None) => Err(PlanError::new(
                "a wss:// URL needs --ca with the authority to trust, or --insecure",
            )),
            (false, Some(_)) => Err(PlanError::new("--ca and --insecure need a wss:// URL")),
            (false, None) => Ok(None),
        }
    }

    fn handshakes_work(&self, count: u32) -> Result<Work, PlanError> {
        within("--handshakes", count.into(), 1, u32::MAX.into())?;
        within(
            "--concurrency",
            self.concurrency.into(),
            1,
            CLIENTS_MAX.into(),
        )?;
        Ok(Work::Handshakes(Handshakes {
            count,
            concurrency: self.concurrency,
            reset: self.reset,
            per_second: self.per_second,
        }))
    }

    fn relay_work(&self) -> Result<Work, PlanError> {
        within(
            "--stalled",
            self.stalled.into(),
            0,
            u64::from(self.clients) - 1,
        )?;
        let live = self.clients - self.stalled;
        let publishers = self.publishers.unwrap_or(live.min(PUBLISHERS_DEFAULT_MAX));
        within("--publishers", publishers.into(), 0, live.into())?;
        let pace = match self.rate {
            Rate::PerSecond(per_second) => Pace::Open { per_second },
            Rate::Max => Pace::Closed {
                window: self.window,
            },
        };
        // Without echo another client of the same thread tells a publisher that it arrived.
        if self.no_echo && self.rate == Rate::Max && live / self.threads.min(self.clients) < 2 {
            return Err(PlanError::new(
                "--rate max with --no-echo needs at least two reading clients for each thread",
            ));
        }
        if self.duration.is_zero() {
            return Err(PlanError::new("--duration must be longer than 0"));
        }
        Ok(Work::Relay(Relay {
            clients: self.clients,
            stalled: self.stalled,
            publishers,
            pace,
            echo: !self.no_echo,
            warmup: if publishers == 0 {
                Duration::ZERO
            } else {
                self.warmup
            },
            duration: self.duration,
        }))
    }
}

const CLIENTS_MAX: u32 = 1_000_000;
const THREADS_MAX: u32 = 256;
/// A receiver keeps four bytes for each publisher: 15,000 clients that all published would want
/// a gigabyte.
const PUBLISHERS_DEFAULT_MAX: u32 = 1000;

fn within(option: &str, value: u64, min: u64, max: u64) -> Result<(), PlanError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(PlanError::new(format!(
        "{option} must be from {min} to {max}, not {value}"
    )))
}

fn seed_from_clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_nanos() as u64)
}

/// Longest time that an option may say: keeps all sums of nanoseconds far from overflow.
const DURATION_SECONDS_MAX: f64 = 30.0 * 86_400.0;

/// `10s`, `500ms`, `1.5m`, `1h`, or a bare number of milliseconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit.trim() {
        "" | "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "us" | "µs" => 0.000_001,
        _ => return Err(format!("unknown unit `{unit}`; use ms, s, m or h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "expected 10s, 500ms or milliseconds")?;
    let seconds = number * scale;
    if seconds > DURATION_SECONDS_MAX {
        return Err("longer than 30 days".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e8).contains(&rate) => Ok(Rate::PerSecond(rate)),
        Ok(_) => Err("expected 0.001 to 100000000 messages a second, or max".to_owned()),
        Err(_) => Err("expected messages a second, or max".to_owned()),
    }
}

fn parse_per_second(text: &str) -> Result<f64, String> {
    match parse_rate(text)? {
        Rate::PerSecond(rate) => Ok(rate),
        Rate::Max => Err("leave the option away".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_duration_is_milliseconds() {
        assert_eq!(parse_duration("500"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "-1", "10 parsecs", "1..5", "999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rate_is_positive_or_max() {
        assert_eq!(parse_rate("max"), Ok(Rate::Max));
        assert_eq!(parse_rate("0.5"), Ok(Rate::PerSecond(0.5)));
        for bad in ["0", "-1", "NaN", "inf", "fast"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }

    fn plan(line: &[&str]) -> Result<Plan, PlanError> {
        Args::parse_from([&["loadgen"], line].concat()).plan()
    }

    #[test]
    fn every_client_publishes_unless_said_otherwise() {
        let publishers = |line: &[&str]| match plan(line).map(|plan| plan.work) {
            Ok(Work::Relay(relay)) => relay.publishers,
            other => panic!("{other:?}"),
        };
        assert_eq!(publishers(&[]), 50);
        assert_eq!(publishers(&["--stalled", "3"]), 47);
        assert_eq!(publishers(&["--clients", "15000"]), 1000);
        assert_eq!(publishers(&["--publishers", "0"]), 0);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for line in [
            &["--size", "39"][..],
            &["--size", "79", "--text"],
            &["--clients", "0"],
            &["--publishers", "51"],
            &["--stalled", "50"],
            &["--threads", "0"],
            &["--duration", "0"],
            &[
                "--no-echo",
                "--rate",
                "max",
                "--clients",
                "2",
                "--threads",
                "2",
            ],
            &["--url", "http://127.0.0.1/"],
            &["--url", "wss://127.0.0.1/"],
            &["--insecure"],
            &[
                "--url",
                "wss://127.0.0.1/",
                "--ca",
                "/there/is/no/such/file",
            ],
            &["--payload", "json", "--binary"],
            &["--payload", "json", "--size", "255"],
            &["--payload", "json", "--size", "70000"],
        ] {
            assert!(plan(line).is_err(), "{line:?}");
        }
        assert!(plan(&["--url", "wss://127.0.0.1/", "--insecure"]).is_ok());
        assert!(plan(&["--payload", "json", "--size", "256"]).is_ok());
        assert!(plan(&["--size", "40"]).is_ok() && plan(&["--size", "80", "--text"]).is_ok());
    }
}
