//! The form of a codec's values, in words for people and as JSON Schema for editors.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Value, json};

use super::quantity::{show_duration, show_size};
use super::value::{
    Address, ApiKeys, Codec, Count, File, FileMode, Hidden, List, Mapped, OneKey, Or, OrNull,
    Output, Port, Size, Span, Switch, Text, UrlPath, Word,
};
use crate::guard::{Scope, Scopes};

/// The type of a key's values and their bounds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Form {
    /// In words, as in `size from 4KiB to 64MiB, or auto`.
    pub(super) words: String,
    /// As JSON Schema, draft 2020-12.
    pub(super) schema: Value,
}

/// A codec that can describe the values that it reads.
pub(super) trait Formed {
    /// Describes the values that this codec reads.
    fn form(&self) -> Form;
}

impl Form {
    pub(super) fn new(words: impl Into<String>, schema: Value) -> Form {
        let words = words.into();
        Form { words, schema }
    }

    /// This form, or one of the given values.
    fn or(self, words: &str, values: &[Value]) -> Form {
        let schema = json!({"anyOf": [{"enum": values}, self.schema]});
        Form::new(format!("{}, or {words}", self.words), schema)
    }
}

impl Formed for Switch {
    fn form(&self) -> Form {
        let words = json!({"enum": [true, false, "yes", "no", "on", "off"]});
        Form::new("true or false", words)
    }
}

impl Formed for Count {
    fn form(&self) -> Form {
        let Count { min, max } = self;
        let schema = json!({"type": "integer", "minimum": min, "maximum": max});
        Form::new(format!("number from {min} to {max}"), schema)
    }
}

impl Formed for Port {
    fn form(&self) -> Form {
        let schema = json!({"type": "integer", "minimum": 0, "maximum": u16::MAX});
        Form::new("port from 0 to 65535", schema)
    }
}

impl Formed for Size {
    fn form(&self) -> Form {
        let Size { min, max } = self;
        let words = format!("size from {} to {}", show_size(*min), show_size(*max));
        let schema = json!({"anyOf": [
            {"type": "integer", "minimum": min, "maximum": max},
            {"type": "string", "pattern": "^[0-9]+ ?([KkMmGg]([Ii]?[Bb])?|[Bb])?$"},
        ]});
        Form::new(words, schema)
    }
}

impl Formed for Span {
    fn form(&self) -> Form {
        let Span { min, max } = self;
        let words = format!(
            "duration from {} to {}",
            show_duration(*min),
            show_duration(*max)
        );
        let text = json!({
            "type": "string",
            "pattern": "^(0|([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$",
            "minLength": 1,
        });
        match *min == Duration::ZERO {
            true => Form::new(words, json!({"anyOf": [{"const": 0}, text]})),
            false => Form::new(words, text),
        }
    }
}

impl<T> Formed for Word<T> {
    fn form(&self) -> Form {
        let words: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
        Form::new(words.join(", "), json!({"enum": words}))
    }
}

impl Formed for Address {
    fn form(&self) -> Form {
        Form::new("IP address, or localhost", json!({"type": "string"}))
    }
}

impl<T: FromStr + Display> Formed for List<T>
where
    T::Err: Display,
{
    fn form(&self) -> Form {
        let schema = json!({"type": ["array", "string"], "items": {"type": "string"}});
        Form::new(format!("list of {}", self.0), schema)
    }
}

impl Formed for FileMode {
    fn form(&self) -> Form {
        let schema = json!({"anyOf": [
            {"type": "string", "pattern": "^0?o?[67][0-7][0-7]$"},
            {"type": "integer", "minimum": 600, "maximum": 777},
        ]});
        Form::new("octal number from \"600\" to \"777\", in quotes", schema)
    }
}

impl Formed for File {
    fn form(&self) -> Form {
        let schema = json!({"type": "string", "minLength": 1});
        Form::new("path of a file, relative to the working directory", schema)
    }
}

impl Formed for Text {
    fn form(&self) -> Form {
        let words = format!("text of 1 to {} bytes", self.bytes_max);
        let schema = json!({
            "type": ["string", "integer", "boolean"],
            "minLength": 1,
            "maxLength": self.bytes_max,
        });
        Form::new(words, schema)
    }
}

impl Formed for Hidden {
    fn form(&self) -> Form {
        let (min, max) = (self.bytes_min, self.bytes_max);
        let schema = json!({"type": ["string", "integer"], "maxLength": max});
        Form::new(format!("secret of {min} to {max} bytes"), schema)
    }
}

impl Formed for ApiKeys {
    fn form(&self) -> Form {
        let names: Vec<&str> = Scopes::ALL.iter().map(Scope::name).collect();
        let text = json!({"type": ["string", "integer"], "minLength": 1, "maxLength": 512});
        let scopes = json!({"type": ["array", "string"], "items": {"enum": names}, "minItems": 1});
        let item = json!({"anyOf": [text, {
            "type": "object",
            "properties": {"key": text, "scopes": scopes},
            "required": ["key", "scopes"],
            "additionalProperties": false,
        }]});
        let schema = json!({"type": ["array", "string"], "items": item});
        Form::new("list of keys", schema)
    }
}

impl Formed for OneKey {
    fn form(&self) -> Form {
        let words = format!("secret of {} to 512 characters", self.bytes_min);
        let schema = json!({"type": "string", "minLength": self.bytes_min, "maxLength": 512});
        Form::new(words, schema)
    }
}

impl Formed for Output {
    fn form(&self) -> Form {
        let schema = json!({"type": "string", "minLength": 1});
        Form::new("stderr, stdout or the path of a file", schema)
    }
}

impl Formed for UrlPath {
    fn form(&self) -> Form {
        Form::new("URL path", json!({"type": "string", "pattern": "^/"}))
    }
}

impl<C: Formed> Formed for Or<C> {
    fn form(&self) -> Form {
        let values = self.0.iter().map(|word| match *word {
            "0" => json!(0),
            word => json!(word),
        });
        let values: Vec<Value> = values.collect();
        // `0s` is left out, since it is `0` with a unit.
        let words: Vec<&str> = self
            .0
            .iter()
            .copied()
            .filter(|word| *word != "0s")
            .collect();
        self.1.form().or(&words.join(" or "), &values)
    }
}

impl<C: Formed> Formed for OrNull<C> {
    fn form(&self) -> Form {
        self.0.form().or("null", &[Value::Null])
    }
}

impl<C: Formed + Codec, T> Formed for Mapped<C, T> {
    fn form(&self) -> Form {
        self.codec.form()
    }
}
