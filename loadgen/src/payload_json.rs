//! Changes of an order book in JSON, of a given length, and as compressible as a real market's.

/// Every message begins with this; the hexadecimal stamp follows. A multiple of the mask's four
/// bytes.
pub(crate) const OPENING: &[u8; 16] = b"{\"book\":1,\"id\":\"";
/// Follows the stamp.
const HEAD: &str = "\",\"type\":\"l2update\",\"product\":\"BTC-USD\",\"changes\":[";
const TAIL: &str = "],\"time\":\"";
const END: &str = "\"}";
/// Head, one change, and the end.
pub(crate) const BODY_BYTES_MIN: usize = 160;

/// The part after the stamp, exactly `bytes` long and at least [`BODY_BYTES_MIN`]. `random` decides
/// prices and amounts.
pub(crate) fn body(bytes: usize, random: &mut impl FnMut() -> u64) -> Vec<u8> {
    let mut text = String::from(HEAD);
    // Prices lie around one value, in steps of a hundredth, as in a real book.
    let middle = 6_700_000 + random() % 10_000;
    loop {
        let (side, away) = match random() {
            number if number % 2 == 0 => ("buy", number % 500),
            number => ("sell", 500 + number % 500),
        };
        let price = middle + away;
        let amount = random() % 200_000_000 / 10_000 * 100;
        let separator = if text.len() == HEAD.len() { "" } else { "," };
        let change = format!(
            "{separator}[\"{side}\",\"{}.{:02}\",\"{}.{:08}\"]",
            price / 100,
            price % 100,
            amount / 100_000_000,
            amount % 100_000_000
        );
        if text.len() + change.len() + TAIL.len() + END.len() > bytes {
            break;
        }
        text += &change;
    }
    text += TAIL;
    // Less than one change is left: fill it with digits of a clock.
    while text.len() + END.len() < bytes {
        text.push(char::from(b'0' + (random() % 10) as u8));
    }
    text += END;
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_met_with_valid_json_that_has_a_change() {
        let mut state = 1_u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            state >> 20
        };
        for bytes in BODY_BYTES_MIN..700 {
            let body = body(bytes, &mut random);
            assert_eq!(body.len(), bytes);
            let text = [&OPENING[..], b"00ff", &body].concat();
            let value: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            assert_eq!(value["id"], "00ff");
            assert!(
                value["changes"]
                    .as_array()
                    .is_some_and(|all| !all.is_empty())
            );
        }
    }
}
