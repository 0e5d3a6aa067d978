//! Formats figures for people: times, counts, sizes and ratios.

/// Nanoseconds as a short text with three significant digits: `64ns`, `12.3µs`, `1.23ms`.
pub(crate) fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        ..999.5 => (ns, "ns"),
        ..999_500.0 => (ns / 1e3, "µs"),
        ..999_500_000.0 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    let digits = match value {
        _ if unit == "ns" => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{unit}")
}

/// A count with separators: `1,234,567`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A time for a chart's axis: `500 µs`, `1 ms`.
pub(crate) fn tick(ns: f64) -> String {
    let (value, unit) = match ns {
        ..999.5 => (ns, "ns"),
        ..999_500.0 => (ns / 1e3, "µs"),
        ..999_500_000.0 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    format!("{} {unit}", short(value))
}

/// A count for a chart's axis: `25k`, `1.5M`.
pub(crate) fn short(value: f64) -> String {
    let (value, unit) = match value {
        ..999.5 => (value, ""),
        ..999_500.0 => (value / 1e3, "k"),
        ..999_500_000.0 => (value / 1e6, "M"),
        _ => (value / 1e9, "G"),
    };
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

/// A size in the usual unit.
pub(crate) fn bytes(count: u64) -> String {
    let count = count as f64;
    match count {
        ..1024.0 => format!("{count} B"),
        ..1_048_576.0 => format!("{:.1} KiB", count / 1024.0),
        ..1_073_741_824.0 => format!("{:.1} MiB", count / 1_048_576.0),
        _ => format!("{:.1} GiB", count / 1_073_741_824.0),
    }
}

/// `+12.3 %`, or `×15` from ten on, of a ratio of now over then.
pub(crate) fn ratio(ratio: Option<f64>) -> String {
    match ratio {
        None => "–".to_owned(),
        Some(ratio) if ratio >= 10.0 => format!("×{ratio:.0}"),
        Some(ratio) => format!("{:+.1} %", (ratio - 1.0) * 100.0),
    }
}

/// A value with its unit: `ns` as a time, a rate or count with separators.
pub(crate) fn amount(value: f64, unit: &str) -> String {
    match unit {
        "ns" => time(value),
        _ if value.abs() < 9.95 && value.fract() != 0.0 => format!("{value:.2}"),
        _ => grouped(value.round().max(0.0) as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_the_unit_that_suits_them() {
        let shown = [0.0, 64.0, 1234.0, 99_960.0, 999_600.0, 12_345_678.0, 6e10].map(time);
        assert_eq!(
            shown,
            [
                "0ns", "64ns", "1.23µs", "100µs", "1.00ms", "12.3ms", "60.0s"
            ]
        );
    }

    #[test]
    fn thousands_stand_apart() {
        let shown = [0, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!(
            [0.0, 950.0, 1500.0, 2e6, 2.5e10].map(short),
            ["0", "950", "1.5k", "2M", "25G"]
        );
        assert_eq!(amount(1_234_567.8, "1/s"), "1,234,568");
        assert_eq!(amount(1.5e6, "ns"), "1.50ms");
        assert_eq!(amount(0.25, "1/s"), "0.25");
        assert_eq!(
            [Some(1.5), Some(75.2), None].map(ratio),
            ["+50.0 %", "×75", "–"]
        );
        assert_eq!([500.0, 1e6, 2e9].map(tick), ["500 ns", "1 ms", "2 s"]);
        assert_eq!(
            [900, 2048, 3 << 20].map(bytes),
            ["900 B", "2.0 KiB", "3.0 MiB"]
        );
    }
}
