//! Parsers for the values of single options.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::stats::RUNS_MIN;

/// The value of `--rate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Messages a second.
    PerSecond(f64),
    /// Messages a second of each publisher.
    Each(f64),
    /// Closed loop.
    Max,
}

/// A number or a share of the clients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quota {
    /// This number.
    Count(u32),
    /// This share, from 0 to 1.
    Share(f64),
}

impl Quota {
    /// Resolves it for this many clients. A share is rounded, to at least one unless it is 0.
    pub(super) fn of(self, clients: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Share(share) if share > 0.0 => {
                (f64::from(clients) * share).round().max(1.0) as u32
            }
            Self::Share(_) => 0,
        }
    }
}

/// `--rate-steps`, resolved to a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Steps(pub Vec<f64>);

/// `--source-ips`, resolved to a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceIps(pub Vec<IpAddr>);

/// The most steps or addresses that one option may list.
const LISTED_MAX: usize = 4096;

/// More pairs of runs than this would take weeks.
const PAIRS_MAX: usize = 1000;

/// The longest time that an option accepts: it keeps all sums of nanoseconds far from overflow.
const DURATION_SECONDS_MAX: f64 = 30.0 * 86_400.0;

/// `10s`, `500ms`, `1.5m`, `1h`, or a bare number of milliseconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
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

pub(super) fn parse_rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    let (number, is_each) = match text.strip_suffix("/each") {
        Some(number) => (number, true),
        None => (text, false),
    };
    match number.parse::<f64>() {
        Ok(rate) if (0.001..=1e8).contains(&rate) => Ok(match is_each {
            true => Rate::Each(rate),
            false => Rate::PerSecond(rate),
        }),
        Ok(_) => Err("expected 0.001 to 100000000 messages a second, or max".to_owned()),
        Err(_) => Err("expected messages a second, or max".to_owned()),
    }
}

pub(super) fn parse_per_second(text: &str) -> Result<f64, String> {
    match parse_rate(text.strip_suffix("/s").unwrap_or(text))? {
        Rate::PerSecond(rate) => Ok(rate),
        Rate::Each(_) | Rate::Max => Err("expected a number per second: 100/s".to_owned()),
    }
}

/// `3`, or `5%` of the clients.
pub(super) fn parse_count_or_share(text: &str) -> Result<Quota, String> {
    if text.ends_with('%') {
        return parse_share(text).map(Quota::Share);
    }
    let count = text.parse().map_err(|_| "expected a number, or 5%")?;
    Ok(Quota::Count(count))
}

/// `5%`, or `0.05`.
pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(number) => (number, 0.01),
        None => (text, 1.0),
    };
    match number.parse::<f64>().map(|number| number * scale) {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a share from 0% to 100%".to_owned()),
    }
}

/// At least as many pairs of runs as a verdict needs.
pub(super) fn parse_pairs(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(pairs) if (RUNS_MIN..=PAIRS_MAX).contains(&(pairs as usize)) => Ok(pairs),
        _ => Err(format!("expected {RUNS_MIN} to {PAIRS_MAX} pairs")),
    }
}

/// `1000,2000,4000`, `1000..16000*2` or `1000..5000+500`.
pub(super) fn parse_steps(text: &str) -> Result<Steps, String> {
    let rate = |text: &str| match parse_rate(text.trim()) {
        Ok(Rate::PerSecond(rate)) => Ok(rate),
        _ => Err(format!(
            "invalid rate `{text}`; expected 1000,2000 or 1000..16000*2"
        )),
    };
    let Some((from, rest)) = text.split_once("..") else {
        return text
            .split(',')
            .map(rate)
            .collect::<Result<_, _>>()
            .map(Steps);
    };
    let sign = rest
        .find(['*', '+'])
        .ok_or("expected 1000..16000*2 or 1000..5000+500")?;
    let (first, last, by) = (rate(from)?, rate(&rest[..sign])?, rate(&rest[sign + 1..])?);
    let is_factor = rest[sign..].starts_with('*');
    if last < first || is_factor && by <= 1.0 {
        return Err("the rates must ascend".to_owned());
    }
    let mut rates = vec![first];
    while let Some(next) = rates
        .last()
        .map(|rate| if is_factor { rate * by } else { rate + by })
        && next <= last
    {
        if rates.len() == LISTED_MAX {
            return Err(format!("more than {LISTED_MAX} rates"));
        }
        rates.push(next);
    }
    Ok(Steps(rates))
}

/// Addresses separated by commas; `127.0.0.2-127.0.0.9` for neighbours.
pub(super) fn parse_source_ips(text: &str) -> Result<SourceIps, String> {
    let bad = |what: &str| format!("invalid address `{what}`; expected 127.0.0.2-127.0.0.9");
    let mut all = Vec::new();
    for part in text.split(',') {
        let Some((from, until)) = part.split_once('-') else {
            all.push(part.trim().parse().map_err(|_| bad(part))?);
            continue;
        };
        let bits = |text: &str| text.trim().parse::<Ipv4Addr>().map(u32::from);
        let (from, until) = (
            bits(from).map_err(|_| bad(part))?,
            bits(until).map_err(|_| bad(part))?,
        );
        if from > until || (until - from) as usize >= LISTED_MAX {
            return Err(format!(
                "`{part}`: expected up to {LISTED_MAX} ascending addresses"
            ));
        }
        all.extend((from..=until).map(|bits| IpAddr::V4(Ipv4Addr::from(bits))));
    }
    Ok(SourceIps(all))
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
    fn a_rate_is_positive_or_of_each_or_max() {
        assert_eq!(parse_rate("max"), Ok(Rate::Max));
        assert_eq!(parse_rate("0.5"), Ok(Rate::PerSecond(0.5)));
        assert_eq!(parse_rate("12/each"), Ok(Rate::Each(12.0)));
        assert_eq!(parse_per_second("100/s"), Ok(100.0));
        for bad in ["0", "-1", "NaN", "inf", "fast", "/each"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_quota_is_a_number_or_a_share_of_at_least_one() {
        let of = |text: &str| parse_count_or_share(text).map(|quota| quota.of(50));
        assert_eq!(
            [of("3"), of("10%"), of("1%"), of("0%")],
            [Ok(3), Ok(5), Ok(1), Ok(0)]
        );
        assert!(of("101%").is_err() && of("many").is_err());
    }

    #[test]
    fn steps_are_listed_multiplied_or_added() {
        let steps = |text: &str| parse_steps(text).map(|steps| steps.0);
        assert_eq!(steps("10,30"), Ok(vec![10.0, 30.0]));
        assert_eq!(steps("10..45*2"), Ok(vec![10.0, 20.0, 40.0]));
        assert_eq!(steps("10..30+10"), Ok(vec![10.0, 20.0, 30.0]));
        for bad in [
            "", "10..", "10..5+1", "10..20*1", "10..20", "max", "1..1e8+1",
        ] {
            assert!(steps(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn source_addresses_are_listed_or_in_a_row() {
        let count = |text: &str| parse_source_ips(text).map(|ips| ips.0.len());
        assert_eq!(count("127.0.0.2-127.0.1.1,::1"), Ok(257));
        for bad in ["", "here", "127.0.0.3-127.0.0.2", "0.0.0.0-255.255.255.255"] {
            assert!(count(bad).is_err(), "{bad}");
        }
    }
}
