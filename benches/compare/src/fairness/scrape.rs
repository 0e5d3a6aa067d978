//! A relay's own metrics, from its admin port.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const PATIENCE: Duration = Duration::from_secs(10);
const TURNS: &str = "corecast_turn_duration_seconds_bucket";

/// One scrape of the metrics.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    text: String,
}

impl Metrics {
    pub(super) fn of(admin: SocketAddr) -> Result<Self> {
        let (status, text) = get(admin, "/metrics", PATIENCE)?;
        if status != 200 {
            bail!("/metrics answers {status}");
        }
        Ok(Self { text })
    }

    /// The sum of a family over all its labels; 0 if the family does not exist.
    pub(super) fn sum(&self, name: &str) -> f64 {
        self.series(name).map(|(_, value)| value).sum()
    }

    fn series<'m>(&'m self, name: &'m str) -> impl Iterator<Item = (&'m str, f64)> + 'm {
        self.text.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let is_the_family = labels.is_empty() || labels.starts_with('{');
            Some((labels, value.parse().ok()?)).filter(|_| is_the_family)
        })
    }

    /// Turns by the upper bound of their bucket, in nanoseconds, cumulative.
    fn turns(&self) -> BTreeMap<u64, f64> {
        let bounds = self.series(TURNS).filter_map(|(labels, count)| {
            let bound = labels.split_once("le=\"")?.1.split_once('"')?.0;
            let seconds: f64 = bound.parse().ok()?;
            let ns = match seconds.is_finite() {
                true => (seconds * 1e9).round() as u64,
                false => u64::MAX,
            };
            Some((ns, count))
        });
        bounds.collect()
    }

    /// The bucket of the longest turn since `before`: its bounds in milliseconds. The upper one is
    /// infinite if the turn exceeds all bounds. None without a turn.
    pub(super) fn longest_turn_since(&self, before: &Self) -> Option<(f64, f64)> {
        let (now, then) = (self.turns(), before.turns());
        let new = |bound: &u64| now[bound] - then.get(bound).copied().unwrap_or(0.0);
        let total = new(now.keys().next_back()?);
        let upper = *now.keys().find(|bound| new(bound) >= total)?;
        let lower = now
            .range(..upper)
            .next_back()
            .map_or(0, |(bound, _)| *bound);
        let millis = |ns: u64| match ns {
            u64::MAX => f64::INFINITY,
            ns => ns as f64 / 1e6,
        };
        (total > 0.0).then(|| (millis(lower), millis(upper)))
    }
}

/// The status and the body of a plain request.
pub(super) fn get(admin: SocketAddr, path: &str, patience: Duration) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&admin, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("half an answer")?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok((status.context("no status")?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(counts: [u64; 3]) -> Metrics {
        let [short, long, all] = counts;
        Metrics {
            text: format!(
                "# HELP x\n{TURNS}{{le=\"0.001\"}} {short}\n{TURNS}{{le=\"0.002\"}} {long}\n\
                 {TURNS}{{le=\"+Inf\"}} {all}\ncorecast_rooms 3\ncorecast_rooms_x 9\n\
                 corecast_closed_total{{reason=\"a\"}} 1\ncorecast_closed_total{{reason=\"b\"}} 2\n"
            ),
        }
    }

    #[test]
    fn the_longest_turn_is_in_the_last_bucket_that_grew() {
        let before = metrics([1, 2, 2]);
        let longest = |now| metrics(now).longest_turn_since(&before);
        assert_eq!(longest([5, 6, 6]), Some((0.0, 1.0)));
        assert_eq!(longest([5, 7, 7]), Some((1.0, 2.0)));
        assert_eq!(longest([5, 7, 8]), Some((2.0, f64::INFINITY)));
        assert_eq!(longest([1, 2, 2]), None);
    }

    #[test]
    fn a_family_is_summed_and_not_taken_for_a_longer_name() {
        let metrics = metrics([1, 2, 2]);
        assert_eq!(metrics.sum("corecast_rooms"), 3.0);
        assert_eq!(metrics.sum("corecast_closed_total"), 3.0);
        assert_eq!(metrics.sum("corecast_nothing"), 0.0);
    }
}
