//! Distributions of times, as quantiles and as whole histograms.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// A distribution of times in nanoseconds, by its quantiles. All are 0 if `count` is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Number of values.
    pub count: u64,
    /// Smallest.
    pub min: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p99_9: u64,
    /// 99.99 %.
    pub p99_99: u64,
    /// Largest.
    pub max: u64,
}

impl Quantiles {
    /// Of a histogram's values.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        Self {
            count: histogram.len(),
            min: histogram.min(),
            mean: histogram.mean(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p99_9: histogram.value_at_quantile(0.999),
            p99_99: histogram.value_at_quantile(0.9999),
            max: histogram.max(),
        }
    }
}

/// Quantiles with the histogram that they were read from: three significant digits, in
/// nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// The usual quantiles.
    #[serde(flatten)]
    pub quantiles: Quantiles,
    /// The histogram in HdrHistogram's V2 format, deflated, in base64, as in its logs. Empty if
    /// there are no values.
    pub hdr: String,
}

impl Distribution {
    /// Of a histogram's values.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            quantiles: Quantiles::of(histogram),
            hdr: encode(histogram),
        }
    }

    /// The whole histogram. `None` if there are no values, or if the text is corrupt.
    pub fn histogram(&self) -> Option<Histogram<u64>> {
        let bytes = STANDARD.decode(&self.hdr).ok()?;
        Deserializer::new().deserialize(&mut bytes.as_slice()).ok()
    }
}

fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    if !histogram.is_empty()
        // Writing into a vector cannot fail.
        && V2DeflateSerializer::new().serialize(histogram, &mut bytes).is_err()
    {
        return String::new();
    }
    STANDARD.encode(bytes)
}

/// One kind of latency, by receiver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ByReceiver {
    /// The first receiver: one value per message.
    pub first: Distribution,
    /// Every receiver: one value per delivery.
    pub each: Distribution,
    /// The last receiver: one value for each message that everybody got.
    pub last: Distribution,
}

/// Latencies of the measured messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// From the time at which a message was due, so a relay or generator that stalls cannot hide
    /// it.
    pub corrected: ByReceiver,
    /// From the time at which the message was handed to the socket: without the generator's own
    /// lateness, and without the time for which the relay's socket accepted no bytes. It does not
    /// model a generator that waits: a message sent into a stall still has all of it.
    pub uncorrected: ByReceiver,
    /// From due to received, as it would be if the generator had always sent in time: messages that
    /// waited for the relay's socket count from when they were due, all others from when they were
    /// sent.
    #[serde(default)]
    pub in_time: Distribution,
    /// From due to the kernel's receive time: without the receive lag. Empty if the system gives no
    /// receive times.
    #[serde(default)]
    pub arrived: Distribution,
    /// Measured messages whose `last` is unknown: some receiver did not get them, or too many later
    /// ones were in flight.
    pub untracked: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_gives_its_histogram_back() {
        let mut histogram = crate::histogram::new();
        for value in [100, 5_000, 5_000, 7_000_000] {
            crate::histogram::record(&mut histogram, value);
        }
        let distribution = Distribution::of(&histogram);
        let json = serde_json::to_string(&distribution).expect("JSON");
        let read: Distribution = serde_json::from_str(&json).expect("the same");
        assert_eq!(read, distribution);
        let back = read.histogram().expect("a histogram");
        assert_eq!(Quantiles::of(&back), distribution.quantiles);
        assert_eq!(distribution.quantiles.count, 4);
    }

    #[test]
    fn no_values_are_no_histogram_and_neither_is_nonsense() {
        let none = Distribution::of(&crate::histogram::new());
        assert_eq!((none.quantiles.min, none.histogram()), (0, None));
        let nonsense = Distribution {
            hdr: "AAAA".to_owned(),
            ..none
        };
        assert_eq!(nonsense.histogram(), None);
    }
}
