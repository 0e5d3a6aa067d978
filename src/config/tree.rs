//! A YAML text as a tree that still knows its order, its duplicate keys and its places.
//!
//! `serde_yaml::Value` forgets places and refuses the first duplicate key. A [`Tree`] keeps
//! everything, so that all problems of a file can be reported at once. The place of a node is found
//! by reading the text once more down to it, which costs time only if a problem is reported.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Mapping, Value};

/// Most nodes of one document with its aliases expanded: a few aliases can expand to billions.
const NODES_MAX: usize = 1 << 17;

/// One node of a YAML document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    /// A value that is not a mapping.
    Leaf(Value),
    /// A mapping, in the order of the text, with any duplicates. Keys are as written.
    Section(Vec<(String, Tree)>),
}

/// A line and a column of a text, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// Why a text cannot be parsed as YAML.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) place: Option<Place>,
    pub(super) message: String,
}

/// The part of a mapping's entry whose place is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Key,
    Value,
}

/// Reads a text; an empty one is null.
pub(super) fn parse(text: &str) -> Result<Tree, SyntaxError> {
    let mut documents = serde_yaml::Deserializer::from_str(text);
    // A text that consists of comments has no document.
    let Some(document) = documents.next() else {
        return Ok(Tree::Leaf(Value::Null));
    };
    let nodes_left = Cell::new(NODES_MAX);
    let tree = TreeSeed(&nodes_left)
        .deserialize(document)
        .map_err(|error| syntax_error(&error))?;
    match documents.next() {
        None => Ok(tree),
        Some(_) => Err(SyntaxError {
            place: None,
            message: "more than one YAML document; a configuration is a single one".to_owned(),
        }),
    }
}

/// The place of a node. `steps` are positions among the entries of mappings, from the root down.
pub(super) fn locate(text: &str, steps: &[usize], part: Part) -> Option<Place> {
    let document = serde_yaml::Deserializer::from_str(text).next()?;
    // A walk ends in an error on purpose: only the error of a visitor carries the place of its
    // node.
    let end = Walk { steps, part }.deserialize(document).err()?;
    place_of(&end)
}

fn place_of(error: &serde_yaml::Error) -> Option<Place> {
    let location = error.location()?;
    Some(Place {
        line: location.line(),
        column: location.column(),
    })
}

fn syntax_error(error: &serde_yaml::Error) -> SyntaxError {
    let place = place_of(error);
    let mut message = error.to_string();
    if let Some(at) = place {
        // The report already begins with the place.
        message = message.replace(&format!(" at line {} column {}", at.line, at.column), "");
    }
    // The message quotes keys, which are the operator's text and may hold control characters.
    let message = message.replace(char::is_control, "�");
    SyntaxError { place, message }
}

/// Builds a node. All nodes of a document share the count of nodes that may still be built.
#[derive(Clone, Copy)]
struct TreeSeed<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for TreeSeed<'_> {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        match self.0.get().checked_sub(1) {
            Some(nodes_left) => self.0.set(nodes_left),
            None => return Err(de::Error::custom("too many values, aliases expanded")),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TreeSeed<'_> {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain YAML value without a tag")
    }

    fn visit_bool<E>(self, on: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Bool(on)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::from(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::from(number)))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::from(number.to_string())))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::from(number.to_string())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::from(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::from(text)))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut values = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            values.push(plain(item)?);
        }
        Ok(Tree::Leaf(Value::Sequence(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut section = Vec::new();
        while let Some(key) = entries.next_key_seed(KeySeed)? {
            section.push((key, entries.next_value_seed(self)?));
        }
        Ok(Tree::Section(section))
    }
}

/// A node as a plain value of a list; the places of items in lists are never asked for.
fn plain<E: de::Error>(node: Tree) -> Result<Value, E> {
    let entries = match node {
        Tree::Leaf(value) => return Ok(value),
        Tree::Section(entries) => entries,
    };
    let mut mapping = Mapping::new();
    for (key, node) in entries {
        if mapping.insert(Value::from(key), plain(node)?).is_some() {
            return Err(E::custom("a key is written twice in one item of a list"));
        }
    }
    Ok(Value::Mapping(mapping))
}

/// A key of a mapping as the text that is written, even if that is `on` or `8443`.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a key")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

/// Goes down to one node and fails there.
#[derive(Clone, Copy)]
struct Walk<'a> {
    steps: &'a [usize],
    part: Part,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.steps.is_empty() {
            deserializer.deserialize_any(Stop)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the way down to a node")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((entry, steps)) = self.steps.split_first() else {
            return Err(de::Error::custom("here"));
        };
        for _ in 0..*entry {
            entries.next_entry::<IgnoredAny, IgnoredAny>()?;
        }
        if steps.is_empty() && self.part == Part::Key {
            entries.next_key_seed(Walk {
                steps,
                part: self.part,
            })?;
        } else {
            entries.next_key::<IgnoredAny>()?;
            entries.next_value_seed(Walk {
                steps,
                part: self.part,
            })?;
        }
        Ok(())
    }
}

/// Refuses every value, which is how a walk ends.
struct Stop;

impl Visitor<'_> for Stop {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the end of a walk")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# a comment\nserver:\n  port: 8443\n  host: \"::\"\nmetrics: {port: [1, 2]}\n";

    fn place(steps: &[usize], part: Part) -> Option<(usize, usize)> {
        locate(TEXT, steps, part).map(|place| (place.line, place.column))
    }

    #[test]
    fn a_node_is_found_where_it_stands() {
        assert_eq!(place(&[0], Part::Key), Some((2, 1)));
        assert_eq!(place(&[0, 0], Part::Key), Some((3, 3)));
        assert_eq!(place(&[0, 0], Part::Value), Some((3, 9)));
        assert_eq!(place(&[0, 1], Part::Value), Some((4, 9)));
        assert_eq!(place(&[1], Part::Value), Some((5, 10)));
        assert_eq!(place(&[1, 0], Part::Key), Some((5, 11)));
        assert_eq!(place(&[1, 0], Part::Value), Some((5, 17)));
    }

    #[test]
    fn order_and_duplicates_are_kept() {
        let leaf = |number: u64| Tree::Leaf(Value::from(number));
        let section = vec![
            ("b".to_owned(), leaf(1)),
            ("a".into(), leaf(2)),
            ("b".into(), leaf(3)),
        ];
        assert_eq!(parse("{b: 1, a: 2, b: 3}").unwrap(), Tree::Section(section));
    }

    #[test]
    fn a_text_without_a_value_is_null() {
        for text in ["", "\n", "# only a comment\n", "---\n", "null"] {
            assert_eq!(parse(text).unwrap(), Tree::Leaf(Value::Null), "{text:?}");
        }
    }

    #[test]
    fn aliases_that_unfold_without_end_are_an_error() {
        let first = format!("a: &a [{}]\n", "x,".repeat(400));
        let text = first + &format!("b: [{}]\n", "*a,".repeat(400));
        let error = parse(&text).expect_err("160,000 values");
        assert!(error.message.contains("aliases"), "{error:?}");
        assert!(parse("a: &a [x, y]\nb: [*a, *a]\n").is_ok());
    }

    #[test]
    fn a_syntax_error_has_its_place() {
        let error = parse("server:\n  port: [1\nmetrics: 2\n").expect_err("an open bracket");
        assert!(
            error.place.is_some_and(|place| place.line == 3),
            "{error:?}"
        );
        assert!(
            !error.message.contains("line 3"),
            "the place is not repeated: {error:?}"
        );
        assert!(parse("a: 1\n---\nb: 2\n").is_err());
        assert!(parse("a: !secret x\n").is_err());
    }
}
