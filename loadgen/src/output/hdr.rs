//! The report as an `HdrHistogram` log, which its own tools read: nanoseconds, three digits.
//!
//! Lines without a tag are the latency of each second and of the time after the measurement, so
//! that their sum is the latency of the run. A line with a tag is the whole run by another measure:
//! `first` and `last` receiver, the `uncorrected` ones, `in-time`, `without-lag`, `lateness`,
//! `receive-lag`, `connect`.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::anyhow;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriter, IntervalLogWriterBuilder, Tag};

use crate::report::{Distribution, HandshakeReport, Head, RelayReport, Report};

type Writer<'a, 'b> = IntervalLogWriter<'a, 'b, Vec<u8>, V2DeflateSerializer>;

pub(super) fn render(report: &Report) -> anyhow::Result<String> {
    let mut out = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let began = UNIX_EPOCH + Duration::from_millis(report.head().started_at_ms);
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(&title(report.head()))
        .with_start_time(began)
        .with_base_time(began)
        .with_max_value_divisor(1e6)
        .begin_log_with(&mut out, &mut serializer)?;
    match report {
        Report::Relay(report) => relay(&mut log, report)?,
        Report::Handshakes(report) => handshakes(&mut log, report)?,
    }
    drop(log);
    Ok(String::from_utf8(out)?)
}

/// A comment must be one line, so line breaks in the label are replaced.
fn title(head: &Head) -> String {
    let label = head.label.as_deref().unwrap_or_default();
    let title = format!(
        "[{}: {} {label}, nanoseconds, maximum in milliseconds]",
        head.program, head.scenario
    );
    title.replace(char::is_control, " ")
}

fn relay(log: &mut Writer<'_, '_>, report: &RelayReport) -> anyhow::Result<()> {
    let whole_ms = report.measured_ms as u64;
    let (corrected, uncorrected) = (&report.latency.corrected, &report.latency.uncorrected);
    if report.timeline.is_empty() {
        line(log, None, 0, whole_ms, &corrected.each)?;
    }
    for second in &report.timeline {
        line(log, None, second.at_ms, second.for_ms, &second.latency)?;
    }
    let drain = &report.drain;
    if drain.received > 0 {
        line(log, None, drain.at_ms, drain.for_ms, &drain.latency)?;
    }
    for (tag, distribution) in [
        ("first", &corrected.first),
        ("last", &corrected.last),
        ("uncorrected", &uncorrected.each),
        ("uncorrected-first", &uncorrected.first),
        ("uncorrected-last", &uncorrected.last),
        ("in-time", &report.latency.in_time),
        ("without-lag", &report.latency.arrived),
        ("lateness", &report.lateness_ns),
        ("receive-lag", &report.receive_lag_ns),
        ("connect", &report.connect_ns),
    ] {
        line(log, Some(tag), 0, whole_ms, distribution)?;
    }
    if let Some(nostr) = &report.nostr {
        line(log, Some("answer"), 0, whole_ms, &nostr.ok_ns)?;
    }
    Ok(())
}

fn handshakes(log: &mut Writer<'_, '_>, report: &HandshakeReport) -> anyhow::Result<()> {
    let whole_ms = report.elapsed_ms as u64;
    line(log, Some("connect"), 0, whole_ms, &report.connect_ns)
}

/// One line; none if there are no values.
fn line(
    log: &mut Writer<'_, '_>,
    tag: Option<&str>,
    at_ms: u64,
    for_ms: u64,
    distribution: &Distribution,
) -> anyhow::Result<()> {
    let Some(histogram) = distribution.histogram() else {
        return Ok(());
    };
    let (at, length) = (Duration::from_millis(at_ms), Duration::from_millis(for_ms));
    log.write_histogram(&histogram, at, length, tag.and_then(Tag::new))
        .map_err(|error| anyhow!("cannot write the log of histograms: {error}"))
}
