//! The well-behaved pair: one publisher and one receiver in a room of their own, as a process.
//!
//! It is an open loop: messages are due at fixed intervals, no matter what happens to earlier ones,
//! and latency counts from when a message was due. Messages that never arrive count with their age
//! at the end.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::client::{self, Frames, Origin};

/// The name of the command.
pub(crate) const COMMAND: &str = "pair";
/// Messages before those that count.
const LEAD_IN: Duration = Duration::from_millis(300);
/// How long after the last due time messages may still arrive.
const GRACE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);
const PAYLOAD_BYTES: usize = 32;

/// The target and the load.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The relay
    #[arg(long)]
    to: SocketAddr,
    /// The address to connect from
    #[arg(long)]
    from: Option<IpAddr>,
    /// An API key
    #[arg(long)]
    key: Option<String>,
    /// Messages a second
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// How long messages are sent that count
    #[arg(long)]
    window_ms: u64,
}

/// Its results. Times are in milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) count: u64,
    /// Of these, those that never came.
    pub(crate) lost: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// The p99 of the publisher's own lateness.
    pub(crate) late_p99_ms: f64,
}

/// Connects, prints `ready`, waits for the end of stdin, measures, and prints its report.
///
/// # Errors
/// It cannot connect.
pub(crate) fn run(args: &Args) -> Result<()> {
    let receiver = open(args).context("the receiver")?;
    let publisher = open(args).context("the publisher")?;
    drain(publisher.try_clone()?);
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let report = measure(args, receiver, publisher)?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

fn open(args: &Args) -> Result<TcpStream> {
    let origin = Origin {
        address: args.from,
        ..Origin::default()
    };
    let mut stream = client::connect(args.to, origin)?;
    let key = args.key.as_ref();
    let key = key.map_or_else(String::new, |key| format!("X-API-Key: {key}\r\n"));
    client::upgrade(&mut stream, "/pair", &key)?;
    stream.set_read_timeout(None)?;
    Ok(stream)
}

/// Reads the relay's messages to the publisher. Ends with the connection.
fn drain(mut stream: TcpStream) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
    });
}

/// The receiver's messages: latencies by message number.
struct Received {
    latencies_ns: Vec<u64>,
}

fn measure(args: &Args, receiver: TcpStream, mut publisher: TcpStream) -> Result<Report> {
    ensure!(args.rate > 0, "a rate of nothing");
    let interval = Duration::from_secs(1) / args.rate;
    let before = LEAD_IN.div_duration_f64(interval) as u64;
    let counted = Duration::from_millis(args.window_ms).div_duration_f64(interval) as u64;
    let total = before + counted;
    let origin = Instant::now() + POLL;
    let due = |number: u64| origin + interval * number as u32;
    let is_over = Arc::new(AtomicBool::new(false));
    let reader = {
        let is_over = Arc::clone(&is_over);
        thread::spawn(move || receive(receiver, total, interval, origin, &is_over))
    };
    let mut late = Histogram::<u64>::new(3)?;
    for number in 0..total {
        thread::sleep(due(number).saturating_duration_since(Instant::now()));
        late.record(due(number).elapsed().as_nanos() as u64)?;
        let mut payload = [b'p'; PAYLOAD_BYTES];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        // A closed connection shows as missing messages.
        let _ = publisher.write_all(&client::frame(client::BINARY, &payload));
    }
    let end = due(total) + GRACE;
    while !reader.is_finished() && Instant::now() < end {
        thread::sleep(POLL);
    }
    is_over.store(true, Ordering::Relaxed);
    let received = reader.join();
    let received = received.map_err(|_| anyhow::anyhow!("the receiver failed"))?;
    let ages = |number: u64| due(number).elapsed().as_nanos() as u64;
    summary(&received, before..total, ages, &late)
}

/// Messages arrive in order, so missing ones are the last ones.
fn receive(
    mut stream: TcpStream,
    total: u64,
    interval: Duration,
    origin: Instant,
    is_over: &AtomicBool,
) -> Received {
    let mut latencies_ns = Vec::with_capacity(total as usize);
    let mut frames = Frames::default();
    let mut buffer = [0; 4096];
    let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
    while (latencies_ns.len() as u64) < total && !is_over.load(Ordering::Relaxed) {
        match client::Tried::of(stream.read(&mut buffer)) {
            client::Tried::Bytes(count) => frames.take(&buffer[..count]),
            client::Tried::Later => continue,
            client::Tried::Gone => break,
        }
        while let Some((opcode, payload)) = frames.next() {
            let number = payload
                .first_chunk()
                .map(|bytes| u64::from_be_bytes(*bytes));
            if let (client::BINARY, Some(number)) = (opcode, number) {
                let due = origin + interval * number as u32;
                latencies_ns.push(due.elapsed().as_nanos() as u64);
            }
        }
    }
    Received { latencies_ns }
}

fn summary(
    received: &Received,
    counted: std::ops::Range<u64>,
    age_ns: impl Fn(u64) -> u64,
    late: &Histogram<u64>,
) -> Result<Report> {
    let mut latencies = Histogram::<u64>::new(3)?;
    let mut lost = 0;
    for number in counted {
        let latency = received.latencies_ns.get(number as usize).copied();
        lost += u64::from(latency.is_none());
        latencies.record(latency.unwrap_or_else(|| age_ns(number)))?;
    }
    let millis = |ns: u64| ns as f64 / 1e6;
    Ok(Report {
        count: latencies.len(),
        lost,
        p50_ms: millis(latencies.value_at_quantile(0.5)),
        p99_ms: millis(latencies.value_at_quantile(0.99)),
        max_ms: millis(latencies.max()),
        late_p99_ms: millis(late.value_at_quantile(0.99)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_never_came_counts_with_its_age() {
        let late = Histogram::<u64>::new(3).expect("a histogram");
        let received = Received {
            latencies_ns: vec![9_000_000_000, 1_000_000, 1_000_000],
        };
        let report = summary(&received, 1..5, |_| 50_000_000, &late).expect("a report");
        assert_eq!((report.count, report.lost), (4, 2));
        assert!(report.p50_ms < 1.1 && report.p99_ms > 49.0 && report.max_ms < 51.0);
    }
}
