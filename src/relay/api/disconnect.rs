//! `POST /api/disconnect`: closes a connection, a user's connections, or all of a room.

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::error::{ApiError, Code};
use super::query::{body, present};
use super::{Api, Target, ok};
use crate::engine::{Answer, Request, Responder};
use crate::fanout::ConnectionId;
use crate::wire::close::{REASON_BYTES_MAX, is_valid_received_code};

/// Policy violation (RFC 6455 §7.4.1): the code if the back end names none.
const CODE_DEFAULT: u16 = 1008;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disconnect<'b> {
    #[serde(borrow)]
    endpoint: Cow<'b, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    connection: Option<Cow<'b, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    user: Option<Cow<'b, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    room: Option<Cow<'b, str>>,
    #[serde(default = "default_code", deserialize_with = "whole")]
    code: u16,
    #[serde(borrow, default)]
    reason: Cow<'b, str>,
}

fn default_code() -> u16 {
    CODE_DEFAULT
}

/// Reads an integer of 16 bits. Some JSON libraries write it as `1008.0`, so that is accepted too.
fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    let number = f64::deserialize(from)?;
    let is_whole = number.fract() == 0.0 && (0.0..=f64::from(u16::MAX)).contains(&number);
    match is_whole {
        true => Ok(number as u16),
        false => Err(D::Error::custom("code must be an integer of 16 bits")),
    }
}

/// The connections to close.
enum Whom {
    Connections(Vec<ConnectionId>),
    Room(String),
}

#[derive(Serialize)]
struct Disconnected {
    closed: usize,
}

impl Api {
    pub(super) fn disconnect(
        &self,
        request: &Request<'_>,
        responder: &mut Responder<'_>,
    ) -> Result<Answer, ApiError> {
        let disconnect: Disconnect<'_> = body(request)?;
        let target = Arc::clone(self.target(&disconnect.endpoint)?);
        let whom = disconnect.whom(&target)?;
        let (code, reason) = disconnect.close()?;
        let worker = &self.running()?.worker;
        Ok(worker.answer(responder, move |handle, deadline| {
            let closed = match whom {
                Whom::Room(room) => {
                    handle.close_members(target.id, &room, code, &reason, deadline)?
                }
                Whom::Connections(connections) => {
                    handle.close_open(target.id, &connections, code, &reason, deadline)?
                }
            };
            Ok(ok(&Disconnected { closed }))
        }))
    }
}

impl Disconnect<'_> {
    fn whom(&self, target: &Target) -> Result<Whom, ApiError> {
        match (&self.connection, &self.user, &self.room) {
            (Some(id), None, None) => {
                let id = id.parse();
                let bad = |error| ApiError::new(Code::BadField, format!("connection {error}"));
                Ok(Whom::Connections(vec![id.map_err(bad)?]))
            }
            (None, Some(user), None) => target.connections_of(user).map(Whom::Connections),
            (None, None, Some(room)) => Ok(Whom::Room(room.to_string())),
            _ => {
                let text = "exactly one of connection, user and room must be given";
                Err(ApiError::new(Code::BadField, text))
            }
        }
    }

    fn close(&self) -> Result<(u16, String), ApiError> {
        if !is_valid_received_code(self.code) {
            let text = "code must be one that a Close frame may carry, such as 1008 or 4000";
            return Err(ApiError::new(Code::BadField, text));
        }
        if self.reason.len() > REASON_BYTES_MAX {
            let text = format!("reason may have at most {REASON_BYTES_MAX} bytes");
            return Err(ApiError::new(Code::BadField, text));
        }
        Ok((self.code, self.reason.to_string()))
    }
}

impl Target {
    /// The connections of a user; none if the name is not in use.
    pub(super) fn connections_of(&self, user: &str) -> Result<Vec<ConnectionId>, ApiError> {
        let users = self.users.as_ref();
        let none = || ApiError::new(Code::NoUsers, "this endpoint's users have no names");
        Ok(users.ok_or_else(none)?.connections_of(user))
    }
}
