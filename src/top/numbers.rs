//! Numbers as people read them.

/// As in `1,234` or `12.3k`.
pub(super) fn count(number: f64) -> String {
    match number {
        small if small < 9.95 && small.fract() != 0.0 => format!("{small:.1}"),
        small if small < 9_999.5 => grouped(small.round() as u64),
        large => scaled(large, 1e3, &["", "k", "M", "G", "T"]),
    }
}

/// As in `17 B` or `1.5 MiB`.
pub(super) fn bytes(number: f64) -> String {
    scaled(number, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

/// As in `0.6 µs` or `1.2 ms`; `–` for `None`.
pub(super) fn micros(us: Option<f64>) -> String {
    match us {
        None => "–".to_owned(),
        Some(us) if us < 9.95 => format!("{us:.1} µs"),
        Some(us) if us < 999.5 => format!("{us:.0} µs"),
        Some(us) if us < 99_950.0 => format!("{:.1} ms", us / 1e3),
        Some(us) if us < 999_500.0 => format!("{:.0} ms", us / 1e3),
        Some(us) => format!("{:.1} s", us / 1e6),
    }
}

/// The two largest units, as in `3 h 12 min`.
pub(super) fn span(seconds: f64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut rest = seconds as u64;
    let largest = units.iter().position(|(size, _)| rest >= *size);
    let parts = units
        .iter()
        .skip(largest.unwrap_or(units.len() - 1))
        .take(2);
    let said: Vec<String> = parts
        .map(|(size, unit)| {
            let whole = rest / size;
            rest %= size;
            format!("{whole} {unit}")
        })
        .collect();
    said.join(" ")
}

fn scaled(mut number: f64, base: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while number >= base * 0.9995 && unit + 1 < units.len() {
        number /= base;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && number < 99.95);
    format!("{number:.digits$}{}", units[unit])
}

fn grouped(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", number / 1_000, number % 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, said) in [
            (0.0, "0"),
            (3.25, "3.2"),
            (42.4, "42"),
            (1_234.0, "1,234"),
            (12_345.0, "12.3k"),
            (999_999.0, "1.0M"),
            (4.5e9, "4.5G"),
        ] {
            assert_eq!(count(number), said, "{number}");
        }
        for (number, said) in [(17.0, "17 B"), (1_536.0, "1.5 KiB"), (1e9, "954 MiB")] {
            assert_eq!(bytes(number), said, "{number}");
        }
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        for (us, said) in [
            (0.64, "0.6 µs"),
            (131.07, "131 µs"),
            (1_500.0, "1.5 ms"),
            (335_544.0, "336 ms"),
            (17e6, "17.0 s"),
        ] {
            assert_eq!(micros(Some(us)), said);
        }
        assert_eq!(micros(None), "–");
        for (seconds, said) in [
            (0.4, "0 s"),
            (59.0, "59 s"),
            (61.0, "1 min 1 s"),
            (11_520.0, "3 h 12 min"),
            (90_000.0, "1 d 1 h"),
        ] {
            assert_eq!(span(seconds), said);
        }
    }
}
