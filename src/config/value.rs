//! The notation of values: a codec reads a value from YAML and writes it as YAML.
//!
//! All sources use the same codecs. The environment and the command line give texts, so a codec
//! that accepts `8443` accepts `"8443"` too; it never accepts a value of another shape. Errors say
//! what was read, what is expected, and what was probably meant; they become part of a
//! [`Problem`](super::Problem), which adds the place.

use std::fmt::Display;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::quantity::{parse_duration, parse_size, show_duration, show_size};
use super::{KIB, LogOutput};
use crate::guard::{ApiKey, ApiKeyError, Scopes, Secret};
use crate::suggest;

/// The notation of a key's values, for reading and for showing.
///
/// `read(show(x))` is `x` for every `x` that `read` can yield.
pub(super) trait Codec {
    /// The type of the parsed value.
    type Target;

    /// Parses a value; the error says what is wrong with it.
    fn read(&self, value: &Value) -> Result<Self::Target, String>;

    /// The value as an operator would write it.
    fn show(&self, target: &Self::Target) -> Value;
}

/// `true` or `false`.
pub(super) struct Switch;

/// A whole number within bounds.
pub(super) struct Count {
    pub(super) min: usize,
    pub(super) max: usize,
}

/// A TCP port; 0 asks the system for a free one.
pub(super) struct Port;

/// A size in bytes within bounds: a bare number, or one with a unit, all powers of two.
pub(super) struct Size {
    pub(super) min: usize,
    pub(super) max: usize,
}

/// A duration within bounds, always with a unit (but 0 needs none).
pub(super) struct Span {
    pub(super) min: Duration,
    pub(super) max: Duration,
}

/// One word of a list.
pub(super) struct Word<T: 'static>(pub(super) &'static [(&'static str, T)]);

/// An IP address, or `localhost`.
pub(super) struct Address;

/// A list of the items that the word names, each in the notation of its `Display`.
pub(super) struct List<T>(pub(super) &'static str, pub(super) PhantomData<T>);

/// Permissions of a file: octal digits.
pub(super) struct FileMode;

/// A path in the file system.
pub(super) struct File;

/// A short printable text.
pub(super) struct Text {
    pub(super) bytes_max: usize,
}

/// A text that is never shown, with bounds on its bytes. Its key must be marked secret.
pub(super) struct Hidden {
    pub(super) bytes_min: usize,
    pub(super) bytes_max: usize,
}

/// API keys and their scopes. The keys are never shown, and no error reveals anything about them.
/// The config key must be marked secret.
pub(super) struct ApiKeys;

/// One API key with a minimum length against guessing. The config key must be marked secret.
pub(super) struct OneKey {
    pub(super) bytes_min: usize,
}

/// The destination of the log.
pub(super) struct Output;

/// The path of an endpoint: exact, with a parameter as its last part (`/ws/{username}`), or
/// everything below one (`/chat/**`).
pub(super) struct UrlPath;

/// A value, or one of the words that mean its absence; the first of them is the one shown.
pub(super) struct Or<C>(pub(super) &'static [&'static str], pub(super) C);

/// A value or null.
pub(super) struct OrNull<C>(pub(super) C);

/// A codec whose parsed value is converted to another type.
pub(super) struct Mapped<C: Codec, T> {
    pub(super) codec: C,
    pub(super) from: fn(C::Target) -> T,
    pub(super) into: fn(&T) -> C::Target,
}

impl Codec for Switch {
    type Target = bool;

    fn read(&self, value: &Value) -> Result<bool, String> {
        if let Value::Bool(on) = value {
            return Ok(*on);
        }
        let word = value.as_str().map(str::to_ascii_lowercase);
        match word.as_deref() {
            Some("true" | "yes" | "on" | "1") => Ok(true),
            Some("false" | "no" | "off" | "0") => Ok(false),
            _ => Err(format!("{} is neither true nor false", describe(value))),
        }
    }

    fn show(&self, on: &bool) -> Value {
        Value::Bool(*on)
    }
}

impl Codec for Count {
    type Target = usize;

    fn read(&self, value: &Value) -> Result<usize, String> {
        let count = plain_text(value)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| format!("{} is not a whole number", describe(value)))?;
        within(count, self.min, self.max, |bound| bound.to_string())
    }

    fn show(&self, count: &usize) -> Value {
        Value::from(*count as u64)
    }
}

impl Codec for Port {
    type Target = u16;

    fn read(&self, value: &Value) -> Result<u16, String> {
        plain_text(value)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| {
                format!(
                    "{} is not a port; write a number from 0 to 65535",
                    describe(value)
                )
            })
    }

    fn show(&self, port: &u16) -> Value {
        Value::from(*port)
    }
}

impl Codec for Size {
    type Target = usize;

    fn read(&self, value: &Value) -> Result<usize, String> {
        let bytes = plain_text(value).and_then(|text| parse_size(&text)).ok_or_else(|| {
            format!(
                "{} is not a size; write bytes as a whole number, or with a unit, such as 64KiB \
                 or 1MiB",
                describe(value)
            )
        })?;
        within(bytes, self.min, self.max, show_size)
    }

    fn show(&self, bytes: &usize) -> Value {
        if *bytes < KIB || !bytes.is_multiple_of(KIB) {
            Value::from(*bytes as u64)
        } else {
            Value::from(show_size(*bytes))
        }
    }
}

impl Codec for Span {
    type Target = Duration;

    fn read(&self, value: &Value) -> Result<Duration, String> {
        let Some(text) = plain_text(value) else {
            return Err(format!(
                "{} is not a duration; write 10s, for example",
                describe(value)
            ));
        };
        let is_number = text.starts_with(|c: char| c.is_ascii_digit());
        if is_number && text.parse::<f64>().is_ok_and(|number| number != 0.0) {
            return Err(format!(
                "{} has no unit; did you mean {text}s?",
                describe(value)
            ));
        }
        let span = parse_duration(&text).ok_or_else(|| {
            format!(
                "{} is not a duration; write 250ms, 10s, 1m30s or 1h",
                describe(value)
            )
        })?;
        within(span, self.min, self.max, show_duration)
    }

    fn show(&self, span: &Duration) -> Value {
        Value::from(show_duration(*span))
    }
}

impl<T: Copy + PartialEq> Codec for Word<T> {
    type Target = T;

    fn read(&self, value: &Value) -> Result<T, String> {
        let text = value.as_str().unwrap_or_default().to_ascii_lowercase();
        if let Some((_, meaning)) = self.0.iter().find(|(word, _)| *word == text) {
            return Ok(*meaning);
        }
        let known: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
        let mut message = format!("{} is not one of {}", describe(value), known.join(", "));
        if let Some(word) = suggest::nearest(&text, known.into_iter()) {
            message += &format!("; did you mean {word}?");
        }
        Err(message)
    }

    fn show(&self, meaning: &T) -> Value {
        let known = self.0.iter().find(|(_, candidate)| candidate == meaning);
        known.map_or(Value::Null, |(word, _)| Value::from(*word))
    }
}

impl Codec for Address {
    type Target = IpAddr;

    fn read(&self, value: &Value) -> Result<IpAddr, String> {
        let text = plain_text(value).unwrap_or_default();
        if text.eq_ignore_ascii_case("localhost") {
            return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        bare.unwrap_or(&text).parse().map_err(|_| {
            format!(
                "{} is not an IP address; write 127.0.0.1, 0.0.0.0 (all of IPv4) or :: (all)",
                describe(value)
            )
        })
    }

    fn show(&self, address: &IpAddr) -> Value {
        Value::from(address.to_string())
    }
}

impl<T: FromStr + Display> Codec for List<T>
where
    T::Err: Display,
{
    type Target = Vec<T>;

    fn read(&self, value: &Value) -> Result<Vec<T>, String> {
        let items: Vec<String> = match value {
            Value::Sequence(items) => items
                .iter()
                .map(|item| plain_text(item).unwrap_or_else(|| describe(item)))
                .collect(),
            Value::String(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
            _ => return Err(format!("{} is not a list of {}", describe(value), self.0)),
        };
        let read = items
            .iter()
            .map(|item| item.parse::<T>().map_err(|error| (item, error)));
        let (good, bad): (Vec<_>, Vec<_>) = read.partition(Result::is_ok);
        if bad.is_empty() {
            return Ok(good.into_iter().flatten().collect());
        }
        let reasons = bad.into_iter().filter_map(Result::err);
        let reasons: Vec<String> = reasons
            .map(|(item, error)| format!("{} {error}", quoted(item)))
            .collect();
        Err(reasons.join("; "))
    }

    fn show(&self, items: &Vec<T>) -> Value {
        let shown = items.iter().map(|item| Value::from(item.to_string()));
        Value::Sequence(shown.collect())
    }
}

impl Codec for FileMode {
    type Target = u32;

    fn read(&self, value: &Value) -> Result<u32, String> {
        let text = plain_text(value).unwrap_or_default();
        let digits = text.strip_prefix("0o").unwrap_or(&text);
        // The owner must be able to read and write. Thereby 0o660 without quotes, which YAML reads
        // as 432, is refused instead of being taken for other permissions.
        u32::from_str_radix(digits, 8)
            .ok()
            .filter(|mode| (0o600..=0o777).contains(mode))
            .ok_or_else(|| {
                let shown = describe(value);
                format!(
                    "{shown} does not give the permissions of a socket; write \"600\" to \"777\", \
                     octal, in quotes"
                )
            })
    }

    fn show(&self, mode: &u32) -> Value {
        Value::from(format!("{mode:03o}"))
    }
}

impl Codec for File {
    type Target = PathBuf;

    fn read(&self, value: &Value) -> Result<PathBuf, String> {
        let text = plain_text(value).filter(|text| !text.is_empty() && !text.contains('\0'));
        text.map(PathBuf::from)
            .ok_or_else(|| format!("{} is not a path", describe(value)))
    }

    fn show(&self, path: &PathBuf) -> Value {
        Value::from(path.display().to_string())
    }
}

impl Codec for Text {
    type Target = String;

    fn read(&self, value: &Value) -> Result<String, String> {
        let text = match value {
            Value::String(_) | Value::Number(_) => plain_text(value),
            Value::Bool(on) => Some(on.to_string()),
            _ => None,
        };
        let text = text.ok_or_else(|| format!("{} is not a text", describe(value)))?;
        if text.is_empty() || text.len() > self.bytes_max || text.chars().any(char::is_control) {
            return Err(format!(
                "{} is not a text of 1 to {} printable bytes",
                describe(value),
                self.bytes_max
            ));
        }
        Ok(text)
    }

    fn show(&self, text: &String) -> Value {
        Value::from(text.as_str())
    }
}

impl Codec for Hidden {
    type Target = Secret;

    fn read(&self, value: &Value) -> Result<Secret, String> {
        let text = plain_text(value).unwrap_or_default();
        if (self.bytes_min..=self.bytes_max).contains(&text.len()) {
            return Ok(Secret::new(text));
        }
        let Hidden {
            bytes_min,
            bytes_max,
        } = self;
        Err(format!(
            "it needs {bytes_min} to {bytes_max} bytes; openssl rand -hex 32 makes a good one"
        ))
    }

    fn show(&self, secret: &Secret) -> Value {
        Value::from(secret.reveal())
    }
}

impl Codec for ApiKeys {
    type Target = Vec<ApiKey>;

    fn read(&self, value: &Value) -> Result<Vec<ApiKey>, String> {
        let keys: Vec<Result<ApiKey, ApiKeyError>> = match value {
            Value::Sequence(items) => items.iter().map(key_of_item).collect(),
            Value::String(text) => text.split(',').map(|item| item.trim().parse()).collect(),
            _ => return Err("it is not a list of API keys".to_owned()),
        };
        let numbered = keys.into_iter().zip(1..);
        numbered
            .map(|(key, number)| key.map_err(|error| format!("key {number}: {error}")))
            .collect()
    }

    fn show(&self, keys: &Vec<ApiKey>) -> Value {
        let items = keys.iter().map(|key| {
            let text = Value::from(key.reveal());
            if key.scopes() == Scopes::ALL {
                return text;
            }
            let scopes = key.scopes().iter().map(|scope| Value::from(scope.name()));
            let mut item = Mapping::new();
            item.insert(Value::from("key"), text);
            item.insert(Value::from("scopes"), Value::Sequence(scopes.collect()));
            Value::Mapping(item)
        });
        Value::Sequence(items.collect())
    }
}

/// Reads an item of a list of keys: a key alone, or `{key: …, scopes: [push, read]}`.
fn key_of_item(item: &Value) -> Result<ApiKey, ApiKeyError> {
    let Value::Mapping(parts) = item else {
        return plain_text(item).unwrap_or_default().parse();
    };
    let (key, scopes) = (parts.get("key"), parts.get("scopes"));
    let (Some(key), Some(scopes), 2) = (key, scopes, parts.len()) else {
        return Err(ApiKeyError::Form);
    };
    let key: ApiKey = plain_text(key).unwrap_or_default().parse()?;
    let names: Vec<&str> = match scopes {
        Value::Sequence(names) => names
            .iter()
            .map(|name| name.as_str().unwrap_or(""))
            .collect(),
        Value::String(names) => names.split(',').map(str::trim).collect(),
        _ => return Err(ApiKeyError::Form),
    };
    Ok(key.with_scopes(Scopes::of_names(names.into_iter())?))
}

impl Codec for OneKey {
    type Target = ApiKey;

    fn read(&self, value: &Value) -> Result<ApiKey, String> {
        let text = plain_text(value).unwrap_or_default();
        if text.len() < self.bytes_min {
            return Err(format!(
                "it needs at least {} characters; openssl rand -hex 24 makes a good one",
                self.bytes_min
            ));
        }
        let key = text.parse();
        key.map_err(|error: ApiKeyError| error.to_string())
    }

    fn show(&self, key: &ApiKey) -> Value {
        Value::from(key.reveal())
    }
}

impl Codec for Output {
    type Target = LogOutput;

    fn read(&self, value: &Value) -> Result<LogOutput, String> {
        match value.as_str() {
            Some("stderr") => Ok(LogOutput::Stderr),
            Some("stdout") => Ok(LogOutput::Stdout),
            _ => File
                .read(value)
                .map(LogOutput::File)
                .map_err(|_| format!("{} is neither stderr, stdout nor a path", describe(value))),
        }
    }

    fn show(&self, output: &LogOutput) -> Value {
        match output {
            LogOutput::Stderr => Value::from("stderr"),
            LogOutput::Stdout => Value::from("stdout"),
            LogOutput::File(path) => File.show(path),
        }
    }
}

impl Codec for UrlPath {
    type Target = String;

    fn read(&self, value: &Value) -> Result<String, String> {
        let text = plain_text(value).unwrap_or_default();
        let base = text
            .strip_suffix("/**")
            .or_else(|| without_parameter(&text));
        let base = base.unwrap_or(&text);
        let fits = text.starts_with('/') && text.len() <= KIB;
        let plain = |c: char| c.is_ascii_graphic() && !"*{}?#\"<>\\^`|".contains(c);
        if fits && base.chars().all(plain) {
            return Ok(text);
        }
        Err(format!(
            "{} is not a path of an endpoint; write an exact one such as /chat, /chat/** for all \
             below, or /ws/{{username}} for one more part; characters beyond ASCII are \
             percent-encoded",
            describe(value)
        ))
    }

    fn show(&self, path: &String) -> Value {
        Value::from(path.as_str())
    }
}

/// The part before a parameter and its slash: `/ws` of `/ws/{username}`.
fn without_parameter(path: &str) -> Option<&str> {
    let (before, last) = path.rsplit_once('/')?;
    let name = last.strip_prefix('{')?.strip_suffix('}')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(is_name)).then_some(before)
}

impl<C: Codec> Codec for Or<C> {
    type Target = Option<C::Target>;

    fn read(&self, value: &Value) -> Result<Self::Target, String> {
        let text = plain_text(value).map(|text| text.to_ascii_lowercase());
        if text.is_some_and(|text| self.0.contains(&text.as_str())) {
            return Ok(None);
        }
        let read = self.1.read(value).map(Some);
        read.map_err(|error| format!("{error} (or {})", self.0[0]))
    }

    fn show(&self, target: &Self::Target) -> Value {
        match target {
            Some(inner) => self.1.show(inner),
            None if self.0[0] == "0" => Value::from(0),
            None => Value::from(self.0[0]),
        }
    }
}

impl<C: Codec> Codec for OrNull<C> {
    type Target = Option<C::Target>;

    fn read(&self, value: &Value) -> Result<Self::Target, String> {
        match value {
            Value::Null => Ok(None),
            value => self.0.read(value).map(Some),
        }
    }

    fn show(&self, target: &Self::Target) -> Value {
        target
            .as_ref()
            .map_or(Value::Null, |inner| self.0.show(inner))
    }
}

impl<C: Codec, T> Codec for Mapped<C, T> {
    type Target = T;

    fn read(&self, value: &Value) -> Result<T, String> {
        self.codec.read(value).map(self.from)
    }

    fn show(&self, target: &T) -> Value {
        self.codec.show(&(self.into)(target))
    }
}

/// The text of a number or a text, without surrounding spaces.
pub(super) fn plain_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A value for an error message: short, on one line, in quotes if it is the operator's text.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing (null)".to_owned(),
        Value::Bool(on) => quoted(&on.to_string()),
        Value::Number(number) => quoted(&number.to_string()),
        Value::String(text) => quoted(text),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::Tagged(_) => "a tagged value".to_owned(),
    }
}

/// The text in quotes, its control characters escaped, its end cut off if it is long.
pub(super) fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut shown: String = text.chars().take(CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

fn within<T: PartialOrd + Copy>(
    value: T,
    min: T,
    max: T,
    show: impl Fn(T) -> String,
) -> Result<T, String> {
    if value < min {
        return Err(format!(
            "{} is less than the minimum, {}",
            show(value),
            show(min)
        ));
    }
    if value > max {
        return Err(format!(
            "{} is more than the maximum, {}",
            show(value),
            show(max)
        ));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Network;
    use proptest::prelude::*;

    fn text(text: &str) -> Value {
        Value::from(text)
    }

    #[test]
    fn sizes_are_bytes_or_powers_of_two() {
        let size = Size {
            min: 0,
            max: usize::MAX,
        };
        for (written, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64KiB", 65_536),
            ("64kb", 65_536),
            ("1MiB", 1_048_576),
            ("10MB", 10_485_760),
            ("1 MB", 1_048_576),
            ("1m", 1_048_576),
            ("2GiB", 2_147_483_648),
            ("7b", 7),
        ] {
            assert_eq!(size.read(&text(written)), Ok(bytes), "{written}");
        }
        assert_eq!(size.read(&Value::from(4096)), Ok(4096));
        for written in [
            "",
            "MiB",
            "1.5MiB",
            "1XB",
            "-1",
            "1MiBs",
            "99999999999GiB",
            "ten",
        ] {
            assert!(size.read(&text(written)).is_err(), "{written}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_go_from_large_to_small() {
        let span = Span {
            min: Duration::ZERO,
            max: Duration::MAX,
        };
        for (written, ms) in [
            ("10s", 10_000),
            ("250ms", 250),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("1h1ms", 3_600_001),
            ("0s", 0),
            ("0", 0),
        ] {
            assert_eq!(
                span.read(&text(written)),
                Ok(Duration::from_millis(ms)),
                "{written}"
            );
        }
        for written in [
            "",
            "s",
            "10",
            "1.5",
            "1s1m",
            "1s1s",
            "10 parsecs",
            "-1s",
            "1h99",
        ] {
            assert!(span.read(&text(written)).is_err(), "{written}");
        }
        let bare = span.read(&Value::from(10)).expect_err("a bare number");
        assert!(bare.contains("did you mean 10s?"), "{bare}");
    }

    #[test]
    fn permissions_are_octal_and_the_owner_has_them() {
        for (value, mode) in [
            (text("660"), 0o660),
            (text("0600"), 0o600),
            (text("0o777"), 0o777),
            (Value::from(660), 0o660),
        ] {
            assert_eq!(FileMode.read(&value), Ok(mode), "{value:?}");
        }
        for bad in ["", "77", "888", "1777", "440", "-60", "rw"] {
            assert!(FileMode.read(&text(bad)).is_err(), "{bad}");
        }
        assert!(FileMode.read(&Value::from(0o660)).is_err());
    }

    #[test]
    fn a_path_is_exact_or_ends_in_a_parameter_or_a_wildcard() {
        for good in [
            "/",
            "/**",
            "/chat",
            "/chat/**",
            "/a/b%20c",
            "/ws/{user_1}",
            "/{user}",
        ] {
            assert_eq!(UrlPath.read(&text(good)), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "chat",
            "/a b",
            "/chat/*",
            "/**/x",
            "/{user}/ws",
            "/ws/{user",
            "/ws/user}",
            "/ws/{}",
            "/ws/{a b}",
            "/ws/{user}/**",
            "/a?b",
            "/ü",
            "**",
        ] {
            assert!(UrlPath.read(&text(bad)).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_size_that_is_shown_reads_back(bytes in any::<usize>()) {
            let size = Size { min: 0, max: usize::MAX };
            prop_assert_eq!(size.read(&size.show(&bytes)), Ok(bytes));
        }

        #[test]
        fn a_duration_that_is_shown_reads_back(ms in 0..u64::MAX / 2) {
            let span = Span { min: Duration::ZERO, max: Duration::MAX };
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(span.read(&span.show(&duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(written in "\\PC*") {
            let _ = Size { min: 1, max: 9 }.read(&text(&written));
            let _ = Span { min: Duration::ZERO, max: Duration::MAX }.read(&text(&written));
            let _ = List::<Network>("networks", PhantomData).read(&text(&written));
            let _ = Address.read(&text(&written));
            let _ = UrlPath.read(&text(&written));
        }
    }
}
