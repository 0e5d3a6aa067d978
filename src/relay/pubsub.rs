//! Pubsub: one connection, many rooms, by small JSON messages. `docs/pubsub.md` is the protocol.
//!
//! A publication is encoded once for all subscribers, as in every room. It names the room and
//! carries the data byte for byte. Replies go to the sender only. A subscription is in force before
//! it is acknowledged, and no message of a room follows the acknowledgement of its end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::engine::{Endpoint, JoinError, Service, Session};
use crate::fanout::Recipients;
use crate::guard::Identity;
use crate::wire::decoder::Message;
use crate::wire::frame::MessageKind;

/// Longest `id` of a request, as JSON, in bytes. It is bounded since the reply repeats it.
const ID_BYTES_MAX: usize = 128;

/// Rooms that each connection can subscribe and publish to.
#[derive(Clone, Copy, Debug)]
pub struct PubSub {
    /// Whether a subscriber gets its own publications back.
    pub echo: bool,
}

impl Endpoint for PubSub {
    type State = ();
    type Local = ();

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        let request = match Request::parse(&message) {
            Ok(request) => request,
            Err(offence) => return send(session, &Reply::error(None, offence)),
        };
        match self.handle_request(session, &request) {
            Ok(members) if request.id.is_some() => {
                send(session, &Reply::ok(request.id, members));
            }
            Ok(_) => {}
            Err(offence) => send(session, &Reply::error(request.id, offence)),
        }
    }
}

impl Service for PubSub {
    fn wants_body(&self) -> bool {
        false
    }
}

impl PubSub {
    /// Handles a request. Returns the number of members, if the acknowledgement is to contain it.
    fn handle_request(
        &self,
        session: &mut Session<'_>,
        request: &Request<'_>,
    ) -> Result<Members, Offence> {
        match request.kind.ok_or(Offence::UnknownType)? {
            Kind::Subscribe => {
                let room = request.room()?;
                allowed(session, |identity| identity.may_read(&room))?;
                let room = session.join(&room)?;
                Ok(Some(session.members(room)))
            }
            Kind::Unsubscribe => {
                let room = session.joined(&request.room()?);
                session.leave(room.ok_or(Offence::NotSubscribed)?);
                Ok(None)
            }
            Kind::Publish => {
                let room = request.room()?;
                let data = request.data.ok_or(Offence::MissingData)?;
                if !session.is_room_name(&room) {
                    return Err(Offence::RoomNameTooLong);
                }
                allowed(session, |identity| identity.may_write(&room))?;
                let recipients = match self.echo {
                    true => Recipients::All,
                    false => Recipients::Except(session.id()),
                };
                let event = event(&room, data);
                session.publish_to(&room, recipients, MessageKind::Text, event.as_bytes());
                Ok(None)
            }
            Kind::Ping => Ok(None),
        }
    }
}

/// Checks a permission of the client, if it has an identity.
fn allowed(session: &Session<'_>, may: impl Fn(&Identity) -> bool) -> Result<(), Offence> {
    let identity = session.context::<Identity>();
    match identity.is_none_or(may) {
        true => Ok(()),
        false => Err(Offence::Forbidden),
    }
}

/// The event that the subscribers of a room get.
pub fn event(room: &str, data: &RawValue) -> String {
    let event = Event {
        kind: "message",
        room,
        data: Some(data),
        base64: None,
    };
    encode(&event)
}

/// The event of a binary message, which only a back end can publish.
pub fn binary_event(room: &str, payload: &[u8]) -> String {
    let event = Event {
        kind: "message",
        room,
        data: None,
        base64: Some(BASE64.encode(payload)),
    };
    encode(&event)
}

#[derive(Serialize)]
struct Event<'e> {
    #[serde(rename = "type")]
    kind: &'static str,
    room: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'e RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

/// The number of members of a room, if the reply contains it.
type Members = Option<u32>;

/// The fields of a request as raw JSON, so that the reply can repeat the `id` even if another field
/// is invalid.
#[derive(Deserialize)]
struct Fields<'m> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<&'m RawValue>,
    #[serde(borrow, default)]
    room: Option<&'m RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'m RawValue>,
    #[serde(borrow, default)]
    id: Option<&'m RawValue>,
}

/// Distinguishes `null` from an absent field.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

#[derive(Clone, Copy)]
enum Kind {
    Subscribe,
    Unsubscribe,
    Publish,
    Ping,
}

impl Kind {
    fn parse(json: &RawValue) -> Option<Kind> {
        match &*serde_json::from_str::<String>(json.get()).ok()? {
            "subscribe" => Some(Kind::Subscribe),
            "unsubscribe" => Some(Kind::Unsubscribe),
            "publish" => Some(Kind::Publish),
            "ping" => Some(Kind::Ping),
            _ => None,
        }
    }
}

struct Request<'m> {
    kind: Option<Kind>,
    room: Option<&'m RawValue>,
    data: Option<&'m RawValue>,
    id: Option<&'m RawValue>,
}

impl<'m> Request<'m> {
    fn parse(message: &Message<'m>) -> Result<Request<'m>, Offence> {
        if message.kind != MessageKind::Text {
            return Err(Offence::NotText);
        }
        // serde would also accept an array for a struct.
        let is_object = message.payload.trim_ascii_start().starts_with(b"{");
        let fields: Fields<'m> = serde_json::from_slice(message.payload)
            .ok()
            .filter(|_| is_object)
            .ok_or(Offence::BadJson)?;
        let is_id = |id: &&RawValue| {
            let first = id.get().as_bytes().first();
            let is_plain = first.is_some_and(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9'));
            is_plain && id.get().len() <= ID_BYTES_MAX
        };
        if fields.id.is_some_and(|id| !is_id(&id)) {
            return Err(Offence::BadId);
        }
        Ok(Request {
            kind: fields.kind.and_then(Kind::parse),
            room: fields.room,
            data: fields.data,
            id: fields.id,
        })
    }

    fn room(&self) -> Result<String, Offence> {
        let room = self
            .room
            .and_then(|room| serde_json::from_str::<String>(room.get()).ok());
        room.filter(|room| !room.is_empty()).ok_or(Offence::BadRoom)
    }
}

/// The reason why a request failed. The names are part of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error, Serialize)]
#[serde(rename_all = "snake_case")]
enum Offence {
    #[error("requests are text messages")]
    NotText,
    #[error("not a JSON object")]
    BadJson,
    #[error("id must be a string or a number, of at most {ID_BYTES_MAX} bytes")]
    BadId,
    #[error("type must be subscribe, unsubscribe, publish or ping")]
    UnknownType,
    #[error("room must be a string that is not empty")]
    BadRoom,
    #[error("the room's name is too long")]
    RoomNameTooLong,
    #[error("the connection has as many rooms as it may have")]
    TooManyRooms,
    #[error("the connection has not subscribed to this room")]
    NotSubscribed,
    #[error("data is missing")]
    MissingData,
    #[error("this client may not do that in this room")]
    Forbidden,
    #[error("the connection is being closed")]
    Closed,
}

impl From<JoinError> for Offence {
    fn from(error: JoinError) -> Offence {
        match error {
            JoinError::TooManyRooms => Offence::TooManyRooms,
            JoinError::NameTooLong => Offence::RoomNameTooLong,
            JoinError::Closed => Offence::Closed,
            _ => Offence::Forbidden,
        }
    }
}

#[derive(Serialize)]
struct Reply<'m> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'m RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Members,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Offence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl<'m> Reply<'m> {
    fn ok(id: Option<&'m RawValue>, members: Members) -> Reply<'m> {
        Reply {
            kind: "ok",
            id,
            members,
            code: None,
            error: None,
        }
    }

    fn error(id: Option<&'m RawValue>, offence: Offence) -> Reply<'m> {
        Reply {
            kind: "error",
            id,
            members: None,
            code: Some(offence),
            error: Some(offence.to_string()),
        }
    }
}

fn send(session: &mut Session<'_>, reply: &Reply<'_>) {
    session.send(MessageKind::Text, encode(reply).as_bytes());
}

fn encode(value: &impl Serialize) -> String {
    let encoded = serde_json::to_string(value);
    debug_assert!(encoded.is_ok(), "strings and values always have a form");
    encoded.unwrap_or_default()
}
