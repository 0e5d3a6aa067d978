//! The notation of sizes and durations: `64KiB` and `1m30s`.

use std::time::Duration;

/// Bytes in one KiB; `KB` in a size means the same.
pub const KIB: usize = 1 << 10;
/// Bytes in one MiB; `MB` in a size means the same.
pub const MIB: usize = 1 << 20;

/// Bytes from `4096`, `64KiB`, `10 MB`; without regard to case, KB and KiB both 2^10.
pub(super) fn parse_size(text: &str) -> Option<usize> {
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let unit_bytes = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => KIB,
        "m" | "mb" | "mib" => MIB,
        "g" | "gb" | "gib" => KIB * MIB,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit_bytes)
}

/// Bytes in the largest unit that divides them.
pub(super) fn show_size(bytes: usize) -> String {
    let units = [(KIB * MIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
    match units
        .iter()
        .find(|(unit_bytes, _)| bytes >= *unit_bytes && bytes.is_multiple_of(*unit_bytes))
    {
        Some((unit_bytes, unit)) => format!("{}{unit}", bytes / unit_bytes),
        None if bytes == 1 => "1 byte".to_owned(),
        None => format!("{bytes} bytes"),
    }
}

/// A duration from `10s`, `250ms`, `1m30s`, `1h`, `0`; parts from large to small, each once.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS_MS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total_ms: u64 = 0;
    let mut units_left = UNITS_MS.as_slice();
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let found = units_left
            .iter()
            .position(|(name, _)| *name == unit.trim())?;
        let part_ms = digits
            .parse::<u64>()
            .ok()?
            .checked_mul(units_left[found].1)?;
        total_ms = total_ms.checked_add(part_ms)?;
        units_left = &units_left[found + 1..];
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total_ms))
}

/// A duration as `parse_duration` reads it, to the millisecond.
pub(super) fn show_duration(span: Duration) -> String {
    let total_ms = span.as_millis();
    let parts = [
        (total_ms / 3_600_000, "h"),
        (total_ms / 60_000 % 60, "m"),
        (total_ms / 1_000 % 60, "s"),
        (total_ms % 1_000, "ms"),
    ];
    let shown = parts.iter().filter(|(count, _)| *count > 0);
    let text: String = shown
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}
