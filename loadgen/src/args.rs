//! The command line as it is typed. [`Args::plan`] turns it into a checked one (`plan.rs`).

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::plan::{Arrivals, Expect, Filters, Priority};

mod ab;
mod nostr;
mod parse;
mod resolve;
mod scenario;

pub use ab::Ab;
pub use parse::{Quota, Rate, SourceIps, Steps};
pub use scenario::Scenario;

use parse::{
    parse_count_or_share, parse_duration, parse_per_second, parse_rate, parse_share,
    parse_source_ips, parse_steps,
};

const URL_DEFAULT: &str = "ws://127.0.0.1:8443/";
/// A difference up to this share counts as no change.
const TOLERANCE_DEFAULT: f64 = 0.1;

pub(crate) const EXAMPLES: &str = "\
Examples:
  loadgen                                      50 clients, 1000 messages/s, 10 s
  loadgen --clients 1000 --rate 100 --size 128
  loadgen --rate max --window 64 --size 128    closed loop: as fast as it goes
  loadgen --publishers 0 --clients 15000       hold idle connections
  loadgen --handshakes 20000 --concurrency 100 open, upgrade, close
  loadgen --scenario storm --abort-if 'recovery>500ms'
  loadgen --scenario nostr-fanout --clients 1000 --url ws://127.0.0.1:8443/nostr
  loadgen --scenario nostr-query --rows 500 --url ws://127.0.0.1:8443/nostr
  loadgen --deflate --payload json             messages that are worth compressing
  loadgen --url wss://relay.example/ --ca ca.pem
  loadgen --url 'ws://127.0.0.1:8443/ws/user{i}' --no-echo
  loadgen --scenario named --repeat 3
  loadgen --report run.html --report run.json  a page with charts, and the figures
  loadgen --find-max 'p99<5ms' --duration 3s   the highest rate that the relay bears
  loadgen --abort-if 'p99>5ms,lost>0' --repeat 5 --compare before.json
  loadgen ab ws://old.test/ ws://new.test/ --pairs 10   is the second one worse?
  loadgen man | man -l -                       all options of all subcommands, as a page

Exit codes: 0 every delivery right, 2 usage or connection error, 3 wrong deliveries or
a condition of --abort-if, 4 worse than the report of --compare, or B than A of ab,
5 the relay is gone.";

/// Loads a WebSocket relay and checks every delivery.
///
/// Every client receives; some publish. Each message carries the time at which it was due, its
/// publisher and its number, and every receiver checks order, gaps, repeats and content.
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// A named load: it sets the defaults of other options (see the README)
    #[arg(long, value_enum, default_value_t = Scenario::Broadcast)]
    pub scenario: Scenario,

    /// URL to connect to; {i} is replaced by the client's number, {room} by its room's number; a
    /// URL without a path gets the scenario's
    #[arg(long, default_value = URL_DEFAULT)]
    pub url: String,

    /// With a wss:// URL: trust certificates signed by an authority in this PEM file
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,

    /// With a wss:// URL: do not verify certificates or signatures
    #[arg(long)]
    pub insecure: bool,

    /// Offer permessage-deflate without context takeover; the generator's own messages stay
    /// uncompressed
    #[arg(long)]
    pub deflate: bool,

    /// Leave Nagle's algorithm on, as clients do that do not set TCP_NODELAY
    #[arg(long)]
    pub nagle: bool,

    /// Connections [default: 50]
    #[arg(long)]
    pub clients: Option<u32>,

    /// Addresses of this machine to connect from in turn: 127.0.0.2,127.0.0.3 or
    /// 127.0.0.2-127.0.0.9; each address has ports for about 28,000 connections
    #[arg(long, value_name = "LIST", value_parser = parse_source_ips)]
    pub source_ips: Option<SourceIps>,

    /// How long to send messages after the warm-up: 10s, 500ms, 2m; a bare number is milliseconds
    /// [default: 10s]
    #[arg(long, value_parser = parse_duration)]
    pub duration: Option<Duration>,

    /// How long to send before the measurement; these messages are checked but not counted
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    pub warmup: Duration,

    /// Before the warm-up, raise the rate from zero over this time
    #[arg(long, default_value = "0", value_parser = parse_duration)]
    pub ramp: Duration,

    /// Clients that publish, in turn; 0 holds idle connections
    /// [default: every client, at most 1000]
    #[arg(long)]
    pub publishers: Option<u32>,

    /// Messages a second, of all publishers together or of each (`10/each`), sent when due, no
    /// matter how the relay responds (open loop); `max` sends as soon as the window allows (closed
    /// loop) [default: 1000]
    #[arg(long, value_parser = parse_rate)]
    pub rate: Option<Rate>,

    /// Spacing of messages: constant, or a Poisson process that --seed repeats
    #[arg(long, value_enum, default_value_t = Arrivals::Constant)]
    pub arrivals: Arrivals,

    /// Run at each of these rates and find the highest that meets --find-max: 1000,2000,
    /// 1000..16000*2 or 1000..5000+500
    #[arg(long, value_name = "RATES", value_parser = parse_steps, conflicts_with = "repeat")]
    pub rate_steps: Option<Steps>,

    /// Find the highest rate that meets these conditions, for example 'p99<5ms', in each of 8 runs;
    /// without --rate-steps, doubles --rate and then narrows down
    #[arg(long, value_name = "CONDITIONS", conflicts_with = "repeat")]
    pub find_max: Option<String>,

    /// Run this many times and report the median run, with the median and spread of all
    #[arg(long, value_name = "N")]
    pub repeat: Option<u32>,

    /// End early with exit code 3 as soon as one of these conditions holds: 'p99>5ms,lost>0'
    #[arg(long, value_name = "CONDITIONS")]
    pub abort_if: Option<String>,

    /// Compare with an earlier JSON report; exit code 4 if a figure is worse. Needs --repeat 5 on
    /// both sides; to compare two servers, use `loadgen ab`
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,

    /// With --compare and ab: a difference up to this share counts as no change [default: 10%]
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    pub tolerance: Option<f64>,

    /// With --rate max: messages of one publisher that may be in flight [default: 64, for Nostr
    /// events 1]
    #[arg(long)]
    pub window: Option<u32>,

    /// Payload bytes; at least 40 (the stamp), with --text 80, with json 256 [default: 512]
    #[arg(long)]
    pub size: Option<usize>,

    /// Send text messages
    #[arg(long, conflicts_with = "binary")]
    pub text: bool,

    /// Payload after the stamp: a pattern that cannot be compressed, or the changes of an order
    /// book in JSON (a text message) [default: pattern]
    #[arg(long, value_enum)]
    pub payload: Option<Payload>,

    /// Send binary messages (the default)
    #[arg(long)]
    pub binary: bool,

    /// Receivers of a message: everybody in the room, everybody but its publisher, only its
    /// publisher (an echo server), or nobody (only sending is measured) [default: all]
    #[arg(long, value_enum)]
    pub expect: Option<Expect>,

    /// The same as --expect others
    #[arg(long, conflicts_with = "expect")]
    pub no_echo: bool,

    /// Number of rooms to spread the clients over; {room} in the URL stands for the room [default:
    /// 1]
    #[arg(long)]
    pub rooms: Option<u32>,

    /// Receivers of a message: everybody in the room, everybody but its publisher, only its
    /// publisher (an echo server), or nobody (only sending is measured) [default: all]
    #[arg(long, default_value = "/api/push")]
    pub push_path: String,

    /// With --scenario push: its API key
    #[arg(
        long,
        value_name = "KEY",
        env = "LOADGEN_PUSH_KEY",
        hide_env_values = true
    )]
    pub push_key: Option<String>,

    /// With --scenario nostr-fanout: subscriptions of each client [default: 1]
    #[arg(long, value_name = "N")]
    pub subscriptions: Option<u32>,

    /// With --scenario nostr-fanout or nostr-query: what the subscriptions or queries ask for;
    /// --seed decides [default: mixed]
    #[arg(long, value_enum)]
    pub filters: Option<Filters>,

    /// With a Nostr scenario: number of keys that sign the events [default: 1000]
    #[arg(long, value_name = "N")]
    pub keys: Option<u32>,

    /// With --scenario nostr-fanout or nostr-query: keys in each filter by author, drawn from
    /// --keys by Zipf's law [default: 20]
    #[arg(long, value_name = "N")]
    pub authors: Option<u32>,

    /// With a Nostr scenario and --rate max: events to sign before the run, which ends when all are
    /// sent [default: 100000]; with nostr-query or nostr-sync events to store before it [default:
    /// 20000, 10000]
    #[arg(long, value_name = "N")]
    pub events: Option<u32>,

    /// With --scenario nostr-query: the most rows of an answer, which is the filter's limit
    /// [default: 20]
    #[arg(long, value_name = "N")]
    pub rows: Option<u32>,

    /// With --scenario nostr-query: events that share a created_at [default: 2]
    #[arg(long, value_name = "N")]
    pub same_second: Option<u32>,

    /// With --scenario nostr-query: store nothing; an earlier run with the same --seed, --events,
    /// --keys, --size and --same-second has stored the events
    #[arg(long, requires = "seed")]
    pub stored: bool,

    /// With --scenario nostr-sync: events by which a client's set differs from the stored one: one
    /// half only it has, the other only the relay [default: 100]
    #[arg(long, value_name = "N")]
    pub differences: Option<u32>,

    /// The relay's metrics, scraped before and after the run: http://127.0.0.1:9090/metrics
    #[arg(long, value_name = "URL")]
    pub metrics_url: Option<String>,

    /// Number or share of clients (3 or 5%) that connect but never read
    #[arg(long, default_value = "0", value_parser = parse_count_or_share)]
    pub stalled: Quota,

    /// Number or share of clients (3 or 5%) that read no faster than --slow-rate; messages that
    /// they miss are not counted
    #[arg(long, default_value = "0", value_parser = parse_count_or_share)]
    pub slow_readers: Quota,

    /// Bytes a second that a slow reader reads
    #[arg(long, default_value_t = 16_384, requires = "slow_readers")]
    pub slow_rate: u32,

    /// Connections to replace by new ones each second (100/s)
    #[arg(long, value_name = "N", value_parser = parse_per_second)]
    pub churn: Option<f64>,

    /// Interval at which all connections of --churning are dropped at once and reconnect
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "churn")]
    pub storm_every: Option<Duration>,

    /// With --churn or --storm-every: number or share of clients (50 or 20%) that reconnect
    /// [default: 20%, in storms 95%]
    #[arg(long, value_parser = parse_count_or_share)]
    pub churning: Option<Quota>,

    /// Threads that share the clients
    #[arg(long, default_value_t = 1)]
    pub threads: u32,

    /// Scheduling of these threads: real-time (SCHED_RR), so that a delivery is handled when it
    /// arrives and not when the relay pauses, or normal. Real-time needs CAP_SYS_NICE or `ulimit -r
    /// 1`; auto tries it in an open loop and falls back to normal
    #[arg(long, value_enum, default_value_t = Priority::Auto)]
    pub priority: Priority,

    /// Give up on a connection that is not upgraded within this time
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub connect_timeout: Duration,

    /// Instead of sending messages, open, upgrade and close this many connections
    #[arg(long, value_name = "N")]
    #[arg(conflicts_with_all = ["publishers", "stalled", "no_echo", "text", "payload", "repeat"])]
    #[arg(conflicts_with_all = ["rate_steps", "find_max", "abort_if", "compare", "churn"])]
    #[arg(conflicts_with_all = ["storm_every", "priority"])]
    pub handshakes: Option<u32>,

    /// With --handshakes: connections in flight [default: 64]
    #[arg(long)]
    pub concurrency: Option<u32>,

    /// With --handshakes: reset the connection after the upgrade instead of a closing handshake
    #[arg(long)]
    pub reset: bool,

    /// With --handshakes: at most this many new connections a second [default: no limit]
    #[arg(long, value_name = "N", value_parser = parse_per_second)]
    pub per_second: Option<f64>,

    /// Name of this run in its report
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,

    /// Seed that makes payloads, mask and arrivals repeatable [default: from the clock]
    #[arg(long)]
    pub seed: Option<u64>,
}

/// The payload after the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Payload {
    /// Random bytes, or with `--text` random characters.
    Pattern,
    /// The changes of an order book.
    Json,
}
