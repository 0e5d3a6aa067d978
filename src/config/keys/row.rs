//! The row of a key: its path, its notation, whether a reload changes it, and its explanation.
//!
//! The default is not part of the row: it is the field's value in [`Config::default`].
//!
//! [`Config::default`]: crate::config::Config

use serde_yaml::Value;

use crate::config::endpoint::{EndpointConfig, EndpointKind};
use crate::config::form::Form;
use crate::config::value::describe;
use crate::guard::HIDDEN;

/// One key of `S`: of the whole [`Config`](crate::config::Config), or of one [`EndpointConfig`].
pub struct Key<S: 'static> {
    /// The path with dots; for a key of an endpoint, the part after `endpoints.<name>.`.
    pub path: &'static str,
    /// An environment variable without our prefix that sets it too, as in earlier relays.
    pub plain_environment: Option<&'static str>,
    /// Whether its value must not be shown: not by `--check`, not in an error.
    pub secret: bool,
    /// Whether a reload (SIGHUP) changes it; otherwise it waits for a restart.
    pub is_live: bool,
    /// The kinds of endpoints that have this option; empty: all kinds.
    pub kinds: &'static [EndpointKind],
    /// The explanation, in paragraphs of Markdown. Lines that begin with `- ` are items of a list.
    /// Empty for a key of an endpoint that overrides the common key of the same path.
    pub text: &'static str,
    /// Whether the errors of its codec never repeat the value, so that they can be shown.
    pub(super) is_discreet: bool,
    pub(super) form: fn() -> Form,
    pub(super) read: fn(&mut S, &Value) -> Result<(), String>,
    pub(super) show: fn(&S) -> Value,
}

/// `live` and `restart` as the rows write them.
macro_rules! is_live {
    (live) => {
        true
    };
    (restart) => {
        false
    };
}

/// A row. The path is that of the field that the key sets.
macro_rules! key {
    (
        $first:ident $(. $rest:ident)*, $codec:expr, $reload:ident $(, or $plain:literal)?;
        $($text:expr)?
    ) => {
        Key {
            path: concat!(stringify!($first) $(, ".", stringify!($rest))*),
            plain_environment: <[&str]>::first(&[$($plain)?]).copied(),
            secret: false,
            is_live: is_live!($reload),
            kinds: &[],
            text: concat!("" $(, $text)?),
            is_discreet: false,
            form: || $codec.form(),
            read: |scope, value| {
                scope.$first $(. $rest)* = $codec.read(value)?;
                Ok(())
            },
            show: |scope| $codec.show(&scope.$first $(. $rest)*),
        }
    };
}

/// The row of an option of some kinds of endpoints: a field of the options of each of them.
macro_rules! option {
    (
        $($kind:ident)|+ $(in $prefix:literal)?, $field:tt, $codec:expr, $reload:ident;
        $text:expr
    ) => {
        Key {
            path: concat!($($prefix,)? path_of!($field)),
            plain_environment: None,
            secret: false,
            is_live: is_live!($reload),
            kinds: &[$(EndpointKind::$kind),+],
            text: $text,
            is_discreet: false,
            form: || $codec.form(),
            read: |endpoint: &mut EndpointConfig, value| {
                let value = $codec.read(value)?;
                match &mut endpoint.kind {
                    $(Kind::$kind(options) => field!(options, $field) = value,)+
                    _ => return Err("is not an option of this kind of endpoint".to_owned()),
                }
                Ok(())
            },
            show: |endpoint| match &endpoint.kind {
                $(Kind::$kind(options) => $codec.show(&field!(options, $field)),)+
                _ => Value::Null,
            },
        }
    };
}

/// `(a.b)` of some options.
macro_rules! field {
    ($options:ident, ($($part:ident).+)) => {
        $options.$($part).+
    };
}

/// `(a.b)` as a path.
macro_rules! path_of {
    (($first:ident $(. $rest:ident)*)) => {
        concat!(stringify!($first) $(, ".", stringify!($rest))*)
    };
}

/// Rows of common keys, and rows of endpoints that override them; null: the common value.
macro_rules! overridable {
    ($common:ident, $of_endpoint:ident: $((
        $($path:ident).+, $codec:expr, $reload:ident $(, or $plain:literal)?; $text:expr
    ),)+) => {
        pub(super) static $common: &[Key<Config>] =
            &[$(key!($($path).+, $codec, $reload $(, or $plain)?; $text)),+];

        pub(super) static $of_endpoint: &[Key<EndpointConfig>] =
            &[$(key!($($path).+, OrNull($codec), $reload;)),+];
    };
}

pub(super) use {field, is_live, key, option, overridable, path_of};

/// Marks a key as secret.
pub(super) const fn secret<S>(mut key: Key<S>) -> Key<S> {
    key.secret = true;
    key
}

/// Marks a key as secret whose codec never repeats the value in its errors.
pub(super) const fn discreet<S>(mut key: Key<S>) -> Key<S> {
    key.is_discreet = true;
    secret(key)
}

/// The same key with another path than its field, whose name would be a keyword in Rust.
pub(super) const fn at<S>(path: &'static str, mut key: Key<S>) -> Key<S> {
    key.path = path;
    key
}

impl Key<EndpointConfig> {
    /// Whether endpoints of this kind have this key.
    pub(in crate::config) fn is_of(&self, kind: EndpointKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

impl<S> Key<S> {
    /// Sets the key's field, or says what is wrong with the value.
    pub(in crate::config) fn read(&self, scope: &mut S, value: &Value) -> Result<(), String> {
        (self.read)(scope, value).map_err(|message| {
            if !self.secret {
                return message;
            }
            let what = match value {
                Value::Mapping(_) | Value::Sequence(_) => describe(value),
                _ => "what is there".to_owned(),
            };
            let hidden = "is not a valid value; it is not shown, since it is secret";
            match self.is_discreet {
                true => format!("{what} {hidden}: {message}"),
                false => format!("{what} {hidden}"),
            }
        })
    }

    /// The field's value as an operator would write it; a secret that is set is hidden.
    pub(in crate::config) fn show(&self, scope: &S) -> Value {
        match (self.show)(scope) {
            Value::Sequence(items) if items.is_empty() => Value::Sequence(items),
            value if self.secret && !value.is_null() => Value::from(HIDDEN),
            value => value,
        }
    }

    /// Whether two scopes differ in the key's field.
    pub(in crate::config) fn differs(&self, one: &S, other: &S) -> bool {
        (self.show)(one) != (self.show)(other)
    }

    /// Gives the key's field of `to` the value that it has in `from`.
    pub(in crate::config) fn copy(&self, from: &S, to: &mut S) {
        let copied = (self.read)(to, &(self.show)(from));
        debug_assert_eq!(copied, Ok(()), "{}: what is shown can be read", self.path);
    }

    /// The type and bounds of the values.
    pub(in crate::config) fn form(&self) -> Form {
        (self.form)()
    }

    /// `live` or `restart`.
    pub(in crate::config) fn reload_word(&self) -> &'static str {
        match self.is_live {
            true => "live",
            false => "restart",
        }
    }

    /// Whether the key is below a section.
    pub(in crate::config) fn has_prefix(&self, section: &str) -> bool {
        self.path
            .strip_prefix(section)
            .is_some_and(|rest| rest.starts_with('.'))
    }
}
