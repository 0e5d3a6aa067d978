//! HyperLogLog values of counts (NIP-45): clients merge those of several relays, and estimate how
//! many different keys have signed the events.

use std::sync::Arc;

use ring::digest::{SHA256, digest};

use crate::filter::Filter;
use crate::hex::{self, Bytes32};

/// Registers of a value.
const REGISTERS: usize = 256;

/// 256 registers. Each holds the most leading zero bits, plus one, of the keys that belong to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hll {
    /// The byte of a key that selects the register; the bits after it are counted.
    offset: usize,
    registers: Box<[u8; REGISTERS]>,
}

impl Hll {
    /// An empty value for a query, if NIP-45 defines one for it: a single filter with a single tag
    /// that has a single value.
    pub fn for_query(filters: &[Arc<Filter>]) -> Option<Hll> {
        let [filter] = filters else {
            return None;
        };
        let mut tags = filter.tags.values();
        let (Some(values), None, true) = (tags.next(), tags.next(), filter.all_tags.is_empty())
        else {
            return None;
        };
        let [value] = &**values else {
            return None;
        };
        Some(Hll {
            offset: offset_of(value),
            registers: Box::new([0; REGISTERS]),
        })
    }

    /// Counts the key that signed an event.
    pub fn add(&mut self, pubkey: &Bytes32) {
        let rest = &pubkey[self.offset + 1..];
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        let next = rest.get(zeros).map_or(0, |byte| byte.leading_zeros());
        // At most 8 * 23 + 1.
        let rank = (8 * zeros) as u8 + next as u8 + 1;
        let register = &mut self.registers[usize::from(pubkey[self.offset])];
        *register = (*register).max(rank);
    }

    /// The registers as 512 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        hex::to_hex(&*self.registers)
    }
}

/// The offset for the value of a tag: 8, plus the hexadecimal digit at position 32 of the id or key
/// it is, of the key in the address it is, or of its hash.
fn offset_of(value: &str) -> usize {
    let bytes = hex::parse::<32>(value)
        .or_else(|| key_of_address(value))
        .unwrap_or_else(|| {
            let hash = digest(&SHA256, value.as_bytes());
            hash.as_ref().try_into().unwrap_or_default()
        });
    8 + usize::from(bytes[16] >> 4)
}

/// The key of an address, `kind:pubkey:d`.
fn key_of_address(value: &str) -> Option<Bytes32> {
    let mut parts = value.splitn(3, ':');
    let (kind, key, _) = (parts.next()?, parts.next()?, parts.next()?);
    let is_kind = kind.parse::<u16>().is_ok() && kind.bytes().all(|byte| byte.is_ascii_digit());
    is_kind.then(|| hex::parse(key))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn for_json(json: &str) -> Option<Hll> {
        let syntax = crate::FilterSyntax { and_tags: true };
        let filter = Filter::parse_with(json, syntax).expect(json);
        Hll::for_query(&[Arc::new(filter)])
    }

    /// 64 digits, all 5 but for the one at position 32.
    fn digits(digit: char) -> String {
        format!("{}{digit}{}", "5".repeat(32), "5".repeat(31))
    }

    #[test]
    fn the_offset_depends_on_the_value_of_the_tag() {
        for (digit, offset) in [('0', 8), ('7', 15), ('f', 23)] {
            let hex = digits(digit);
            assert_eq!(offset_of(&hex), offset, "{hex}");
            for address in [format!("30023:{hex}:"), format!("0:{hex}:a:b")] {
                assert_eq!(offset_of(&address), offset, "{address}");
            }
        }
        // SHA-256 of "abc": ba7816bf 8f01cfea 414140de 5dae2223 b00361a3…
        assert_eq!(offset_of("abc"), 8 + 0xb);
        // And of the empty text: e3b0c442 98fc1c14 9afbf4c8 996fb924 27ae41e4…
        assert_eq!(offset_of(""), 8 + 0x2);
        // No address, and no hexadecimal digits of lower case: hashed.
        let hashed = |text: &str| {
            let hash = hex::to_hex(digest(&SHA256, text.as_bytes()).as_ref());
            8 + usize::from_str_radix(&hash[32..33], 16).expect("a digit")
        };
        let upper = digits('F');
        for text in [
            upper.clone(),
            format!("30023:{upper}:"),
            format!("30023:{}", digits('f')),
            format!("+1:{}:", digits('f')),
            "é".to_owned(),
        ] {
            assert_eq!(offset_of(&text), hashed(&text), "{text}");
        }
    }

    #[test]
    fn the_zero_bits_after_the_offset_are_counted() {
        let key = |first: u8, zeros: usize, offset: usize| {
            let mut key = [0xff; 32];
            key[offset] = first;
            for bit in 0..zeros {
                key[offset + 1 + bit / 8] &= !(0x80 >> (bit % 8));
            }
            key
        };
        for (digit, offset) in [('0', 8), ('f', 23)] {
            let json = format!("{{\"#e\":[\"{}\"]}}", digits(digit));
            let mut hll = for_json(&json).expect("eligible");
            let mut due = [0; REGISTERS];
            assert_eq!(hll.to_hex(), hex::to_hex(&due));
            let end = 8 * (31 - offset);
            for (first, zeros) in [(0, 0), (1, 7), (2, 8), (3, 20), (3, 5), (255, end)] {
                hll.add(&key(first, zeros, offset));
            }
            for (register, rank) in [(0, 1), (1, 8), (2, 9), (3, 21), (255, end + 1)] {
                due[register] = rank as u8;
            }
            assert_eq!(hll.to_hex(), hex::to_hex(&due), "offset {offset}");
        }
    }

    #[test]
    fn only_a_filter_with_one_tag_of_one_value_has_one() {
        let key = digits('a');
        for (json, is_eligible) in [
            (format!("{{\"#p\":[\"{key}\"],\"kinds\":[3]}}"), true),
            (
                format!("{{\"#p\":[\"{key}\"],\"authors\":[\"{key}\"],\"since\":5}}"),
                true,
            ),
            ("{\"#t\":[\"\"]}".to_owned(), true),
            ("{\"kinds\":[3]}".to_owned(), false),
            ("{\"#t\":[\"a\",\"b\"]}".to_owned(), false),
            ("{\"#t\":[]}".to_owned(), false),
            ("{\"#t\":[\"a\"],\"#x\":[\"a\"]}".to_owned(), false),
            ("{\"&t\":[\"a\"]}".to_owned(), false),
            ("{\"&t\":[\"a\"],\"#t\":[\"b\"]}".to_owned(), false),
        ] {
            assert_eq!(for_json(&json).is_some(), is_eligible, "{json}");
        }
        let filter = Arc::new(Filter::parse("{\"#t\":[\"a\"]}").expect("a filter"));
        assert_eq!(Hll::for_query(&[Arc::clone(&filter), filter]), None);
    }

    /// The usual estimate of how many keys were counted (Flajolet et al., 2007).
    fn estimate(registers: &[u8]) -> f64 {
        let count = REGISTERS as f64;
        let sum: f64 = registers.iter().map(|r| 0.5_f64.powi(i32::from(*r))).sum();
        let raw = 0.7213 / (1.0 + 1.079 / count) * count * count / sum;
        let empty = registers.iter().filter(|r| **r == 0).count() as f64;
        match raw <= 2.5 * count && empty > 0.0 {
            true => count * (count / empty).ln(),
            false => raw,
        }
    }

    #[test]
    fn merged_values_estimate_the_union() {
        let key = |number: u32| -> Bytes32 {
            let hash = digest(&SHA256, &number.to_be_bytes());
            hash.as_ref().try_into().expect("32 bytes")
        };
        let of = |numbers: std::ops::Range<u32>| {
            let mut hll = for_json("{\"#t\":[\"x\"]}").expect("eligible");
            numbers.for_each(|number| hll.add(&key(number)));
            hll
        };
        for (one, other, union) in [
            (0..600, 400..1_000, 0..1_000),
            (0..90, 10..100, 0..100),
            (0..30_000, 0..10_000, 0..30_000),
        ] {
            let due = union.len() as f64;
            let [one, other, union] = [one, other, union].map(of);
            let pairs = one.registers.iter().zip(&*other.registers);
            let merged: Vec<u8> = pairs.map(|(one, other)| *one.max(other)).collect();
            assert_eq!(merged, union.registers.as_slice());
            let estimate = estimate(&merged);
            // The standard error of 256 registers is 6.5 %.
            assert!((estimate / due - 1.0).abs() < 0.2, "{estimate} for {due}");
        }
    }
}
