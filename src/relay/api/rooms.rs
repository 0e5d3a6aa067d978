//! `GET /api/rooms` lists the rooms, `GET /api/members` the members of one.
//!
//! Both lists come in pages. A full page names the start of the next one.

use std::sync::Arc;

use serde::Serialize;

use super::error::ApiError;
use super::query::Query;
use super::{Api, ok};
use crate::engine::{Answer, Peer, Request, Responder, RoomEntry};
use crate::fanout::{ConnectionId, Recipient};

#[derive(Serialize)]
struct RoomsPage {
    rooms: Vec<Room>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Room {
    room: String,
    members: u32,
}

#[derive(Serialize)]
struct MembersPage {
    /// Members of the whole room at this moment.
    total: u32,
    members: Vec<Member>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Member {
    connection: String,
    address: String,
    user: Option<String>,
}

impl Api {
    pub(super) fn rooms(
        &self,
        request: &Request<'_>,
        responder: &mut Responder<'_>,
    ) -> Result<Answer, ApiError> {
        let query = Query::parse(request, &["endpoint", "after", "limit"])?;
        let (limit, after) = (query.limit()?, query.get("after").map(str::to_owned));
        let endpoint = self.target(query.required("endpoint")?)?.id;
        let worker = &self.running()?.worker;
        Ok(worker.answer(responder, move |handle, _| {
            let rooms = handle.rooms(endpoint, after.as_deref(), limit);
            let last = rooms.last().filter(|_| rooms.len() == limit);
            let next = last.map(|last| last.name.clone());
            let rooms = rooms.into_iter();
            let rooms = rooms.map(|RoomEntry { name, members, .. }| Room {
                room: name,
                members,
            });
            Ok(ok(&RoomsPage {
                rooms: rooms.collect(),
                next,
            }))
        }))
    }

    pub(super) fn members(
        &self,
        request: &Request<'_>,
        responder: &mut Responder<'_>,
    ) -> Result<Answer, ApiError> {
        let query = Query::parse(request, &["endpoint", "room", "after", "limit"])?;
        let (limit, after) = (query.limit()?, query.parsed::<ConnectionId>("after")?);
        let target = Arc::clone(self.target(query.required("endpoint")?)?);
        let room = query.required("room")?.to_owned();
        let worker = &self.running()?.worker;
        Ok(worker.answer(responder, move |handle, deadline| {
            let users = target.users.clone();
            let describe = move |member: &Recipient<'_>| Member {
                connection: member.id.to_string(),
                address: address_of(member.peer),
                user: users.as_ref().and_then(|users| users.name_of(member)),
            };
            let members = handle.members(target.id, &room, after, limit, deadline, describe)?;
            let last = members.last().filter(|_| members.len() == limit);
            let next = last.map(|last| last.connection.clone());
            Ok(ok(&MembersPage {
                total: handle.member_count(target.id, &room),
                members,
                next,
            }))
        }))
    }
}

/// The address without its port, and in IPv4 form if it is a mapped one.
fn address_of(peer: Peer) -> String {
    let address = peer.ip().map(|ip| ip.to_canonical().to_string());
    address.unwrap_or_else(|| peer.to_string())
}
