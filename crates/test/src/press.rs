//! An endpoint that sends all its clients the same bodies, each after the client's own head.

use std::sync::Arc;

use corecast::engine::{Endpoint, Local, OnShard, Request, Session, SharedBody};
use corecast::fanout::{ConnectionId, Recipients};
use corecast::wire::decoder::Message;
use corecast::wire::frame::MessageKind;

/// The first byte of a message is the command; the rest is sent.
pub const EVENT: u8 = b'e';
pub const TO_ROOM: u8 = b'r';
pub const ANSWERED: u8 = b'a';
pub const UNANSWERED: u8 = b'u';
pub const ROOM_AND_BEHIND: u8 = b'b';
pub const LAST_WORDS: u8 = b'l';

/// See the module.
pub struct Press;

/// The clients of a shard, each with its head.
#[derive(Default)]
pub struct Readers(Vec<(ConnectionId, String)>);

impl Local for Readers {
    type Mail = SharedBody;

    fn mail(&mut self, shard: &mut OnShard<'_, Readers>, body: &Arc<SharedBody>) {
        for (id, head) in &self.0 {
            if let Some(mut client) = shard.client(*id) {
                client.send_shared(MessageKind::Text, head.as_bytes(), body);
            }
        }
    }
}

/// The head that a client gets its events with: of one length for most.
pub fn head_of(id: ConnectionId) -> String {
    format!("event for {id:>12}: ")
}

/// The name that a client is told in its first message.
fn name_of(id: ConnectionId) -> String {
    format!("you are {id}")
}

/// The head, from what a client was told.
pub fn head_told(text: &str) -> String {
    let id = text.strip_prefix("you are ").expect("a name");
    head_of(id.parse().expect("an id"))
}

type Visit<'c> = Session<'c, (), Readers>;

impl Endpoint for Press {
    type State = ();
    type Local = Readers;

    fn opened(&self, session: &mut Visit<'_>, _request: &Request<'_>) {
        let id = session.id();
        session.local().0.push((id, head_of(id)));
        session.join("readers").expect("a room");
        session.send(MessageKind::Text, name_of(id).as_bytes());
    }

    fn message(&self, session: &mut Visit<'_>, message: Message<'_>) {
        let Some((what, payload)) = message.payload.split_first() else {
            return;
        };
        let kind = MessageKind::Text;
        let publish = |session: &mut Visit<'_>| {
            session.publish_to("readers", Recipients::All, kind, payload);
        };
        match *what {
            EVENT => {
                let deflate = session.inflates();
                let body = session.shared_body(payload, deflate);
                session.mail_all(&Arc::new(body));
            }
            TO_ROOM => publish(session),
            ANSWERED => session.send(kind, payload),
            UNANSWERED => session.acknowledge(),
            ROOM_AND_BEHIND => {
                publish(session);
                let body = session.shared_body(payload, false);
                let head = head_of(session.id());
                session.send_shared(kind, head.as_bytes(), &body);
                session.send(kind, b"behind both");
            }
            _ => {
                session.send(kind, b"first");
                let body = session.shared_body(payload, false);
                let head = head_of(session.id());
                session.send_shared(kind, head.as_bytes(), &body);
                session.close(4000, "said");
            }
        }
    }

    fn closed(&self, session: &mut Visit<'_>, _reason: &corecast::engine::CloseReason) {
        let id = session.id();
        session.local().0.retain(|(each, _)| *each != id);
    }
}
