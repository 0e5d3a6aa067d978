//! `POST /api/publish`: a message to a room, or to a user's connections.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::error::{ApiError, Code};
use super::query::{body, present};
use super::{Api, Target, ok};
use crate::config::EndpointKind;
use crate::engine::{Answer, Request, Responder};
use crate::fanout::Recipients;
use crate::relay::pubsub;
use crate::wire::frame::MessageKind;
use crate::wire::http::Response;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish<'b> {
    #[serde(borrow)]
    endpoint: Cow<'b, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    room: Option<Cow<'b, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    user: Option<Cow<'b, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    text: Option<Cow<'b, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    json: Option<&'b RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    base64: Option<Cow<'b, str>>,
}

/// The content of a message.
enum Content<'b> {
    Text(Cow<'b, str>),
    Json(&'b RawValue),
    Binary(Vec<u8>),
}

#[derive(Serialize)]
struct Published {
    recipients: usize,
}

impl Api {
    pub(super) fn publish(
        &self,
        request: &Request<'_>,
        responder: &mut Responder<'_>,
    ) -> Result<Answer, ApiError> {
        let publish: Publish<'_> = body(request)?;
        let content = publish.content()?;
        let target = self.target(&publish.endpoint)?;
        match (&publish.room, &publish.user) {
            (Some(room), None) => to_room(target, room, content, responder).map(Answer::Now),
            (None, Some(user)) => self.to_user(target, user, content, responder),
            _ => {
                let text = "exactly one of room and user must be given";
                Err(ApiError::new(Code::BadField, text))
            }
        }
    }

    /// Publishes on the worker's thread, since a user may have many connections on any shards.
    fn to_user(
        &self,
        target: &Target,
        user: &str,
        content: Content<'_>,
        responder: &mut Responder<'_>,
    ) -> Result<Answer, ApiError> {
        let connections = target.connections_of(user)?;
        let (kind, payload) = message(target, None, content)?;
        let endpoint = target.id;
        let worker = &self.running()?.worker;
        Ok(worker.answer(responder, move |handle, deadline| {
            let recipients = handle.send_open(endpoint, &connections, kind, payload, deadline)?;
            Ok(ok(&Published { recipients }))
        }))
    }
}

impl<'b> Publish<'b> {
    fn content(&self) -> Result<Content<'b>, ApiError> {
        match (&self.text, self.json, &self.base64) {
            (Some(text), None, None) => Ok(Content::Text(text.clone())),
            (None, Some(json), None) => Ok(Content::Json(json)),
            (None, None, Some(base64)) => {
                let payload = BASE64.decode(base64.as_bytes());
                let bad = |error| ApiError::new(Code::BadField, format!("base64: {error}"));
                Ok(Content::Binary(payload.map_err(bad)?))
            }
            _ => {
                let text = "exactly one of text, json and base64 must be given";
                Err(ApiError::new(Code::BadField, text))
            }
        }
    }
}

fn to_room(
    target: &Target,
    room: &str,
    content: Content<'_>,
    responder: &mut Responder<'_>,
) -> Result<Response, ApiError> {
    let (kind, payload) = message(target, Some(room), content)?;
    let recipients = responder.members(target.id, room) as usize;
    responder.publish(target.id, room, Recipients::All, kind, &payload);
    Ok(ok(&Published { recipients }))
}

/// The message in the form that the endpoint's clients expect.
fn message(
    target: &Target,
    room: Option<&str>,
    content: Content<'_>,
) -> Result<(MessageKind, Vec<u8>), ApiError> {
    let (kind, payload) = match (target.kind, room) {
        (EndpointKind::Nostr, _) => {
            let text = "the endpoint has no rooms: its clients exchange signed events";
            return Err(ApiError::new(Code::NoRooms, text));
        }
        (EndpointKind::PubSub, Some(room)) => (MessageKind::Text, event(room, content)?),
        _ => match content {
            Content::Text(text) => (MessageKind::Text, text.into_owned().into_bytes()),
            Content::Json(json) => (MessageKind::Text, json.get().as_bytes().to_vec()),
            Content::Binary(payload) => (MessageKind::Binary, payload),
        },
    };
    let kind = match target.binary_out {
        true => MessageKind::Binary,
        false => kind,
    };
    if payload.len() > target.message_bytes {
        let bytes_max = target.message_bytes;
        let text = format!("the endpoint's messages have at most {bytes_max} bytes");
        return Err(ApiError::new(Code::MessageTooLarge, text));
    }
    Ok((kind, payload))
}

fn event(room: &str, content: Content<'_>) -> Result<Vec<u8>, ApiError> {
    let event = match content {
        Content::Text(text) => {
            let text = to_raw_value(&text).map_err(|error| ApiError::of_body(&error))?;
            pubsub::event(room, &text)
        }
        Content::Json(json) => pubsub::event(room, json),
        Content::Binary(payload) => pubsub::binary_event(room, &payload),
    };
    Ok(event.into_bytes())
}
