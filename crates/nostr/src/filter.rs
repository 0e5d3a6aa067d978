//! Filters of subscriptions (NIP-01, "Communication between clients and relays").

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::event::{Event, letter_of};
use crate::hex::{self, Bytes32};
use crate::json::{Text, cut, told};

/// Why a filter is not accepted. The text follows the prefix that NIP-01 asks for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FilterError {
    /// It is not a filter.
    #[error("invalid: {0}")]
    Invalid(String),
    /// It uses a key that this relay does not support.
    #[error("unsupported: the filter has an unknown key {0}")]
    Unsupported(String),
}

/// Optional parts of the syntax of filters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FilterSyntax {
    /// Keys such as `&t`, all of whose values an event must have (NIP-91).
    pub and_tags: bool,
}

/// Conditions on events: all fields have to match, and for each list one of its values.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Filter {
    /// Ids, sorted.
    pub ids: Option<Box<[Bytes32]>>,
    /// Keys of authors, sorted.
    pub authors: Option<Box<[Bytes32]>>,
    /// Kinds, sorted.
    pub kinds: Option<Box<[u16]>>,
    /// Values of tags with a single letter, sorted: the event must have one value for each letter.
    pub tags: BTreeMap<u8, Box<[Box<str>]>>,
    /// Values of tags with a single letter, sorted: the event must have all of them (NIP-91).
    pub all_tags: BTreeMap<u8, Box<[Box<str>]>>,
    /// The earliest `created_at`.
    pub since: Option<u64>,
    /// The latest `created_at`.
    pub until: Option<u64>,
    /// The most stored events to return.
    pub limit: Option<u64>,
}

impl Filter {
    /// Parses the JSON object of a filter.
    ///
    /// # Errors
    ///
    /// It is not a filter, or has an unknown key.
    pub fn parse(json: &str) -> Result<Filter, FilterError> {
        Filter::parse_with(json, FilterSyntax::default())
    }

    /// The same with optional parts of the syntax.
    ///
    /// # Errors
    ///
    /// It is not a filter, or has an unknown key.
    pub fn parse_with(json: &str, syntax: FilterSyntax) -> Result<Filter, FilterError> {
        let invalid = |error: serde_json::Error| FilterError::Invalid(told(&error));
        let mut json = serde_json::Deserializer::from_str(json);
        let parsed = json.deserialize_map(Keys(syntax)).map_err(invalid)?;
        json.end().map_err(invalid)?;
        match parsed.unknown {
            Some(key) => Err(FilterError::Unsupported(key)),
            None => Ok(parsed.filter.without_repeated_values()),
        }
    }

    /// Values of `&t` do not count in `#t`: clients repeat them there for other relays (NIP-91).
    fn without_repeated_values(mut self) -> Filter {
        for (letter, required) in &self.all_tags {
            let Some(values) = self.tags.get_mut(letter) else {
                continue;
            };
            let left = values
                .iter()
                .filter(|value| required.binary_search(value).is_err());
            let left: Box<[Box<str>]> = left.cloned().collect();
            match left.is_empty() && !values.is_empty() {
                true => drop(self.tags.remove(letter)),
                false => *values = left,
            }
        }
        self
    }

    /// Whether the event matches. `limit` is ignored: it is for stored events.
    pub fn matches(&self, event: &Event) -> bool {
        let has = |values: &Option<Box<[Bytes32]>>, value: &Bytes32| {
            values
                .as_ref()
                .is_none_or(|values| values.binary_search(value).is_ok())
        };
        let kinds = self.kinds.as_ref();
        self.since.is_none_or(|since| event.created_at() >= since)
            && self.until.is_none_or(|until| event.created_at() <= until)
            && kinds.is_none_or(|kinds| kinds.binary_search(&event.kind()).is_ok())
            && has(&self.authors, event.pubkey())
            && has(&self.ids, event.id())
            && self
                .tags
                .iter()
                .all(|(letter, values)| has_tag(event, *letter, values))
            && self
                .all_tags
                .iter()
                .all(|(letter, values)| has_all(event, *letter, values))
    }

    /// Whether no event can match: a list is empty, or the times exclude each other.
    pub fn is_empty(&self) -> bool {
        let times = self.since.zip(self.until);
        self.ids.as_ref().is_some_and(|ids| ids.is_empty())
            || self
                .authors
                .as_ref()
                .is_some_and(|authors| authors.is_empty())
            || self.kinds.as_ref().is_some_and(|kinds| kinds.is_empty())
            || self.all_values().any(<[_]>::is_empty)
            || times.is_some_and(|(since, until)| since > until)
    }

    /// Sorts its lists, as after a change.
    pub fn sort(&mut self) {
        fn sort<T: Ord>(list: &mut Box<[T]>) {
            *list = sorted(std::mem::take(list).into_vec());
        }
        self.ids.iter_mut().for_each(sort);
        self.authors.iter_mut().for_each(sort);
        self.kinds.iter_mut().for_each(sort);
        self.tags.values_mut().for_each(sort);
        self.all_tags.values_mut().for_each(sort);
    }

    /// The number of values in its lists.
    pub fn values(&self) -> usize {
        let tags: usize = self.all_values().map(<[_]>::len).sum();
        self.ids.as_ref().map_or(0, |ids| ids.len())
            + self.authors.as_ref().map_or(0, |authors| authors.len())
            + self.kinds.as_ref().map_or(0, |kinds| kinds.len())
            + tags
    }

    fn all_values(&self) -> impl Iterator<Item = &[Box<str>]> {
        let values = self.tags.values().chain(self.all_tags.values());
        values.map(|values| &**values)
    }
}

fn has_all(event: &Event, letter: u8, values: &[Box<str>]) -> bool {
    let is_there = |value: &str| {
        let mut tags = event.single_letter_tags();
        tags.any(|tag| tag == (letter, value))
    };
    // An empty list matches nothing, whatever its key.
    !values.is_empty() && values.iter().all(|value| is_there(value))
}

fn has_tag(event: &Event, letter: u8, values: &[Box<str>]) -> bool {
    let is_one = |value: &str| values.binary_search_by(|each| (**each).cmp(value)).is_ok();
    event
        .single_letter_tags()
        .any(|(other, value)| other == letter && is_one(value))
}

/// A filter as it is parsed, with the first key that is unknown.
#[derive(Default)]
struct Parsed {
    filter: Filter,
    unknown: Option<String>,
}

struct Keys(FilterSyntax);

/// The values of a tag that a filter asks for: `#t`, or all of them: `&t`.
fn tag_key(key: &str, syntax: FilterSyntax) -> Option<(char, u8)> {
    let mut chars = key.chars();
    let sign = chars.next()?;
    let is_known = sign == '#' || sign == '&' && syntax.and_tags;
    let letter = letter_of(chars.as_str())?;
    is_known.then_some((sign, letter))
}

impl<'de> Visitor<'de> for Keys {
    type Value = Parsed;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a filter, which is an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
        let mut parsed = Parsed::default();
        let filter = &mut parsed.filter;
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            let is_new = match &*key {
                "ids" => set(&mut filter.ids, || hexes(&mut map, "ids"))?,
                "authors" => set(&mut filter.authors, || hexes(&mut map, "authors"))?,
                "kinds" => set(&mut filter.kinds, || kinds(&mut map))?,
                "since" => set(&mut filter.since, || number(&mut map, "since"))?,
                "until" => set(&mut filter.until, || number(&mut map, "until"))?,
                "limit" => set(&mut filter.limit, || number(&mut map, "limit"))?,
                key => match tag_key(key, self.0) {
                    Some((sign, letter)) => {
                        let values = values(&mut map, key, letter)?;
                        let tags = match sign {
                            '&' => &mut filter.all_tags,
                            _ => &mut filter.tags,
                        };
                        tags.insert(letter, values).is_none()
                    }
                    None => {
                        map.next_value::<serde::de::IgnoredAny>()?;
                        parsed
                            .unknown
                            .get_or_insert_with(|| format!("{:?}", cut(key)));
                        true
                    }
                },
            };
            if !is_new {
                return Err(A::Error::custom(format!("the filter has {key} twice")));
            }
        }
        Ok(parsed)
    }
}

/// Sets a field. Returns false if it was set before.
fn set<T, E>(field: &mut Option<T>, read: impl FnOnce() -> Result<T, E>) -> Result<bool, E> {
    Ok(field.replace(read()?).is_none())
}

fn hexes<'de, A: MapAccess<'de>>(map: &mut A, key: &str) -> Result<Box<[Bytes32]>, A::Error> {
    let texts: Vec<Text<'de>> = list(map, key, "of strings")?;
    let hexes = texts.iter().map(|Text(text)| hex::parse(text));
    let hexes: Option<Vec<Bytes32>> = hexes.collect();
    let told = || A::Error::custom(format!("{key} must be 64 lower-case hex digits each"));
    Ok(sorted(hexes.ok_or_else(told)?))
}

fn kinds<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Box<[u16]>, A::Error> {
    Ok(sorted(list(map, "kinds", "of numbers from 0 to 65535")?))
}

fn values<'de, A: MapAccess<'de>>(
    map: &mut A,
    key: &str,
    letter: u8,
) -> Result<Box<[Box<str>]>, A::Error> {
    let texts: Vec<Text<'de>> = list(map, key, "of strings")?;
    let is_hex = |text: &Text<'_>| hex::parse::<32>(&text.0).is_some();
    if matches!(letter, b'e' | b'p') && !texts.iter().all(is_hex) {
        let told = format!("{key} must be 64 lower-case hex digits each");
        return Err(A::Error::custom(told));
    }
    Ok(sorted(
        texts.into_iter().map(|text| Box::from(text.0)).collect(),
    ))
}

fn number<'de, A: MapAccess<'de>>(map: &mut A, key: &str) -> Result<u64, A::Error> {
    let told = |_| A::Error::custom(format!("{key} must be a whole number from 0"));
    map.next_value::<u64>().map_err(told)
}

fn list<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    key: &str,
    what: &str,
) -> Result<Vec<T>, A::Error> {
    let told = |_| A::Error::custom(format!("{key} must be an array {what}"));
    map.next_value::<Vec<T>>().map_err(told)
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Box<[T]> {
    values.sort_unstable();
    values.dedup();
    values.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Draft, Signer};

    fn refused(json: &str) -> String {
        Filter::parse(json).expect_err(json).to_string()
    }

    #[test]
    fn invalid_filters_are_refused_by_name() {
        for (json, text) in [
            (
                "[]",
                "invalid: invalid type: sequence, expected a filter, which is an object",
            ),
            ("3", "a filter, which is an object"),
            (
                r#"{"ids":["ab"]}"#,
                "invalid: ids must be 64 lower-case hex digits each",
            ),
            (
                r#"{"authors":[1]}"#,
                "invalid: authors must be an array of strings",
            ),
            (
                r#"{"kinds":[65536]}"#,
                "invalid: kinds must be an array of numbers",
            ),
            (
                r#"{"kinds":1}"#,
                "invalid: kinds must be an array of numbers",
            ),
            (
                r##"{"#e":["x"]}"##,
                "invalid: #e must be 64 lower-case hex digits each",
            ),
            (
                r##"{"#t":["x",null]}"##,
                "invalid: #t must be an array of strings",
            ),
            (
                r#"{"since":-1}"#,
                "invalid: since must be a whole number from 0",
            ),
            (
                r#"{"limit":1.5}"#,
                "invalid: limit must be a whole number from 0",
            ),
            (
                r#"{"limit":1,"limit":1}"#,
                "invalid: the filter has limit twice",
            ),
            (r##"{"#t":[],"#t":[]}"##, "invalid: the filter has #t twice"),
            (
                r#"{"search":"x"}"#,
                "unsupported: the filter has an unknown key \"search\"",
            ),
            (
                r##"{"#tt":[]}"##,
                "unsupported: the filter has an unknown key \"#tt\"",
            ),
            (
                r#"{"&t":[]}"#,
                "unsupported: the filter has an unknown key \"&t\"",
            ),
        ] {
            assert!(refused(json).contains(text), "{} for {json}", refused(json));
        }
    }

    #[test]
    fn an_answer_does_not_repeat_all_that_a_client_says() {
        let long = "é".repeat(10_000);
        for json in [
            format!("{{\"{long}\":1}}"),
            format!("{{\"kinds\":\"{long}\"}}"),
        ] {
            assert!(refused(&json).len() < 600, "{json}");
        }
    }

    #[test]
    fn a_filter_asks_for_all_of_its_fields() {
        let signer = Signer::new([1; 32]).expect("a key");
        let tag = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        let event = signer.sign(Draft {
            created_at: 10,
            kind: 7,
            tags: vec![
                tag(&["t", "a", "x"]),
                tag(&["t"]),
                tag(&["tt", "b"]),
                tag(&["E", ""]),
            ],
            content: String::new(),
        });
        let (id, key) = (hex::to_hex(event.id()), hex::to_hex(event.pubkey()));
        let none = "0".repeat(64);
        for (json, matches) in [
            ("{}".to_owned(), true),
            (format!(r#"{{"ids":["{none}","{id}"]}}"#), true),
            (format!(r#"{{"ids":["{none}"]}}"#), false),
            (format!(r#"{{"authors":["{key}"],"kinds":[1,7]}}"#), true),
            (format!(r#"{{"authors":["{key}"],"kinds":[1]}}"#), false),
            (r##"{"#t":["b","a"]}"##.to_owned(), true),
            (r##"{"#t":["x"]}"##.to_owned(), false),
            (r##"{"#t":["b"]}"##.to_owned(), false),
            (r##"{"#E":[""]}"##.to_owned(), true),
            (r##"{"#t":["a"],"#E":["x"]}"##.to_owned(), false),
            (r#"{"since":10,"until":10}"#.to_owned(), true),
            (r#"{"since":11}"#.to_owned(), false),
            (r#"{"until":9}"#.to_owned(), false),
            (r#"{"limit":0}"#.to_owned(), true),
            (r#"{"kinds":[]}"#.to_owned(), false),
        ] {
            let filter = Filter::parse(&json).expect(&json);
            assert_eq!(filter.matches(&event), matches, "{json}");
            assert!(!filter.is_empty() || !matches, "{json}");
        }
    }

    fn with_and(json: &str) -> Filter {
        Filter::parse_with(json, FilterSyntax { and_tags: true }).expect(json)
    }

    #[test]
    fn all_values_of_an_and_key_are_required() {
        let signer = Signer::new([1; 32]).expect("a key");
        let tags = ["meme", "cat", "black"].map(|value| vec!["t".to_owned(), value.to_owned()]);
        let event = signer.sign(Draft {
            tags: tags.to_vec(),
            ..Draft::default()
        });
        for (json, matches) in [
            (r#"{"&t":["meme","cat"]}"#, true),
            (r#"{"&t":["meme","dog"]}"#, false),
            (r#"{"&x":["meme"]}"#, false),
            (r#"{"&t":[]}"#, false),
            (r##"{"&t":["meme","cat"],"#t":["black","white"]}"##, true),
            (r##"{"&t":["meme","cat"],"#t":["white"]}"##, false),
            // Values of & do not count in #, and if no other is left, nor does #.
            (r##"{"&t":["meme"],"#t":["meme","white"]}"##, false),
            (r##"{"&t":["meme"],"#t":["meme"]}"##, true),
            (r##"{"&t":["meme"],"#t":[]}"##, false),
        ] {
            let filter = with_and(json);
            assert_eq!(filter.matches(&event), matches, "{json}");
            assert!(!filter.is_empty() || !matches, "{json}");
        }
        let both = with_and(r##"{"&t":["a","b","a"],"#t":["b","c"],"&e":[]}"##);
        assert_eq!(both.values(), 3);
        let refused = |json| {
            let syntax = FilterSyntax { and_tags: true };
            let parsed = Filter::parse_with(json, syntax);
            parsed.expect_err(json).to_string()
        };
        let hex = "invalid: &e must be 64 lower-case hex digits each";
        assert_eq!(refused(r#"{"&e":["x"]}"#), hex);
        let twice = "invalid: the filter has &t twice";
        assert_eq!(refused(r#"{"&t":[],"&t":[]}"#), twice);
        assert!(refused(r#"{"&tt":[]}"#).starts_with("unsupported: "));
        assert!(refused(r#"{"+t":[]}"#).starts_with("unsupported: "));
    }

    #[test]
    fn lists_are_sets() {
        let filter = |json: &str| Filter::parse(json).expect(json);
        assert_eq!(filter(r#"{"kinds":[2,1,2]}"#), filter(r#"{"kinds":[1,2]}"#));
        assert_eq!(
            filter(r##"{"kinds":[2,1],"#t":["b","a","b"]}"##).values(),
            4
        );
        assert!(filter(r#"{"since":2,"until":1}"#).is_empty());
        assert!(!filter("{}").is_empty());
    }
}
