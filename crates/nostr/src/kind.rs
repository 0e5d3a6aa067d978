//! Classes of kinds (NIP-01, "Kinds").

/// How events of a kind are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// All are kept.
    Regular,
    /// Only the latest of each key and kind is kept.
    Replaceable,
    /// Only the latest of each key, kind and value of the first `d` tag is kept.
    Addressable,
    /// Forwarded, never kept.
    Ephemeral,
}

/// How events of this kind are kept.
pub fn class_of(kind: u16) -> Class {
    match kind {
        0 | 3 | 10_000..20_000 => Class::Replaceable,
        20_000..30_000 => Class::Ephemeral,
        30_000..40_000 => Class::Addressable,
        _ => Class::Regular,
    }
}

/// Encrypted direct messages (NIP-04): the author may read them too.
pub(crate) const DIRECT_MESSAGE: u16 = 4;
/// Deletions (NIP-09).
pub(crate) const DELETION: u16 = 5;
/// Requests to vanish (NIP-62).
pub(crate) const VANISH: u16 = 62;
/// Wraps, which random keys sign for the recipients in their `p` tags (NIP-59).
pub(crate) const WRAPS: [u16; 2] = [1_059, 21_059];
/// Reposts (NIP-18), which carry another event as their content.
pub(crate) const REPOSTS: [u16; 2] = [6, 16];
/// Events by which clients prove a key (NIP-42).
pub(crate) const CLIENT_AUTH: u16 = 22_242;
/// Events by which clients prove a key over HTTP (NIP-98).
pub(crate) const HTTP_AUTH: u16 = 27_235;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_classes_of_nip_01() {
        let classes = [
            0, 1, 2, 3, 4, 9_999, 10_000, 19_999, 20_000, 29_999, 30_000, 39_999, 40_000,
        ]
        .map(|kind| match class_of(kind) {
            Class::Regular => 'g',
            Class::Replaceable => 'r',
            Class::Addressable => 'a',
            Class::Ephemeral => 'e',
        });
        assert_eq!(classes.iter().collect::<String>(), "rggrggrreeaag");
        assert_eq!(class_of(u16::MAX), Class::Regular);
    }
}
