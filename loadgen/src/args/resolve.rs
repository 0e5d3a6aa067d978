//! Resolves the command line to a checked plan.

use std::path::Path;
use std::time::Duration;

use super::{Args, Payload, Quota, Rate, TOLERANCE_DEFAULT};
use crate::args::scenario::Preset;
use crate::condition::Condition;
use crate::error::PlanError;
use crate::plan::{Churn, Expect, Handshakes, Pace, Plan, Rates, Relay, Series, Target, Work};
use crate::push::Push;
use crate::report::{RelayReport, Report};
use crate::stamp::Form;
use crate::tls::{Tls, Trust};

const CLIENTS_DEFAULT: u32 = 50;
const RATE_DEFAULT: f64 = 1000.0;
const SIZE_DEFAULT: usize = 512;
const DURATION_DEFAULT: Duration = Duration::from_secs(10);
const WINDOW_DEFAULT: u32 = 64;
const CONCURRENCY_DEFAULT: u32 = 64;
/// Default with `--churn`.
const CHURNING_DEFAULT: Quota = Quota::Share(0.2);
/// Default with `--storm-every`.
const STORM_DEFAULT: Quota = Quota::Share(0.95);
/// Scenario name of a `--handshakes` run, no matter which scenario gave the path.
const HANDSHAKES: &str = "handshakes";
const CLIENTS_MAX: u32 = 1_000_000;
const THREADS_MAX: u32 = 256;
/// A receiver keeps four bytes per publisher, so 15,000 clients that all publish would need a
/// gigabyte.
const PUBLISHERS_DEFAULT_MAX: u32 = 1000;

/// Clients by kind.
struct Crowd {
    clients: u32,
    slow: u32,
    churning: u32,
    churn: Option<Churn>,
    stalled: u32,
}

impl Args {
    /// Checks rules that involve several options, and resolves defaults that depend on others.
    ///
    /// # Errors
    /// The first option that does not fit, worded for the person who typed it.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        let preset = self.scenario.preset();
        let form = self.form(&preset)?;
        let sizes = Self::sizes(form, &preset);
        let size = self.size.or(preset.size).unwrap_or(SIZE_DEFAULT);
        within(
            "--size",
            size as u64,
            *sizes.start() as u64,
            *sizes.end() as u64,
        )?;
        let work = match self.handshakes {
            Some(count) => self.handshakes_work(count)?,
            None => self.relay_work(&preset)?,
        };
        within("--threads", self.threads.into(), 1, THREADS_MAX.into())?;
        let target = Target::parse(&self.url)?.or_path(preset.path);
        Ok(Plan {
            scenario: match work {
                Work::Handshakes(_) => HANDSHAKES.to_owned(),
                Work::Relay(_) => self.scenario.name(),
            },
            label: self.label.clone(),
            tls: self.tls(&target)?,
            target,
            deflate: self.deflate,
            nagle: self.nagle,
            priority: self.priority,
            threads: self.threads.min(match work {
                Work::Handshakes(handshakes) => handshakes.concurrency,
                Work::Relay(relay) => relay.clients,
            }),
            connect_timeout: self.connect_timeout,
            size,
            form,
            seed: self.seed.unwrap_or_else(seed_from_clock),
            push: self.push(&preset, form)?,
            metrics_url: self.metrics_url.clone(),
            source_ips: self.source_ips.clone().map_or_else(Vec::new, |ips| ips.0),
            abort_if: conditions("--abort-if", self.abort_if.as_deref(), &work)?,
            series: self.series(&work)?,
            baseline: self.compare.as_deref().map(baseline).transpose()?,
            tolerance: self.tolerance()?,
            work,
        })
    }

    fn tolerance(&self) -> Result<f64, PlanError> {
        match self.tolerance {
            Some(_) if self.compare.is_none() => Err(PlanError::new("--tolerance needs --compare")),
            tolerance => Ok(tolerance.unwrap_or(TOLERANCE_DEFAULT)),
        }
    }

    fn form(&self, preset: &Preset) -> Result<Form, PlanError> {
        let asked = self.payload;
        let payload = asked.or(preset.payload).unwrap_or(Payload::Pattern);
        match (payload, self.text, self.binary) {
            _ if preset.nostr.is_some() => Ok(Form::Text),
            (Payload::Json, _, true) if asked.is_some() => Err(PlanError::new(
                "--payload json is text: it conflicts with --binary",
            )),
            (Payload::Json, _, false) => Ok(Form::Json),
            (Payload::Pattern, true, _) => Ok(Form::Text),
            (Payload::Pattern, false, _) | (Payload::Json, _, true) => Ok(Form::Binary),
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
        let concurrency = self.concurrency.unwrap_or(CONCURRENCY_DEFAULT);
        within("--concurrency", concurrency.into(), 1, CLIENTS_MAX.into())?;
        Ok(Work::Handshakes(Handshakes {
            count,
            concurrency,
            reset: self.reset,
            per_second: self.per_second,
        }))
    }

    fn relay_work(&self, preset: &Preset) -> Result<Work, PlanError> {
        if self.reset || self.per_second.is_some() || self.concurrency.is_some() {
            return Err(PlanError::new(
                "--reset, --per-second and --concurrency need --handshakes",
            ));
        }
        within("--window", self.window(preset).into(), 1, 1 << 20)?;
        let nostr = self.nostr(preset)?;
        let is_apart = preset.push || nostr.is_some_and(|nostr| nostr.subscriptions > 0);
        let crowd = self.crowd(preset)?;
        let full = crowd.clients - crowd.slow - crowd.churning - crowd.stalled;
        let publishers = self.publishers.or(preset.publishers);
        let publishers = publishers.unwrap_or(full.min(PUBLISHERS_DEFAULT_MAX));
        let publishers_max = match is_apart {
            true => PUBLISHERS_DEFAULT_MAX,
            false => full,
        };
        within("--publishers", publishers.into(), 0, publishers_max.into())?;
        let no_echo = self.no_echo.then_some(Expect::Others);
        let expect = self.expect.or(no_echo).or(preset.expect);
        let rooms = self.rooms.or(preset.rooms).unwrap_or(1);
        within("--rooms", rooms.into(), 1, full.into())?;
        let duration = self
            .duration
            .or(preset.duration)
            .unwrap_or(DURATION_DEFAULT);
        if duration.is_zero() {
            return Err(PlanError::new("--duration must be longer than 0"));
        }
        let before = |time| match publishers {
            0 => Duration::ZERO,
            _ => time,
        };
        let relay = Relay {
            clients: crowd.clients,
            slow: crowd.slow,
            slow_bytes_per_second: self.slow_rate,
            churning: crowd.churning,
            churn: crowd.churn,
            stalled: crowd.stalled,
            publishers,
            is_pushed: is_apart,
            nostr,
            pace: self.pace(preset, publishers),
            expect: expect.unwrap_or(Expect::All),
            rooms,
            ramp: before(self.ramp),
            warmup: before(self.warmup),
            duration,
        };
        self.check_closed_loop(&relay)?;
        if relay.is_pushed && !matches!(relay.expect, Expect::All | Expect::Nobody) {
            return Err(PlanError::new(
                "a push has no sender among the clients: --expect all or nobody",
            ));
        }
        if relay.expect == Expect::Own && relay.rooms > 1 {
            return Err(PlanError::new("--expect self does not support --rooms"));
        }
        Ok(Work::Relay(relay))
    }

    /// Number of clients of each kind.
    fn crowd(&self, preset: &Preset) -> Result<Crowd, PlanError> {
        let clients = self.clients.or(preset.clients).unwrap_or(CLIENTS_DEFAULT);
        within("--clients", clients.into(), 1, CLIENTS_MAX.into())?;
        let churn = self.churn(preset)?;
        if self.churning.is_some() && churn.is_none() {
            return Err(PlanError::new("--churning needs --churn or --storm-every"));
        }
        let churning = match churn {
            None => Quota::Count(0),
            Some(Churn::Steady { .. }) => self.churning.unwrap_or(CHURNING_DEFAULT),
            Some(Churn::Storms { .. }) => self.churning.unwrap_or(STORM_DEFAULT),
        };
        let crowd = Crowd {
            clients,
            stalled: self.stalled.of(clients),
            slow: self.slow_readers.of(clients),
            churning: churning.of(clients),
            churn,
        };
        let others = [crowd.stalled, crowd.slow, crowd.churning].map(u64::from);
        within(
            "--stalled, --slow-readers and --churning together",
            others.iter().sum(),
            0,
            u64::from(clients) - 1,
        )?;
        Ok(crowd)
    }

    /// When clients are replaced: as the options say, or else as the scenario does.
    fn churn(&self, preset: &Preset) -> Result<Option<Churn>, PlanError> {
        let churn = |per_second, every| match (per_second, every) {
            (Some(per_second), _) => Some(Churn::Steady { per_second }),
            (None, Some(every)) => Some(Churn::Storms { every }),
            (None, None) => None,
        };
        if self.storm_every.is_some_and(|every| every.is_zero()) {
            return Err(PlanError::new("--storm-every must be longer than 0"));
        }
        Ok(churn(self.churn, self.storm_every).or_else(|| churn(preset.churn, preset.storm_every)))
    }

    fn pace(&self, preset: &Preset, publishers: u32) -> Pace {
        let rate = self.rate.or(preset.rate);
        let per_second = match rate.unwrap_or(Rate::PerSecond(RATE_DEFAULT)) {
            Rate::PerSecond(per_second) => per_second,
            Rate::Each(per_second) => per_second * f64::from(publishers.max(1)),
            Rate::Max => {
                return Pace::Closed {
                    window: self.window(preset),
                };
            }
        };
        Pace::Open {
            per_second,
            arrivals: self.arrivals,
        }
    }

    /// In a closed loop some client must report to the publisher that its messages arrived.
    fn check_closed_loop(&self, relay: &Relay) -> Result<(), PlanError> {
        if !matches!(relay.pace, Pace::Closed { .. }) {
            return Ok(());
        }
        if self.rate_steps.is_some() || self.find_max.is_some() {
            return Err(PlanError::new(
                "--rate max conflicts with a walk over rates",
            ));
        }
        if !relay.ramp.is_zero() {
            return Err(PlanError::new("--rate max conflicts with --ramp"));
        }
        let threads = self.threads.clamp(1, relay.clients);
        match relay.expect {
            // A Nostr publisher is paced by OK answers, no matter who gets the events.
            _ if relay.nostr.is_some() => Ok(()),
            Expect::Nobody => Err(PlanError::new(
                "--rate max needs messages that come back: not --expect nobody",
            )),
            // Clients of one room in one thread have numbers that are this far apart.
            Expect::Others if relay.full() / common_multiple(threads, relay.rooms) < 2 => {
                Err(PlanError::new(
                    "--rate max with --no-echo needs at least two reading clients for each thread \
                     and room",
                ))
            }
            _ => Ok(()),
        }
    }

    fn window(&self, preset: &Preset) -> u32 {
        self.window.or(preset.window).unwrap_or(WINDOW_DEFAULT)
    }

    fn push(&self, preset: &Preset, form: Form) -> Result<Option<Push>, PlanError> {
        if !preset.push {
            return Ok(None);
        }
        if form != Form::Json {
            return Err(PlanError::new("--scenario push sends JSON: --payload json"));
        }
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.push_path.starts_with('/') || !is_plain(&self.push_path) {
            return Err(PlanError::new("--push-path must be a path: /api/push"));
        }
        if !self.push_key.as_deref().is_none_or(is_plain) {
            return Err(PlanError::new(
                "--push-key contains a character that a key must not have",
            ));
        }
        Ok(Some(Push {
            path: self.push_path.clone(),
            key: self.push_key.clone(),
        }))
    }

    fn series(&self, work: &Work) -> Result<Series, PlanError> {
        let target = conditions("--find-max", self.find_max.as_deref(), work)?;
        let first = match work {
            Work::Relay(Relay {
                pace: Pace::Open { per_second, .. },
                ..
            }) => *per_second,
            _ => RATE_DEFAULT,
        };
        if let Some(times) = self.repeat {
            within("--repeat", times.into(), 1, 1000)?;
            return Ok(Series::Repeat(times));
        }
        match (&self.rate_steps, self.find_max.is_some()) {
            (None, false) => Ok(Series::Once),
            (steps, _) => Ok(Series::Walk(Rates {
                listed: steps.clone().map_or_else(Vec::new, |steps| steps.0),
                first,
                target,
            })),
        }
    }
}

fn common_multiple(one: u32, other: u32) -> u32 {
    let (mut rest, mut divisor) = (one, other);
    while rest > 0 {
        (rest, divisor) = (divisor % rest, rest);
    }
    (one / divisor).saturating_mul(other)
}

fn conditions(option: &str, text: Option<&str>, work: &Work) -> Result<Vec<Condition>, PlanError> {
    let bad = |what: String| PlanError::new(format!("{option}: {what}"));
    let read = text.map_or_else(|| Ok(Vec::new()), Condition::parse_all);
    let read = read.map_err(bad)?;
    match (read.iter().find(|one| one.is_of_storms()), work) {
        (None, _) => Ok(read),
        (_, Work::Relay(relay)) if relay.has_storms() => Ok(read),
        (Some(one), _) => Err(bad(format!(
            "{} needs --storm-every, of half the run or less",
            one.text()
        ))),
    }
}

fn baseline(file: &Path) -> Result<Box<RelayReport>, PlanError> {
    let bad = |what: String| PlanError::new(format!("--compare {}: {what}", file.display()));
    let json = std::fs::read(file).map_err(|error| bad(error.to_string()))?;
    match Report::read(&json).map_err(bad)? {
        Report::Relay(report) => Ok(report),
        Report::Handshakes(_) => Err(bad("it is a report of handshakes".to_owned())),
    }
}

pub(super) fn within(option: &str, value: u64, min: u64, max: u64) -> Result<(), PlanError> {
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

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
    fn conflicting_options_are_refused() {
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
