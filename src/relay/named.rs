//! Named users: the last segment of the path is the user's name, and every message goes to all
//! other connections.
//!
//! A name is claimed when the upgrade is admitted ([`super::users`]), so of two clients that
//! request it at once exactly one is admitted, even on different shards. The claim is the state of
//! the connection: it ends with the WebSocket, before its Close is sent, or with an admission that
//! is never completed.
//!
//! A client with an [`Identity`] that has a name may use that name only. It needs permissions for
//! the room `/`: to read, or it gets no messages; to write, or it is closed at its first message.
//!
//! The echo is withheld from the sending connection only: if several devices share a name, the
//! other devices of the user get the message too.

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

/// The only room of an endpoint: all of its readers are members.
const ROOM: &str = "/";

/// The close of a connection whose name a newer one has taken over: a private code (RFC 6455
/// §7.4.2), so that its client knows that reconnecting would replace the newer one.
const REPLACED: (u16, &str) = (4001, "replaced: a newer connection has this name");

/// The code of the refusal of a name that is in use.
const TAKEN: &str = "username_taken";

/// The settings of a [`Named`]; the defaults are those of the binary.
#[derive(Clone, Debug, Default)]
pub struct NamedSettings {
    /// How a second connection with the same name is handled.
    pub on_duplicate: OnDuplicate,
    /// Whether a sender gets its own messages back.
    pub echo: bool,
    /// Whether every message is delivered as binary, even if it was sent as text.
    pub binary_out: bool,
    /// The CORS headers of every answer.
    pub cors: Cors,
}

/// Users by name; its path pattern must have a parameter.
pub struct Named {
    settings: NamedSettings,
    users: Arc<Users>,
    /// Reaches the connections that are replaced; set when the engine has started.
    handle: OnceLock<Handle>,
}

/// The reason why a name is not valid, or not for this client.
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
    #[error("You are not allowed to use this username.")]
    Foreign,
}

impl Named {
    /// An endpoint without connections.
    pub fn new(settings: NamedSettings) -> Named {
        Named {
            settings,
            users: Arc::default(),
            handle: OnceLock::new(),
        }
    }

    /// The names in use.
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
    /// Answers plain requests: browsers do not tell a page why its WebSocket was refused, so the
    /// page can ask here.
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
        // A replaced connection that is still open may no longer send in the user's name.
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
            // A client that may not read is not a member.
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

/// Whether a client with this identity may use this name, and may read or write at all.
fn may_use(identity: &Identity, name: &str) -> bool {
    identity.may_be(name) && (identity.may_read(ROOM) || identity.may_write(ROOM))
}

/// The name that a request claims.
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
        .is_some_and(|identity| !may_use(identity, name))
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

/// Renders the refusals of a [`Named`], with these headers: a line of text for a name in use, as
/// earlier relays answered, and JSON for all others.
pub fn rendered(refused: &Refused, cors: &Cors) -> Response {
    cors.on(match refused.code {
        TAKEN => refused.to_text(),
        _ => json_error::rendered(refused),
    })
}
