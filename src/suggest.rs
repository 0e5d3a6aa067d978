//! Suggestions for misspelt names: "did you mean …?"

/// The candidate that was probably meant, if one is near: few letters differ, or its part after the
/// last dot is the same (`port` for `server.port`).
pub(crate) fn nearest<'a>(
    written: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    // A name this long is not a typing error, and the cost of the distance is the product of the
    // lengths.
    const CHARS_MAX: usize = 100;
    if written.is_empty() || written.len() > CHARS_MAX {
        return None;
    }
    let last_part = |path: &str| path.rsplit('.').next() == Some(written);
    let dots = |path: &str| path.matches('.').count();
    let ranked = candidates.filter_map(|candidate| {
        let distance = distance(written, candidate);
        let letters = written.chars().count();
        let near = distance <= 2.max(letters / 3) && distance < letters;
        // A misspelt key is rather another key at the same depth than a section.
        let depth_differs = dots(written) != dots(candidate);
        let rank = if last_part(candidate) {
            (false, 0)
        } else {
            (depth_differs, distance)
        };
        (near || last_part(candidate)).then_some((rank, candidate))
    });
    ranked
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, candidate)| candidate)
}

/// The Levenshtein distance: letters to insert, remove or replace to turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 0..b.len() {
            let replaced = diagonal + usize::from(letter != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_the_number_of_edits() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("prot", "port", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_is_similar_or_has_the_same_last_part() {
        let known = [
            "server",
            "sort",
            "server.port",
            "server.host",
            "metrics.port",
        ];
        let nearest = |written| nearest(written, known.into_iter());
        assert_eq!(nearest("server.prot"), Some("server.port"));
        assert_eq!(nearest("metric.port"), Some("metrics.port"));
        assert_eq!(nearest("server.hot_"), Some("server.host"));
        assert_eq!(nearest("host"), Some("server.host"));
        assert_eq!(nearest("port"), Some("server.port"), "not sort");
        assert_eq!(nearest("colour"), None);
        assert_eq!(nearest(""), None);
        assert_eq!(nearest(&"x".repeat(1000)), None);
    }
}
