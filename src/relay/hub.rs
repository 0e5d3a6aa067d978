//! The hub: the path is the room, and every message goes to all members of the room.

use std::sync::Arc;

use crate::engine::{Accept, Admission, Endpoint, Request, Responder, Service, Session};
use crate::fanout::Recipients;
use crate::guard::{self, Identity};
use crate::wire::decoder::Message;

/// Rooms by path. `/` is the default room; names keep their leading slash and are used as sent.
///
/// A client with an [`Identity`] needs a permission for the room: to read, or it does not become a
/// member; to write, or it is closed at its first message.
#[derive(Clone, Copy, Debug)]
pub struct Hub {
    /// Whether a sender gets its own messages back.
    pub echo: bool,
}

/// The permissions of a connection in its room.
#[derive(Default)]
pub enum Access {
    /// Everything.
    #[default]
    Full,
    /// It may only read.
    ReadOnly,
    /// It may only write to this room, and is not a member of it.
    WriteOnly(Arc<str>),
}

impl Endpoint for Hub {
    type State = Access;
    type Local = ();

    fn admit(&self, request: &Request<'_>, _responder: &mut Responder<'_>) -> Admission<Access> {
        let room = request.head.path;
        let identity = request.context::<Identity>();
        let access = identity.map(|identity| (identity.may_read(room), identity.may_write(room)));
        Admission::Accept(match access {
            None | Some((true, true)) => Accept::new(),
            Some((true, false)) => Accept::new().state(Access::ReadOnly),
            Some((false, true)) => Accept::new().state(Access::WriteOnly(room.into())),
            Some((false, false)) => {
                return Admission::Refuse(guard::forbidden("You may neither read nor write here."));
            }
        })
    }

    fn opened(&self, session: &mut Session<'_, Access>, request: &Request<'_>) {
        if let Some(Access::WriteOnly(_)) = session.kept() {
            return;
        }
        if let Err(error) = session.join(request.head.path) {
            session.close(1008, &format!("room: {error}"));
        }
    }

    fn message(&self, session: &mut Session<'_, Access>, message: Message<'_>) {
        let recipients = match self.echo {
            true => Recipients::All,
            false => Recipients::Except(session.id()),
        };
        match session.kept() {
            None | Some(Access::Full) => {}
            Some(Access::ReadOnly) => return session.forbid(),
            Some(Access::WriteOnly(room)) => {
                let room = Arc::clone(room);
                session.publish_to(&room, recipients, message.kind, message.payload);
                return;
            }
        }
        let Some(room) = session.rooms().next() else {
            return;
        };
        session.publish(room, recipients, message.kind, message.payload);
    }
}

impl Service for Hub {
    fn wants_body(&self) -> bool {
        false
    }
}
