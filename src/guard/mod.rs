//! Who may come in: the pages that may ask, the keys and tokens that let a client in, and the rooms
//! that a token is good for.
//!
//! A [`Guard`] judges a request by its head alone; [`Guarded`] puts one in front of any endpoint.
//! Whoever passes with a key or a token has an [`Identity`], which is the context of its
//! connection: endpoints ask it through [`Request::context`] and [`Session::context`]. A guard
//! depends on the engine alone, and costs nothing once a connection is open: what it wraps is
//! called directly.
//!
//! In this order: the origin, then who the client is. What networks may come in is decided before,
//! by the engine (`Settings::networks`); which rooms, afterwards, by the endpoint. The first
//! offence counts, has a [`Refusal`] for the metrics and the log, and no secret is in either.

mod credentials;
mod files;
mod identity;
mod keys;
mod origin;
pub mod token;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

pub use self::files::{FileError, FileProblem, Files};
pub use self::identity::{Identity, Pattern, Rooms};
pub use self::keys::{ApiKey, ApiKeyError, ApiKeys, HIDDEN, Secret};
pub use self::origin::{Origin, OriginError, Origins};

use self::credentials::Credential;
use self::files::Stamps;
use self::token::{Claims, TokenChecks, TokenError, TokenKeys};
use crate::engine::{
    Admission, Answer, CloseReason, Context, Endpoint, EndpointError, Handle, HeadVerdict, Later,
    Refusal, Request, Session, Terms,
};
use crate::wire::decoder::Message;
use crate::wire::http::{Head, Response};

/// The subprotocol that is selected where a client offers it and the endpoint selects none: so a
/// browser, which can send a key or a token only as a subprotocol, gets one that is none.
pub const PROTOCOL: &str = "corecast.v1";

/// What a guard is made from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GuardSettings {
    /// Pages that may ask.
    pub origins: Origins,
    /// Keys and tokens that let a client in; `None`: whoever asks comes in.
    pub auth: Option<AuthSettings>,
}

/// Keys and tokens: one that is good is enough.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuthSettings {
    /// API keys.
    pub keys: Vec<ApiKey>,
    /// The secret that signs tokens by HS256.
    pub token_secret: Option<Secret>,
    /// Files with more of both, which are read again when they change.
    pub files: Files,
    /// What else must hold for a token.
    pub token_checks: TokenChecks,
}

/// A guard. It serves all shards.
#[derive(Debug)]
pub struct Guard {
    origins: Origins,
    auth: Option<Auth>,
    /// The files as they were before they were read.
    stamps: Stamps,
    /// A thread looks at them.
    is_watched: AtomicBool,
}

/// Who is let in.
#[derive(Debug)]
struct Auth {
    settings: AuthSettings,
    keys: RwLock<Arc<Keys>>,
}

/// What is in settings and files together.
#[derive(Debug)]
struct Keys {
    api: ApiKeys,
    token: TokenKeys,
}

/// Why a client is not let in, and what it is told.
#[derive(Debug)]
pub struct Denial {
    /// For metrics and log.
    pub refusal: Refusal,
    /// The answer.
    pub response: Response,
}

impl Guard {
    /// Reads the files of `settings`.
    ///
    /// # Errors
    ///
    /// A file that cannot be used.
    pub fn new(settings: GuardSettings) -> Result<Arc<Guard>, FileError> {
        let files = settings.auth.as_ref().map(|auth| auth.files.clone());
        let stamps = files.unwrap_or_default().stamps();
        let auth = settings.auth.map(|settings| {
            let keys = Keys::load(&settings)?;
            let keys = RwLock::new(Arc::new(keys));
            Ok(Auth { settings, keys })
        });
        Ok(Arc::new(Guard {
            origins: settings.origins,
            auth: auth.transpose()?,
            stamps,
            is_watched: AtomicBool::new(false),
        }))
    }

    /// Judges a token by itself as of `now`; `None` where there are no keys for tokens.
    pub fn check(&self, token: &str, now: SystemTime) -> Option<Result<Claims, TokenError>> {
        let auth = self.auth.as_ref()?;
        let keys = auth.keys();
        let checks = &auth.settings.token_checks;
        (!keys.token.is_empty()).then(|| keys.token.verify(token, checks, now))
    }

    /// Judges a request as of `now`.
    ///
    /// # Errors
    ///
    /// The first offence.
    pub fn judge(&self, head: &Head<'_>, now: SystemTime) -> Result<Terms, Denial> {
        if !self.origins.admit(head) {
            return Err(Denial {
                refusal: Refusal::Origin,
                response: Response::text(403, "This origin may not connect.\n"),
            });
        }
        let terms = Terms {
            protocol: Some(PROTOCOL),
            ..Terms::default()
        };
        let Some(auth) = &self.auth else {
            return Ok(terms);
        };
        let (identity, expires) = auth.identify(head, now)?;
        let context: Arc<Context> = Arc::new(identity);
        Ok(Terms {
            context: Some(context),
            expires,
            ..terms
        })
    }
}

impl Auth {
    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who the client is, and until when.
    fn identify(
        &self,
        head: &Head<'_>,
        now: SystemTime,
    ) -> Result<(Identity, Option<SystemTime>), Denial> {
        let keys = self.keys();
        let found = credentials::find(head, !keys.token.is_empty(), !keys.api.is_empty());
        match found {
            None => Err(unauthorized(Refusal::NoCredentials, None)),
            Some(Credential::ApiKey(key)) if keys.api.allow(key.as_bytes()) => {
                Ok((Identity::default(), None))
            }
            Some(Credential::ApiKey(_)) => Err(unauthorized(Refusal::BadKey, None)),
            Some(Credential::Token(token)) => {
                let checks = &self.settings.token_checks;
                let claims = keys.token.verify(&token, checks, now);
                let claims =
                    claims.map_err(|error| unauthorized(refusal_of(error), Some(error)))?;
                // Leeway is for clocks that differ, at the end as at the beginning.
                let expires = claims.expires.checked_add(checks.leeway);
                Ok((claims.identity, expires))
            }
        }
    }
}

impl Keys {
    fn load(settings: &AuthSettings) -> Result<Keys, FileError> {
        let (mut api, mut token) = (settings.files.read_keys()?, settings.files.read_tokens()?);
        api.extend(settings.keys.iter().cloned());
        if let Some(secret) = &settings.token_secret {
            token.add_secret(secret);
        }
        let api = ApiKeys::new(&api);
        Ok(Keys { api, token })
    }
}

fn refusal_of(error: TokenError) -> Refusal {
    match error {
        TokenError::Malformed => Refusal::TokenMalformed,
        TokenError::Algorithm => Refusal::TokenAlgorithm,
        TokenError::UnknownKey => Refusal::TokenKey,
        TokenError::Signature => Refusal::TokenSignature,
        TokenError::Expired => Refusal::TokenExpired,
        TokenError::NotYetValid => Refusal::TokenNotYetValid,
        TokenError::Issuer => Refusal::TokenIssuer,
        TokenError::Audience => Refusal::TokenAudience,
    }
}

/// 401, with what would let the client in (RFC 6750 §3).
fn unauthorized(refusal: Refusal, error: Option<TokenError>) -> Denial {
    let (text, challenge) = match error {
        Some(error) => (
            format!("The token is not good: {error}.\n"),
            format!("Bearer error=\"invalid_token\", error_description=\"{error}\""),
        ),
        None if refusal == Refusal::BadKey => {
            ("The key is not good.\n".to_owned(), "Bearer".to_owned())
        }
        None => (
            "A key or a token is needed.\n".to_owned(),
            "Bearer".to_owned(),
        ),
    };
    Denial {
        refusal,
        response: Response::text(401, text).with_header("WWW-Authenticate", challenge),
    }
}

/// An endpoint with a guard in front. A reload replaces the guard; who is connected stays.
pub struct Guarded<E> {
    guard: RwLock<Arc<Guard>>,
    inner: E,
}

impl<E: Endpoint> Guarded<E> {
    /// Puts `guard` in front of `inner`.
    pub fn new(inner: E, guard: Arc<Guard>) -> Guarded<E> {
        Guarded {
            guard: RwLock::new(guard),
            inner,
        }
    }

    fn guard(&self) -> Arc<Guard> {
        Arc::clone(&self.guard.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// As [`Guard::judge`], a refusal in the endpoint's words.
    fn judge(&self, request: &Request<'_>) -> Result<Terms, (Refusal, Response)> {
        let judged = self.guard().judge(request.head, SystemTime::now());
        judged.map_err(|Denial { refusal, response }| {
            let response = self.inner.refusal(response, refusal.label());
            (refusal, response)
        })
    }
}

/// The request, with what is known about the client.
fn known<'r>(request: &Request<'r>, terms: &'r Terms) -> Request<'r> {
    Request {
        context: terms.context.as_deref(),
        ..*request
    }
}

impl<E: Endpoint> Endpoint for Guarded<E> {
    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        self.guard().watch();
        self.inner.started(handle)
    }

    fn take_over(&self, next: &dyn Endpoint) {
        let next: &dyn std::any::Any = next;
        if let Some(next) = next.downcast_ref::<Guarded<E>>() {
            let guard = next.guard();
            guard.watch();
            *self.guard.write().unwrap_or_else(PoisonError::into_inner) = guard;
            self.inner.take_over(&next.inner);
        }
    }

    fn admit(&self, request: &Request<'_>, later: &mut Later<'_>) -> Admission {
        match self.judge(request) {
            Ok(terms) => self.inner.admit(&known(request, &terms), later).on(terms),
            Err((refusal, response)) => Admission::RefuseFor(refusal, response),
        }
    }

    fn opened(&self, session: &mut Session<'_>, request: &Request<'_>) {
        self.inner.opened(session, request);
    }

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        self.inner.message(session, message);
    }

    fn closed(&self, session: &mut Session<'_>, reason: &CloseReason) {
        self.inner.closed(session, reason);
    }

    fn methods(&self) -> &'static [&'static str] {
        self.inner.methods()
    }

    fn refusal(&self, response: Response, code: &'static str) -> Response {
        self.inner.refusal(response, code)
    }

    fn judge_head(&self, request: &Request<'_>) -> HeadVerdict {
        if request.head.method == "OPTIONS" {
            return self.inner.judge_head(request);
        }
        match self.judge(request) {
            Ok(terms) => match self.inner.judge_head(&known(request, &terms)) {
                answered @ HeadVerdict::Answered(_) => answered,
                _ => HeadVerdict::Admitted(terms.context),
            },
            Err((refusal, response)) => HeadVerdict::Answered(Answer::RefuseFor(refusal, response)),
        }
    }

    fn judged_request(&self, request: &Request<'_>, later: &mut Later<'_>) -> Answer {
        self.inner.request(request, later)
    }

    /// What a path tells is for those who may come in. OPTIONS is for everybody: browsers send it
    /// without credentials.
    fn request(&self, request: &Request<'_>, later: &mut Later<'_>) -> Answer {
        if request.head.method == "OPTIONS" {
            return self.inner.request(request, later);
        }
        match self.judge(request) {
            Ok(terms) => self.inner.request(&known(request, &terms), later),
            Err((refusal, response)) => Answer::RefuseFor(refusal, response),
        }
    }
}
