//! Named users: the last segment of the path is the user's name, and every message goes to
//! everybody else.
//!
//! A name is claimed when the upgrade is admitted ([`super::users`]), so of two clients that ask
//! for it at once exactly one is let in, on whatever shards they are. The claim is the connection's
//! state: it ends with the WebSocket, before its Close is sent, or with an admission that comes to
//! nothing.
//!
//! Who has an [`Identity`] with a name comes in by that name alone, and needs it to name the room
//! `/`: for reading, else it gets nothing; for writing, else it is closed with its first message.
//!
//! What the sender does not get back is its own connection's: where a name is shared by several
//! devices, the others of its user get its messages too.

use std::sync::{Arc, OnceLock};

use super::cors::Cors;
use super::json_error;
use super::users::{Claim, ClaimError, Users};
use crate::config::OnDuplicate;
use crate::engine::{
    Accept, Admission, Answer, Endpoint, EndpointError, Handle, Refused, Request, Responder,
    Service, Session, upgrade_required,
};
use crate::fanout::{ConnectionId, Recipients};
use crate::guard::{self, Identity};
use crate::limits::USER_NAME_BYTES_MAX;
use crate::wire::decoder::Message;
use crate::wire::frame::MessageKind;
use crate::wire::http::Response;

/// The one room of an endpoint: everybody is in it.
const ROOM: &str = "/";

/// What a connection is closed with whose name a newcomer has taken over: a code of our own
/// (RFC 6455 §7.4.2), so that its client can tell that coming back would throw the newcomer out.
const REPLACED: (u16, &str) = (4001, "replaced: a newer connection has this name");

/// The code of the refusal of a name that somebody has.
const TAKEN: &str = "username_taken";

/// What a [`Named`] does; the default is what the binary does.
#[derive(Clone, Debug, Default)]
pub struct NamedSettings {
    /// What happens to somebody whose name is taken.
    pub on_duplicate: OnDuplicate,
    /// Whether a sender gets its own messages back.
    pub echo: bool,
    /// Whether every message goes out as binary, whatever it came as.
    pub binary_out: bool,
    /// What browsers are told with every answer.
    pub cors: Cors,
}

/// Users by name; its path pattern must have a parameter.
pub struct Named {
    settings: NamedSettings,
    users: Arc<Users>,
    /// Reaches the connections that are replaced; there once the engine has started.
    handle: OnceLock<Handle>,
}

/// A name that nobody can have, or not this client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum NameError {
    #[error("The username is not UTF-8, percent-encoded.")]
    Encoding,
    #[error("The username is blank.")]
    Blank,
    #[error("The username is longer than {USER_NAME_BYTES_MAX} bytes.")]
    Length,
    #[error("The username has control characters.")]
    Control,
    #[error("You may not come in by this name.")]
    Foreign,
}

impl Named {
    /// An endpoint with nobody in it.
    pub fn new(settings: NamedSettings) -> Named {
        Named {
            settings,
            users: Arc::default(),
            handle: OnceLock::new(),
        }
    }

    /// Who is here.
    pub fn users(&self) -> &Arc<Users> {
        &self.users
    }

    fn evict(&self, older: ConnectionId) -> bool {
        let (code, reason) = REPLACED;
        let told = self
            .handle
            .get()
            .map(|handle| handle.close(older, code, reason));
        told.is_some_and(|told| told.is_ok())
    }
}

impl Named {
    /// Browsers do not show a page why its WebSocket was refused: it may ask here.
    fn answer(&self, request: &Request<'_>) -> Answer {
        let is_refusing = self.settings.on_duplicate == OnDuplicate::Refuse;
        let response = match name_of(request) {
            _ if request.head.method == "OPTIONS" => Response::new(200),
            Ok(name) if is_refusing && self.users.is_held(name) => taken().to_text(),
            Ok(_) => upgrade_required(),
            Err(error) => return Answer::Refuse(bad_name(error)),
        };
        Answer::Now(self.settings.cors.on(response))
    }
}

impl Endpoint for Named {
    /// The name that the connection has.
    type State = Option<Claim>;
    type Local = ();

    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        self.handle.get_or_init(|| handle.clone());
        Ok(())
    }

    fn admit(
        &self,
        request: &Request<'_>,
        _responder: &mut Responder<'_>,
    ) -> Admission<Self::State> {
        let name = match name_of(request) {
            Ok(name) => name,
            Err(error) => return Admission::Refuse(bad_name(error)),
        };
        let (connection, how) = (request.connection, self.settings.on_duplicate);
        match self
            .users
            .claim(name, connection, how, |older| self.evict(older))
        {
            Ok(claim) => Admission::Accept(Accept::new().state(Some(claim))),
            Err(ClaimError::Taken) => Admission::Refuse(taken()),
            Err(ClaimError::Busy) => {
                Admission::Refuse(Refused::new(503, "busy", "The relay is busy.").retry_after(1))
            }
        }
    }

    fn opened(&self, session: &mut Session<'_, Self::State>, _request: &Request<'_>) {
        let identity = session.context::<Identity>();
        if identity.is_some_and(|identity| !identity.may_read(ROOM)) {
            return;
        }
        if let Err(error) = session.join(ROOM) {
            session.close(1008, &format!("room: {error}"));
        }
    }

    fn message(&self, session: &mut Session<'_, Self::State>, message: Message<'_>) {
        // Who was replaced and has not gone yet speaks for its user no more.
        let is_user = |claim: &Claim| !claim.is_replaced();
        if !session.kept().and_then(Option::as_ref).is_some_and(is_user) {
            return;
        }
        let identity = session.context::<Identity>();
        if identity.is_some_and(|identity| !identity.may_write(ROOM)) {
            return session.forbid();
        }
        let recipients = match self.settings.echo {
            true => Recipients::All,
            false => Recipients::Except(session.id()),
        };
        let kind = match self.settings.binary_out {
            true => MessageKind::Binary,
            false => message.kind,
        };
        let room = session.rooms().next();
        match room {
            Some(room) => session.publish(room, recipients, kind, message.payload),
            // Who may not read is no member.
            None => {
                session.publish_to(ROOM, recipients, kind, message.payload);
            }
        }
    }
}

impl Service for Named {
    fn methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD", "OPTIONS"]
    }

    fn wants_body(&self) -> bool {
        false
    }

    fn request(&self, request: &Request<'_>, _responder: &mut Responder<'_>) -> Answer {
        self.answer(request)
    }
}

/// Whether who is known to be this may have this name, and has any use for it.
fn may_come_as(identity: &Identity, name: &str) -> bool {
    identity.may_be(name) && (identity.may_read(ROOM) || identity.may_write(ROOM))
}

/// The name that a request asks for.
fn name_of<'r>(request: &Request<'r>) -> Result<&'r str, NameError> {
    let name = request.parameter.ok_or(NameError::Encoding)?;
    if name.trim().is_empty() {
        Err(NameError::Blank)
    } else if name.len() > USER_NAME_BYTES_MAX {
        Err(NameError::Length)
    } else if name.contains(char::is_control) {
        Err(NameError::Control)
    } else if request
        .context::<Identity>()
        .is_some_and(|identity| !may_come_as(identity, name))
    {
        Err(NameError::Foreign)
    } else {
        Ok(name)
    }
}

fn bad_name(error: NameError) -> Refused {
    match error {
        NameError::Foreign => guard::forbidden(error.to_string()),
        _ => Refused::new(400, "bad_username", error.to_string()),
    }
}

fn taken() -> Refused {
    Refused::new(409, TAKEN, "Username already connected")
}

/// The form of a [`Named`]'s refusals, with these headers: a line of text for a name that is taken,
/// as clients have always got it, else JSON.
pub fn rendered(refused: &Refused, cors: &Cors) -> Response {
    cors.on(match refused.code {
        TAKEN => refused.to_text(),
        _ => json_error::rendered(refused),
    })
}
