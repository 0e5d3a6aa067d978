//! Calls of NIP-86, and their parameters.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use crate::hex::{self, Bytes32};
use crate::json::told;

/// Most bytes of a reason: a full list of them still fits in an answer.
const REASON_BYTES_MAX: usize = 512;

/// Most bytes of the relay's name, and of the URL of its icon.
const TEXT_BYTES_MAX: usize = 2 << 10;

/// Most bytes of the relay's description.
const DESCRIPTION_BYTES_MAX: usize = 8 << 10;

/// Most characters of the name of a method.
const METHOD_CHARS_MAX: usize = 64;

/// Most methods that one call may grant or revoke.
const METHODS_MAX: usize = 100;

/// The methods that a relay carries out itself, besides `supportedmethods`.
pub const METHODS: [&str; 24] = [
    "banpubkey",
    "unbanpubkey",
    "listbannedpubkeys",
    "allowpubkey",
    "unallowpubkey",
    "listallowedpubkeys",
    "listeventsneedingmoderation",
    "allowevent",
    "banevent",
    "listbannedevents",
    "listallowedevents",
    "changerelayname",
    "changerelaydescription",
    "changerelayicon",
    "allowkind",
    "disallowkind",
    "listallowedkinds",
    "listdisallowedkinds",
    "blockip",
    "unblockip",
    "listblockedips",
    "stats",
    "grantadmin",
    "revokeadmin",
];

/// A call as it came.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// The name of the method: 1 to 64 letters, digits and signs of ASCII.
    pub method: String,
    /// Its parameters.
    pub params: Vec<Value>,
}

#[derive(Deserialize)]
struct Body {
    method: String,
    #[serde(default)]
    params: Option<Vec<Value>>,
}

impl Call {
    /// Parses the body of a request.
    ///
    /// # Errors
    ///
    /// A text that says what is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Call, String> {
        // Serde would also accept an array.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err("the body must be a JSON object with method and params".to_owned());
        }
        let body: Body = serde_json::from_slice(body).map_err(|error| told(&error))?;
        let is_name = body.method.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_name || !(1..=METHOD_CHARS_MAX).contains(&body.method.len()) {
            return Err("the name of the method is not one".to_owned());
        }
        Ok(Call {
            method: body.method,
            params: body.params.unwrap_or_default(),
        })
    }
}

/// A call that a relay carries out itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Lists the methods that the caller may use.
    SupportedMethods,
    /// Numbers about the relay.
    Stats,
    /// Lists events that were reported (NIP-56) and that nobody has decided on.
    EventsNeedingModeration,
    /// Lists a part of the state.
    List(List),
    /// Changes the state.
    Change(Change),
}

/// A part of the state that can be listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum List {
    /// Keys whose events are hidden and refused.
    BannedKeys,
    /// Keys that alone may publish.
    AllowedKeys,
    /// Events that are hidden and refused.
    BannedEvents,
    /// Events that are visible whoever wrote them.
    AllowedEvents,
    /// Kinds that are accepted.
    AllowedKinds,
    /// Kinds that are refused.
    DisallowedKinds,
    /// Addresses that get no WebSocket.
    BlockedIps,
}

/// A change of the state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Hides and refuses the events of a key.
    BanKey(Bytes32, String),
    /// Ends that.
    UnbanKey(Bytes32),
    /// Puts a key on the list of those that may publish.
    AllowKey(Bytes32, String),
    /// Takes it off the list.
    UnallowKey(Bytes32),
    /// Hides and refuses an event.
    BanEvent(Bytes32, String),
    /// Shows and accepts an event, whoever wrote it.
    AllowEvent(Bytes32, String),
    /// Sets a text about the relay. An empty one restores the configured text.
    Text(RelayText, String),
    /// Accepts a kind.
    AllowKind(u16),
    /// Refuses a kind.
    DisallowKind(u16),
    /// Refuses connections from an address.
    BlockIp(IpAddr, String),
    /// Ends that.
    UnblockIp(IpAddr),
    /// Lets a key use these methods, too.
    GrantAdmin(Bytes32, Methods),
    /// Takes these methods from a key.
    RevokeAdmin(Bytes32, Methods),
}

/// A text of the relay's information document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelayText {
    /// Its name.
    Name,
    /// Its description.
    Description,
    /// The URL of its icon.
    Icon,
}

/// Methods that an admin may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Methods {
    /// Each one.
    All,
    /// These alone.
    Some(BTreeSet<String>),
}

impl Methods {
    /// Whether the method is one of them.
    pub fn contain(&self, method: &str) -> bool {
        match self {
            Methods::All => true,
            Methods::Some(methods) => methods.contains(method),
        }
    }

    /// Whether all of `others` are among them.
    pub fn contain_all(&self, others: &Methods) -> bool {
        match (self, others) {
            (Methods::All, _) => true,
            (Methods::Some(_), Methods::All) => false,
            (Methods::Some(methods), Methods::Some(others)) => others.is_subset(methods),
        }
    }
}

impl Request {
    /// The request that a call makes; `None` if its method is not one of [`METHODS`].
    ///
    /// # Errors
    ///
    /// A text that says which parameter is wrong.
    pub fn of(call: &Call) -> Result<Option<Request>, String> {
        let params = Params(&call.params);
        let change = match &*call.method {
            "supportedmethods" => return Ok(Some(Request::SupportedMethods)),
            "stats" => return Ok(Some(Request::Stats)),
            "listeventsneedingmoderation" => return Ok(Some(Request::EventsNeedingModeration)),
            "banpubkey" => Change::BanKey(params.key()?, params.reason()?),
            "unbanpubkey" => Change::UnbanKey(params.key()?),
            "allowpubkey" => Change::AllowKey(params.key()?, params.reason()?),
            "unallowpubkey" => Change::UnallowKey(params.key()?),
            "banevent" => Change::BanEvent(params.id()?, params.reason()?),
            "allowevent" => Change::AllowEvent(params.id()?, params.reason()?),
            "changerelayname" => Change::Text(RelayText::Name, params.line()?),
            "changerelaydescription" => Change::Text(RelayText::Description, params.prose()?),
            "changerelayicon" => Change::Text(RelayText::Icon, params.url()?),
            "allowkind" => Change::AllowKind(params.kind()?),
            "disallowkind" => Change::DisallowKind(params.kind()?),
            "blockip" => Change::BlockIp(params.ip()?, params.reason()?),
            "unblockip" => Change::UnblockIp(params.ip()?),
            "grantadmin" => Change::GrantAdmin(params.key()?, params.methods()?),
            "revokeadmin" => Change::RevokeAdmin(params.key()?, params.methods()?),
            other => return Ok(List::of(other).map(Request::List)),
        };
        Ok(Some(Request::Change(change)))
    }
}

impl List {
    fn of(method: &str) -> Option<List> {
        Some(match method {
            "listbannedpubkeys" => List::BannedKeys,
            "listallowedpubkeys" => List::AllowedKeys,
            "listbannedevents" => List::BannedEvents,
            "listallowedevents" => List::AllowedEvents,
            "listallowedkinds" => List::AllowedKinds,
            "listdisallowedkinds" => List::DisallowedKinds,
            "listblockedips" => List::BlockedIps,
            _ => return None,
        })
    }
}

/// The parameters of a call.
struct Params<'c>(&'c [Value]);

impl Params<'_> {
    /// The parameter at that place; `None` if it is missing or null.
    fn at(&self, index: usize) -> Option<&Value> {
        self.0.get(index).filter(|value| !value.is_null())
    }

    fn bytes32(&self, what: &str) -> Result<Bytes32, String> {
        let text = self.at(0).and_then(Value::as_str).unwrap_or_default();
        // A secret key is not repeated, nor anything else.
        hex::parse(text)
            .ok_or_else(|| format!("the first parameter must be {what}, 64 lower-case hex digits"))
    }

    fn key(&self) -> Result<Bytes32, String> {
        self.bytes32("a public key")
    }

    fn id(&self) -> Result<Bytes32, String> {
        self.bytes32("an event's id")
    }

    fn kind(&self) -> Result<u16, String> {
        let kind = self.at(0).and_then(Value::as_u64);
        let kind = kind.and_then(|kind| u16::try_from(kind).ok());
        kind.ok_or_else(|| "the first parameter must be a kind, 0 to 65535".to_owned())
    }

    fn ip(&self) -> Result<IpAddr, String> {
        let text = self.at(0).and_then(Value::as_str).unwrap_or_default();
        let ip = text.trim().parse::<IpAddr>();
        let ip = ip.map_err(|_| "the first parameter must be an IP address")?;
        Ok(ip.to_canonical())
    }

    fn reason(&self) -> Result<String, String> {
        let text = match self.at(1) {
            None => "",
            Some(Value::String(text)) => text,
            Some(_) => return Err("the reason must be a text".to_owned()),
        };
        bounded(text, REASON_BYTES_MAX)
    }

    fn text(&self, bytes_max: usize) -> Result<String, String> {
        let text = self.at(0).and_then(Value::as_str);
        let text = text.ok_or("the first parameter must be a text")?;
        bounded(text.trim(), bytes_max)
    }

    fn line(&self) -> Result<String, String> {
        let text = self.text(TEXT_BYTES_MAX)?;
        match text.chars().any(char::is_control) {
            true => Err("the text must be one line".to_owned()),
            false => Ok(text),
        }
    }

    fn prose(&self) -> Result<String, String> {
        self.text(DESCRIPTION_BYTES_MAX)
    }

    fn url(&self) -> Result<String, String> {
        let url = self.line()?;
        let is_url = ["https://", "http://"]
            .iter()
            .any(|scheme| url.starts_with(scheme));
        match is_url || url.is_empty() {
            true => Ok(url),
            false => Err("the first parameter must be an http:// or https:// URL".to_owned()),
        }
    }

    /// A list of methods, or the methods one by one; none means all.
    fn methods(&self) -> Result<Methods, String> {
        let rest = self.0.get(1..).unwrap_or_default();
        let listed = match rest {
            [Value::Array(listed)] => listed,
            [Value::Null] => &[][..],
            listed => listed,
        };
        if listed.is_empty() {
            return Ok(Methods::All);
        }
        let wrong = || format!("the methods must be a list of at most {METHODS_MAX} names");
        let name = |value: &Value| {
            let name = value.as_str().filter(|name| {
                let is_name = name.bytes().all(|byte| byte.is_ascii_graphic());
                is_name && (1..=METHOD_CHARS_MAX).contains(&name.len())
            });
            name.map(str::to_owned).ok_or_else(wrong)
        };
        if listed.len() > METHODS_MAX {
            return Err(wrong());
        }
        let names = listed.iter().map(name).collect::<Result<_, _>>();
        names.map(Methods::Some)
    }
}

fn bounded(text: &str, bytes_max: usize) -> Result<String, String> {
    match text.len() <= bytes_max {
        true => Ok(text.to_owned()),
        false => Err(format!("a text has at most {bytes_max} bytes")),
    }
}

#[cfg(test)]
mod tests;
