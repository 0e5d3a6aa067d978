//! Messages from clients, and the answers to them (NIP-01, NIP-42, NIP-45, NIP-77).

use serde_json::value::RawValue;

use crate::json::{self, Text};

/// Most characters of the name of a subscription.
const SUBSCRIPTION_CHARS_MAX: usize = 64;

/// The name of a subscription: 1 to 64 characters of any kind.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SubscriptionId(Box<str>);

impl SubscriptionId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as JSON.
    pub fn json(&self) -> String {
        let mut json = String::with_capacity(self.0.len() + 2);
        json::append_string(&mut json, &self.0);
        json
    }
}

/// A message from a client, parsed but not checked any further.
#[derive(Debug)]
pub enum ClientMessage<'m> {
    /// `["EVENT",{…}]`: the JSON of the event.
    Event(&'m str),
    /// `["REQ",sub,filter…]`: the JSON of each filter.
    Req(SubscriptionId, Vec<&'m str>),
    /// `["COUNT",sub,filter…]`.
    Count(SubscriptionId, Vec<&'m str>),
    /// `["CLOSE",sub]`.
    Close(SubscriptionId),
    /// `["AUTH",{…}]`: the JSON of the event.
    Auth(&'m str),
    /// `["NEG-OPEN",sub,filter,hex]`: the JSON of what follows the name.
    NegOpen(SubscriptionId, Vec<&'m str>),
    /// `["NEG-MSG",sub,hex]`.
    NegMsg(SubscriptionId, Vec<&'m str>),
    /// `["NEG-CLOSE",sub]`.
    NegClose(SubscriptionId),
}

/// Why a message is invalid. The text follows the prefix that NIP-01 asks for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MessageError {
    /// It is not a JSON array.
    #[error("invalid: a message is a JSON array")]
    NoArray,
    /// It does not begin with a string.
    #[error("invalid: a message begins with its type")]
    NoVerb,
    /// The type is unknown.
    #[error("invalid: unknown type of message")]
    UnknownVerb,
    /// It has too few parts, or too many.
    #[error("invalid: {0}")]
    Parts(&'static str),
    /// The subscription id of a query is invalid; if it is a text the answer repeats it.
    #[error("invalid: a subscription's name is a string of 1 to 64 characters")]
    SubscriptionId(Option<Box<str>>),
}

impl<'m> ClientMessage<'m> {
    /// Parses a text message. `None`: it is blank, and is ignored.
    ///
    /// # Errors
    ///
    /// It is not a message that the relay supports.
    pub fn parse(text: &'m str) -> Result<Option<ClientMessage<'m>>, MessageError> {
        if text.bytes().all(|byte| byte.is_ascii_whitespace()) {
            return Ok(None);
        }
        let parts: Vec<&'m RawValue> =
            serde_json::from_str(text).map_err(|_| MessageError::NoArray)?;
        let (verb, parts) = parts.split_first().ok_or(MessageError::NoVerb)?;
        let verb: Text<'m> = serde_json::from_str(verb.get()).map_err(|_| MessageError::NoVerb)?;
        let message = match &*verb.0 {
            "EVENT" => ClientMessage::Event(only(parts, "EVENT has one event")?),
            "AUTH" => ClientMessage::Auth(only(parts, "AUTH has one event")?),
            "REQ" => {
                let (id, filters) = named(parts)?;
                ClientMessage::Req(id, filters)
            }
            "COUNT" => {
                let (id, filters) = named(parts)?;
                ClientMessage::Count(id, filters)
            }
            "CLOSE" => ClientMessage::Close(name(parts)?),
            "NEG-OPEN" => {
                let (id, parts) = unanswered(parts)?;
                ClientMessage::NegOpen(id, parts)
            }
            "NEG-MSG" => {
                let (id, parts) = unanswered(parts)?;
                ClientMessage::NegMsg(id, parts)
            }
            "NEG-CLOSE" => ClientMessage::NegClose(name(parts)?),
            _ => return Err(MessageError::UnknownVerb),
        };
        Ok(Some(message))
    }
}

/// The only part.
fn only<'m>(parts: &[&'m RawValue], told: &'static str) -> Result<&'m str, MessageError> {
    match parts {
        [part] => Ok(part.get()),
        _ => Err(MessageError::Parts(told)),
    }
}

/// The subscription id of a message whose refusal has no answer that carries the id.
fn name(parts: &[&RawValue]) -> Result<SubscriptionId, MessageError> {
    unanswered(parts).map(|(name, _)| name)
}

/// The same, with the parts after it.
fn unanswered<'m>(parts: &[&'m RawValue]) -> Result<(SubscriptionId, Vec<&'m str>), MessageError> {
    named(parts).map_err(|_| MessageError::SubscriptionId(None))
}

/// The subscription id, and the parts after it.
fn named<'m>(parts: &[&'m RawValue]) -> Result<(SubscriptionId, Vec<&'m str>), MessageError> {
    let (name, rest) = parts
        .split_first()
        .ok_or(MessageError::SubscriptionId(None))?;
    let name: Text<'m> =
        serde_json::from_str(name.get()).map_err(|_| MessageError::SubscriptionId(None))?;
    let name: Box<str> = name.0.into();
    let chars = name.chars().take(SUBSCRIPTION_CHARS_MAX + 1).count();
    if !(1..=SUBSCRIPTION_CHARS_MAX).contains(&chars) {
        return Err(MessageError::SubscriptionId(Some(name)));
    }
    Ok((
        SubscriptionId(name),
        rest.iter().map(|part| part.get()).collect(),
    ))
}

/// The `id` of an invalid event, if it has one that is a string: the answer carries it.
pub fn claimed_id(json: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Claim {
        id: String,
    }
    let is_object = json.trim_ascii_start().starts_with('{');
    let claim: Claim = serde_json::from_str(json).ok().filter(|_| is_object)?;
    Some(claim.id)
}

/// Answers, as JSON texts.
pub mod reply {
    use super::{SubscriptionId, json};

    /// `["OK",id,accepted,reason]`.
    pub fn ok(id: &str, is_accepted: bool, reason: &str) -> String {
        let accepted = if is_accepted { "true" } else { "false" };
        array("OK", [&string(id), accepted, &string(reason)])
    }

    /// `["NOTICE",text]`.
    pub fn notice(text: &str) -> String {
        array("NOTICE", [&*string(text)])
    }

    /// `["CLOSED",sub,reason]`.
    pub fn closed(subscription: &str, reason: &str) -> String {
        closed_json(&string(subscription), reason)
    }

    /// The same with the subscription id already encoded as JSON.
    pub fn closed_json(subscription_json: &str, reason: &str) -> String {
        array("CLOSED", [subscription_json, &string(reason)])
    }

    /// `["NEG-MSG",sub,hex]`.
    pub fn neg_msg(subscription: &SubscriptionId, hex: &str) -> String {
        format!("[\"NEG-MSG\",{},\"{hex}\"]", subscription.json())
    }

    /// `["NEG-ERR",sub,reason]`, with the bound on events if that is the reason.
    pub fn neg_err(subscription: &SubscriptionId, reason: &str, bound: Option<usize>) -> String {
        let (name, reason) = (subscription.json(), string(reason));
        match bound.map(|bound| bound.to_string()) {
            Some(bound) => array("NEG-ERR", [&*name, &reason, &bound]),
            None => array("NEG-ERR", [&*name, &reason]),
        }
    }

    /// `["AUTH",challenge]`.
    pub fn auth(challenge: &str) -> String {
        array("AUTH", [&*string(challenge)])
    }

    /// `["EOSE",sub,[hint]]` (NIP-67): the hint says whether older events match that were not sent.
    pub fn eose(subscription_json: &str, has_more: bool) -> String {
        let hint = if has_more {
            "[\"more\"]"
        } else {
            "[\"finish\"]"
        };
        array("EOSE", [subscription_json, hint])
    }

    /// `["COUNT",sub,{"count":n}]`; `hll` are hexadecimal digits (NIP-45).
    pub fn count(
        subscription_json: &str,
        count: u64,
        is_approximate: bool,
        hll: Option<&str>,
    ) -> String {
        let approximate = if is_approximate {
            ",\"approximate\":true"
        } else {
            ""
        };
        let hll = hll.map_or(String::new(), |hll| format!(",\"hll\":\"{hll}\""));
        let result = format!("{{\"count\":{count}{approximate}{hll}}}");
        array("COUNT", [subscription_json, &result])
    }

    /// The head of a message with an event: `["EVENT",sub,`.
    pub fn event_head(subscription_json: &str) -> String {
        format!("[\"EVENT\",{subscription_json},")
    }

    fn string(text: &str) -> String {
        let mut json = String::with_capacity(text.len() + 2);
        json::append_string(&mut json, text);
        json
    }

    fn array<'p>(verb: &str, parts: impl IntoIterator<Item = &'p str>) -> String {
        let mut text = format!("[\"{verb}\"");
        for part in parts {
            text.push(',');
            text.push_str(part);
        }
        text.push(']');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<ClientMessage<'_>>, MessageError> {
        ClientMessage::parse(text)
    }

    #[test]
    fn message_types_are_parsed() {
        let message = |text| parse(text).expect(text).expect(text);
        assert!(matches!(
            message(r#"["EVENT",{"id":1}]"#),
            ClientMessage::Event(r#"{"id":1}"#)
        ));
        assert!(matches!(
            message(r#" ["\u0041UTH" , {} ] "#),
            ClientMessage::Auth("{}")
        ));
        assert!(matches!(
            message(r#"["NEG-MSG","s","00"]"#),
            ClientMessage::NegMsg(_, parts) if parts == ["\"00\""]
        ));
        assert!(matches!(
            message(r#"["NEG-OPEN","s",{},"00"]"#),
            ClientMessage::NegOpen(_, parts) if parts == ["{}", "\"00\""]
        ));
        assert!(matches!(
            message(r#"["NEG-CLOSE","s"]"#),
            ClientMessage::NegClose(_)
        ));
        assert!(matches!(
            message(r#"["CLOSE","s"]"#),
            ClientMessage::Close(_)
        ));
        let ClientMessage::Req(id, filters) = message(r#"["REQ","a\"\u00e9",{},3]"#) else {
            panic!("a REQ");
        };
        assert_eq!(
            (id.as_str(), &*id.json(), filters),
            ("a\"é", r#""a\"é""#, vec!["{}", "3"])
        );
        for blank in ["", " \r\n\t"] {
            assert!(parse(blank).expect("blank").is_none());
        }
    }

    #[test]
    fn invalid_messages_are_refused_by_name() {
        let wrong = |text: &str| parse(text).expect_err(text);
        for text in ["{}", "[", "x", "[]x", "\"EVENT\""] {
            assert_eq!(wrong(text), MessageError::NoArray);
        }
        for text in ["[]", "[1]", "[null,{}]", "[\"\\ud800\"]"] {
            assert_eq!(wrong(text), MessageError::NoVerb);
        }
        for text in ["[\"event\",{}]", "[\"OK\"]"] {
            assert_eq!(wrong(text), MessageError::UnknownVerb);
        }
        for text in ["[\"EVENT\"]", "[\"EVENT\",{},{}]"] {
            assert_eq!(wrong(text), MessageError::Parts("EVENT has one event"));
        }
        for text in ["[\"NEG-OPEN\"]", "[\"NEG-MSG\",\"\"]", "[\"NEG-CLOSE\",1]"] {
            assert_eq!(wrong(text), MessageError::SubscriptionId(None));
        }
        let name = "x".repeat(65);
        let long = MessageError::SubscriptionId(Some(name.clone().into()));
        let text = format!("[\"REQ\",\"{name}\"]");
        assert_eq!(wrong(&text), long);
        assert_eq!(
            wrong("[\"REQ\",\"\"]"),
            MessageError::SubscriptionId(Some("".into()))
        );
        for text in ["[\"REQ\"]", "[\"CLOSE\",1]", "[\"COUNT\",null,{}]"] {
            assert_eq!(wrong(text), MessageError::SubscriptionId(None));
        }
        let name = "😀".repeat(64);
        assert!(parse(&format!("[\"REQ\",\"{name}\",{{}}]")).is_ok());
    }

    #[test]
    fn answers_are_json() {
        for (text, json) in [
            (
                reply::ok("ab", false, "invalid: \"x\""),
                r#"["OK","ab",false,"invalid: \"x\""]"#,
            ),
            (reply::notice("a\n"), r#"["NOTICE","a\n"]"#),
            (
                reply::closed("\u{1}", "error: x"),
                r#"["CLOSED","\u0001","error: x"]"#,
            ),
            (reply::auth("c"), r#"["AUTH","c"]"#),
            (reply::eose("\"s\"", true), r#"["EOSE","s",["more"]]"#),
            (reply::eose("\"s\"", false), r#"["EOSE","s",["finish"]]"#),
            (
                reply::count("\"s\"", 3, false, None),
                r#"["COUNT","s",{"count":3}]"#,
            ),
            (
                reply::count("\"s\"", 3, false, Some("0a")),
                r#"["COUNT","s",{"count":3,"hll":"0a"}]"#,
            ),
            (
                reply::count("\"s\"", 3, true, None),
                r#"["COUNT","s",{"count":3,"approximate":true}]"#,
            ),
            (reply::event_head("\"s\""), r#"["EVENT","s","#),
        ] {
            assert_eq!(text, json);
        }
    }

    #[test]
    fn answers_to_a_synchronization_are_json() {
        let name = SubscriptionId("\"".into());
        assert_eq!(reply::neg_msg(&name, "61"), r#"["NEG-MSG","\"","61"]"#);
        let error = |bound| reply::neg_err(&name, "blocked: x", bound);
        assert_eq!(error(None), r#"["NEG-ERR","\"","blocked: x"]"#);
        assert_eq!(error(Some(7)), r#"["NEG-ERR","\"","blocked: x",7]"#);
    }

    #[test]
    fn an_event_that_is_none_may_claim_an_id() {
        assert_eq!(claimed_id(r#"{"id":"x","kind":"a"}"#).as_deref(), Some("x"));
        for json in ["{}", "[\"x\"]", r#"{"id":1}"#, r#"{"id":"a","id":"b"}"#] {
            assert_eq!(claimed_id(json), None, "{json}");
        }
    }
}
