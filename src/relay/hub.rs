//! The hub: the path is the room, and every message goes to everybody in it.

use crate::engine::{Endpoint, Request, Session};
use crate::fanout::Recipients;
use crate::relay::json_error::worded;
use crate::wire::decoder::Message;
use crate::wire::http::Response;

/// Rooms by path. `/` is the default room; names keep their leading slash and are taken as sent.
#[derive(Clone, Copy, Debug)]
pub struct Hub {
    /// Whether a sender gets its own messages back.
    pub echo: bool,
}

impl Endpoint for Hub {
    fn opened(&self, session: &mut Session<'_>, request: &Request<'_>) {
        if let Err(error) = session.join(request.head.path) {
            session.close(1008, &format!("room: {error}"));
        }
    }

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        let Some(room) = session.rooms().next() else {
            return;
        };
        let recipients = match self.echo {
            true => Recipients::All,
            false => Recipients::Except(session.id()),
        };
        session.publish(room, recipients, message.kind, message.payload);
    }

    fn refusal(&self, response: Response, code: &'static str) -> Response {
        worded(response, code)
    }
}
