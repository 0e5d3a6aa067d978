//! The orders of a back end: the body of a push request, its recipients, and the texts that result
//! from it. Pure: no clock, no sockets.
//!
//! `subject` and `token` may be any JSON and are forwarded byte for byte. They are parsed only to
//! find their ends, and the token also to find its user.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::refusal::Refusal;
use crate::limits::{PUSHES_PER_BATCH_MAX, UNKNOWN_FIELD_CHARS_MAX, UNKNOWN_FIELDS_MAX};

/// Most digits of a user's number that is written with an exponent: those of the largest double.
const EXPANDED_DIGITS_MAX: usize = 309;

/// One push, as it was sent.
#[derive(Debug, Default)]
pub(super) struct Order<'b> {
    event_name: Option<Text<'b>>,
    subject: Option<&'b RawValue>,
    delay_seconds: Option<i64>,
    token: Option<&'b RawValue>,
    /// Names of the first [`UNKNOWN_FIELDS_MAX`] unknown fields. The receipt lists them, since one
    /// may be misspelt.
    unknown: Vec<Cow<'b, str>>,
}

impl<'b> Deserialize<'b> for Order<'b> {
    fn deserialize<D: Deserializer<'b>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Fields)
    }
}

/// Reads the fields of an [`Order`]. Each may occur once.
struct Fields;

impl<'b> Visitor<'b> for Fields {
    type Value = Order<'b>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a push")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Order<'b>, A::Error> {
        fn once<'b, A, T>(
            map: &mut A,
            name: &'static str,
            is_there: &mut bool,
        ) -> Result<T, A::Error>
        where
            A: MapAccess<'b>,
            T: Deserialize<'b>,
        {
            match std::mem::replace(is_there, true) {
                true => Err(A::Error::duplicate_field(name)),
                false => map.next_value(),
            }
        }
        let mut order = Order::default();
        let [mut name, mut subject, mut delay, mut token] = [false; 4];
        while let Some(Text(field)) = map.next_key()? {
            match &*field {
                "event_name" => order.event_name = once(&mut map, "event_name", &mut name)?,
                "subject" => order.subject = once(&mut map, "subject", &mut subject)?,
                "delay_seconds" => {
                    order.delay_seconds = once(&mut map, "delay_seconds", &mut delay)?;
                }
                "token" => order.token = once(&mut map, "token", &mut token)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    if order.unknown.len() < UNKNOWN_FIELDS_MAX {
                        order.unknown.push(field);
                    }
                }
            }
        }
        Ok(order)
    }
}

/// The orders of one request.
#[derive(Debug)]
pub(super) enum Orders<'b> {
    /// The body is an object.
    One(Order<'b>),
    /// The body is an array.
    Batch(Vec<Order<'b>>),
}

/// The recipients of a push.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Target<'b> {
    /// The connections of this user.
    User(Cow<'b, str>),
    /// All connections of the endpoint, since the order has no token.
    Everybody,
    /// The token is a value that names no user.
    Unresolvable,
    /// The token is ambiguous or has no value. It is meant for one user, so it is never broadcast.
    Ambiguous,
}

impl<'b> Orders<'b> {
    /// Parses a body. Each order must have an event name.
    ///
    /// # Errors
    ///
    /// The first problem, and the index of its order in a batch.
    pub(super) fn parse(body: &'b [u8]) -> Result<Orders<'b>, (Refusal, Option<usize>)> {
        let invalid = (Refusal::InvalidJson, None);
        if first_byte(body) != Some(b'[') {
            let order = Order::parse(body).map_err(|refusal| (refusal, None))?;
            return Ok(Orders::One(order));
        }
        let items: Vec<&RawValue> = serde_json::from_slice(body).map_err(|_| invalid)?;
        if items.len() > PUSHES_PER_BATCH_MAX {
            return Err((Refusal::BatchTooLarge, None));
        }
        let orders = items.iter().enumerate().map(|(index, item)| {
            let order = Order::parse(item.get().as_bytes());
            order.map_err(|refusal| (refusal, Some(index)))
        });
        orders.collect::<Result<_, _>>().map(Orders::Batch)
    }

    pub(super) fn as_slice(&self) -> &[Order<'b>] {
        match self {
            Orders::One(order) => std::slice::from_ref(order),
            Orders::Batch(orders) => orders,
        }
    }
}

impl<'b> Order<'b> {
    fn parse(json: &'b [u8]) -> Result<Order<'b>, Refusal> {
        let order: Order<'b> = object(json).ok_or(Refusal::InvalidJson)?;
        match order.event_name() {
            "" => Err(Refusal::NoEventName),
            _ => Ok(order),
        }
    }

    pub(super) fn event_name(&self) -> &str {
        self.event_name.as_ref().map_or("", |Text(name)| name)
    }

    /// The subject as it was sent; `null` if it is absent.
    pub(super) fn subject(&self) -> &'b RawValue {
        self.subject.unwrap_or(RawValue::NULL)
    }

    /// The token as it was sent; `null` if it is absent.
    pub(super) fn token(&self) -> &'b RawValue {
        self.token.unwrap_or(RawValue::NULL)
    }

    /// The delay as it was sent; 0 or less means at once.
    pub(super) fn delay_seconds(&self) -> i64 {
        self.delay_seconds.unwrap_or_default()
    }

    pub(super) fn target(&self) -> Target<'b> {
        let Some(token) = self.token else {
            return Target::Everybody;
        };
        target_of(token.get())
    }

    /// The names of fields that a push does not have.
    pub(super) fn unknown_fields(&self) -> &[Cow<'b, str>] {
        &self.unknown
    }
}

/// The user that a token names: a text as it is, a number as a decimal integer, an object by its
/// `id`, else by its `user_id`.
fn target_of(token: &str) -> Target<'_> {
    #[derive(Deserialize)]
    struct User<'t> {
        #[serde(borrow, default)]
        id: Option<&'t RawValue>,
        #[serde(borrow, default)]
        user_id: Option<&'t RawValue>,
    }
    if !token.starts_with('{') {
        return target_of_scalar(token);
    }
    // The token is valid JSON, so this fails only if one of the two fields occurs twice, or if the
    // name of a field is not a valid text.
    let Ok(user) = serde_json::from_str::<User<'_>>(token) else {
        return Target::Ambiguous;
    };
    let ids = [user.id, user.user_id].into_iter().flatten();
    let mut targets = ids.map(|id| target_of_scalar(id.get()));
    let found = targets.find(|target| *target != Target::Unresolvable);
    found.unwrap_or(Target::Unresolvable)
}

fn target_of_scalar(json: &str) -> Target<'_> {
    let user = match json.as_bytes().first() {
        // A text with half of a surrogate pair has no value (RFC 8259 §8.2).
        Some(b'"') => serde_json::from_str(json).ok().map(|Text(text)| text),
        Some(b'-' | b'0'..=b'9') => integer(json),
        _ => return Target::Unresolvable,
    };
    match user {
        Some(user) if user.is_empty() => Target::Unresolvable,
        Some(user) => Target::User(user),
        None => Target::Ambiguous,
    }
}

/// A text that is borrowed if it has no escapes.
#[derive(Debug, Deserialize)]
pub(super) struct Text<'t>(#[serde(borrow)] pub(super) Cow<'t, str>);

/// The integer part of a JSON number (RFC 8259 §6). Without an exponent, all digits are kept as
/// written; with one, the result may not be longer than a double can be.
fn integer(number: &str) -> Option<Cow<'_, str>> {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if exponent == 0 && whole != "-0" {
        return Some(Cow::Borrowed(whole));
    }
    let (sign, whole) = match whole.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", whole),
    };
    // The position of the decimal point, counted from the first digit.
    let point = i64::from(exponent) + whole.len() as i64;
    if point > EXPANDED_DIGITS_MAX as i64 {
        return None;
    }
    let digits = whole.bytes().chain(fraction.bytes());
    let digits = digits.chain(std::iter::repeat(b'0'));
    let digits: String = digits
        .take(point.max(0) as usize)
        .map(char::from)
        .skip_while(|digit| *digit == '0')
        .collect();
    Some(match digits.as_str() {
        "" => Cow::Borrowed("0"),
        digits => Cow::Owned(format!("{sign}{digits}")),
    })
}

/// Parses a JSON object as `T`. An array is rejected, although serde would accept it.
pub(super) fn object<'j, T: Deserialize<'j>>(json: &'j [u8]) -> Option<T> {
    let is_object = first_byte(json) == Some(b'{');
    is_object.then(|| serde_json::from_slice(json).ok())?
}

fn first_byte(json: &[u8]) -> Option<u8> {
    json.trim_ascii_start().first().copied()
}

/// The message that a client gets. `subject` and `token` are JSON; `ts` is in milliseconds since
/// 1970 (UTC).
pub(super) fn frame(event_name: &str, subject: &str, ts: u64, token: &str) -> String {
    let mut frame = String::with_capacity(64 + event_name.len() + subject.len() + token.len());
    frame.push_str("{\"event\":");
    push_json_text(&mut frame, event_name);
    let parts = ["subject\":", subject, ",\"ts\":"];
    frame.push_str(",\"data\":{\"");
    parts.iter().for_each(|part| frame.push_str(part));
    let _ = write!(frame, "{ts},\"token\":{token}}}}}");
    frame
}

/// The result of a push, as its back end gets it.
pub(super) struct Receipt<'r> {
    pub(super) event_name: &'r str,
    pub(super) delay_seconds: i64,
    /// `None`: all clients.
    pub(super) user: Option<&'r str>,
    /// JSON.
    pub(super) token: &'r str,
    /// Connections that it was queued for.
    pub(super) queued: u32,
    /// The number of a delayed push.
    pub(super) id: Option<u64>,
    /// Fields that had no effect.
    pub(super) unknown_fields: &'r [Cow<'r, str>],
}

impl Receipt<'_> {
    pub(super) fn append_to(&self, out: &mut String) {
        out.push_str("{\"event_name\":");
        push_json_text(out, self.event_name);
        let _ = write!(out, ",\"delay_seconds\":{},", self.delay_seconds);
        out.push_str("\"target_user_id\":");
        push_json_text(out, self.user.unwrap_or_default());
        let is_broadcast = self.user.is_none();
        let _ = write!(out, ",\"broadcast\":{is_broadcast},\"parsed_user_raw\":");
        out.push_str(self.token);
        let _ = write!(out, ",\"queued\":{}", self.queued);
        if let Some(id) = self.id {
            let _ = write!(out, ",\"id\":\"{id}\"");
        }
        let mut before = ",\"unknown_fields\":[";
        for name in self.unknown_fields {
            out.push_str(std::mem::replace(&mut before, ","));
            let end = name.char_indices().nth(UNKNOWN_FIELD_CHARS_MAX);
            push_json_text(out, &name[..end.map_or(name.len(), |(end, _)| end)]);
        }
        if !self.unknown_fields.is_empty() {
            out.push(']');
        }
        out.push('}');
    }
}

/// Appends a text as a JSON string (RFC 8259 §7).
pub(super) fn push_json_text(out: &mut String, text: &str) {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        // A text always has a JSON form.
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(body: &str) -> Result<Order<'_>, Refusal> {
        match Orders::parse(body.as_bytes()) {
            Ok(Orders::One(order)) => Ok(order),
            Ok(Orders::Batch(_)) => panic!("a batch"),
            Err((refusal, _)) => Err(refusal),
        }
    }

    #[test]
    fn a_malformed_order_is_refused_with_its_problem() {
        for (body, refusal) in [
            ("", Refusal::InvalidJson),
            ("null", Refusal::InvalidJson),
            ("\"x\"", Refusal::InvalidJson),
            ("{\"event_name\":\"e\"", Refusal::InvalidJson),
            ("{\"event_name\":\"e\"} x", Refusal::InvalidJson),
            ("{\"event_name\":5}", Refusal::InvalidJson),
            (
                "{\"event_name\":\"e\",\"delay_seconds\":\"1\"}",
                Refusal::InvalidJson,
            ),
            (
                "{\"event_name\":\"e\",\"delay_seconds\":1.5}",
                Refusal::InvalidJson,
            ),
            (
                "{\"event_name\":\"e\",\"delay_seconds\":9223372036854775808}",
                Refusal::InvalidJson,
            ),
            (
                "{\"event_name\":\"e\",\"event_name\":\"f\"}",
                Refusal::InvalidJson,
            ),
            ("{}", Refusal::NoEventName),
            ("{\"event_name\":null}", Refusal::NoEventName),
            ("{\"event_name\":\"\"}", Refusal::NoEventName),
            ("{\"EVENT_NAME\":\"e\"}", Refusal::NoEventName),
        ] {
            assert_eq!(one(body).err(), Some(refusal), "{body}");
        }
        assert_eq!(
            Orders::parse(b"{\"event_name\":\"e\",\"subject\":\"\xFF\"}").err(),
            Some((Refusal::InvalidJson, None))
        );
    }

    #[test]
    fn a_batch_reports_the_index_of_a_malformed_order() {
        let good = "{\"event_name\":\"e\"}";
        let batch = format!(" [{good},{good}] ");
        let orders = Orders::parse(batch.as_bytes()).unwrap();
        assert!(matches!(&orders, Orders::Batch(orders) if orders.len() == 2));
        assert!(matches!(Orders::parse(b"[]"), Ok(Orders::Batch(orders)) if orders.is_empty()));
        for (batch, refusal, index) in [
            (format!("[{good},{{}}]"), Refusal::NoEventName, Some(1)),
            (format!("[{good},[\"e\"]]"), Refusal::InvalidJson, Some(1)),
            (format!("[[{good}]]"), Refusal::InvalidJson, Some(0)),
            (format!("[{good},]"), Refusal::InvalidJson, None),
            (
                format!(
                    "[{}{good}]",
                    format!("{good},").repeat(PUSHES_PER_BATCH_MAX)
                ),
                Refusal::BatchTooLarge,
                None,
            ),
        ] {
            assert_eq!(
                Orders::parse(batch.as_bytes()).err(),
                Some((refusal, index))
            );
        }
    }

    #[test]
    fn a_token_names_its_user() {
        let user = |user: &'static str| Target::User(user.into());
        for (token, target) in [
            ("\"USER_123\"", user("USER_123")),
            ("\" a\\u00e9\\n\"", user(" aé\n")),
            ("123", user("123")),
            ("-7", user("-7")),
            ("1.99", user("1")),
            ("-1.99", user("-1")),
            ("-0.5", user("0")),
            ("-0", user("0")),
            ("1e3", user("1000")),
            ("12.345E1", user("123")),
            ("125e-1", user("12")),
            ("-5e-1", user("0")),
            ("0e5", user("0")),
            ("0.00123e4", user("12")),
            ("9223372036854775808", user("9223372036854775808")),
            (
                "123456789012345678901234567890",
                user("123456789012345678901234567890"),
            ),
            ("1e400", Target::Ambiguous),
            ("-1e400", Target::Ambiguous),
            ("1e99999999999", Target::Ambiguous),
            ("{\"id\":1e400,\"user_id\":\"y\"}", Target::Ambiguous),
            ("{\"id\":\"x\",\"id\":\"x\"}", Target::Ambiguous),
            ("{\"id\":\"x\",\"\\u0069d\":\"y\"}", Target::Ambiguous),
            ("{\"id\":null,\"id\":\"x\"}", Target::Ambiguous),
            ("{\"user_id\":1,\"user_id\":2}", Target::Ambiguous),
            ("{\"id\":\"x\",\"of\":1,\"of\":2}", user("x")),
            ("{\"id\":\"x\",\"user_id\":\"y\"}", user("x")),
            ("{ \"user_id\" : 5.5 }", user("5")),
            ("{\"id\":null,\"user_id\":\"y\"}", user("y")),
            ("{\"id\":\"\",\"user_id\":\"y\"}", user("y")),
            ("{\"id\":{\"id\":1}}", Target::Unresolvable),
            ("{}", Target::Unresolvable),
            ("[\"x\"]", Target::Unresolvable),
            ("true", Target::Unresolvable),
            ("\"\"", Target::Unresolvable),
            ("\"\\ud800\"", Target::Ambiguous),
            ("{\"id\":\"\\ud800\"}", Target::Ambiguous),
            ("{\"uid\":\"x\"}", Target::Unresolvable),
            ("{\"id\":\"\",\"user_id\":true}", Target::Unresolvable),
            ("null", Target::Everybody),
        ] {
            let body = format!("{{\"event_name\":\"e\",\"token\":{token}}}");
            assert_eq!(one(&body).unwrap().target(), target, "{token}");
        }
        assert_eq!(
            one("{\"event_name\":\"e\"}").unwrap().target(),
            Target::Everybody
        );
    }

    proptest! {
        #[test]
        fn no_body_panics(body in "[\\[{\"a-z_:,0-9.eE+\\-\\]} ]*") {
            if let Ok(orders) = Orders::parse(body.as_bytes()) {
                orders.as_slice().iter().for_each(|order| { order.target(); });
            }
        }

        #[test]
        fn a_frame_is_json_with_subject_and_token_byte_for_byte(
            event_name in "\\PC*|[\\x00-\\x1f\"\\\\]*",
            text in "\\PC*",
            ts in any::<u64>(),
        ) {
            let subject = format!("{{ \"a\" :\n {}, \"a\": 1.50 }}", serde_json::json!(text));
            let frame = frame(&event_name, &subject, ts, " [1e2] ".trim());
            prop_assert!(frame.contains(&subject));
            let read: serde_json::Value = serde_json::from_str(&frame).unwrap();
            prop_assert_eq!(&read["event"], &serde_json::json!(event_name));
            prop_assert_eq!(&read["data"]["ts"], &serde_json::json!(ts));
        }

        #[test]
        fn a_number_without_a_fraction_is_itself(number in any::<i64>(), fraction in 0..1000u32) {
            let whole = number.to_string();
            let text = format!("{whole}.{fraction}");
            prop_assert_eq!(integer(&whole), Some(Cow::Borrowed(&*whole)));
            prop_assert_eq!(integer(&text), Some(Cow::Borrowed(&*whole)));
        }
    }
}
