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
mod good;
mod identity;
mod keys;
mod origin;
mod revoked;
pub mod token;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::SystemTime;

pub use self::files::{FileError, FileProblem, Files};
pub(crate) use self::files::{Watched, look_again_and_again, taken};
pub use self::identity::{By, Identity, Pattern, Rooms};
pub use self::keys::{ApiKey, ApiKeyError, ApiKeys, Fingerprint, HIDDEN, Scope, Scopes, Secret};
pub use self::origin::{Origin, OriginError, Origins};
pub use self::revoked::CloseRevoked;
pub(crate) use self::revoked::recheck_soon;

use self::credentials::Credential;
use self::files::Stamps;
use self::good::GoodTokens;
use self::revoked::Door;
use self::token::{Claims, TokenChecks, TokenError, TokenKeys};
use crate::engine::{
    Admission, Answer, CloseReason, Context, Endpoint, EndpointError, Handle, HeadVerdict, Later,
    Refusal, Request, Session, Terms, Throttled,
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
    /// Whose connections end with the key that let them in.
    pub close_revoked: CloseRevoked,
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
    /// How often it was asked to judge open connections again, and did not yet.
    rechecks: AtomicUsize,
}

/// Who is let in.
#[derive(Debug)]
struct Auth {
    settings: AuthSettings,
    keys: RwLock<Keys>,
}

/// What is in settings and files together. Each half is replaced by itself.
#[derive(Clone, Debug)]
struct Keys {
    api: Arc<ApiKeys>,
    token: Arc<TokenHalf>,
}

#[derive(Debug, Default)]
struct TokenHalf {
    keys: TokenKeys,
    /// Tokens that these keys have signed.
    good: GoodTokens,
}

/// The shard's side of a client that shows something; the default is nobody's.
#[derive(Default)]
struct Trier<'t, 'l>(Option<(&'t mut Later<'l>, IpAddr)>);

impl Trier<'_, '_> {
    fn may_try(&self) -> Result<(), Denial> {
        let Some((later, client)) = &self.0 else {
            return Ok(());
        };
        later.may_try(*client).map_err(throttled)
    }

    /// What becomes of this denial of credentials that were no good.
    fn failed(&mut self, denial: Denial) -> Denial {
        let Some((later, client)) = &mut self.0 else {
            return denial;
        };
        later.failed(*client).map_or_else(throttled, |()| denial)
    }

    fn spent(&mut self, work_ns: u64) {
        if let Some((later, _)) = &mut self.0 {
            later.spent(work_ns);
        }
    }
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
            let keys = RwLock::new(Keys::load(&settings)?);
            Ok(Auth { settings, keys })
        });
        Ok(Arc::new(Guard {
            origins: settings.origins,
            auth: auth.transpose()?,
            stamps,
            is_watched: AtomicBool::new(false),
            rechecks: AtomicUsize::new(0),
        }))
    }

    /// Whether credentials are needed and there are none that would be good: nobody comes in.
    pub fn is_shut(&self) -> bool {
        self.auth.as_ref().is_some_and(|auth| {
            let keys = auth.keys();
            keys.api.is_empty() && keys.token.keys.is_empty()
        })
    }

    /// Judges a token by itself as of `now`; `None` where there are no keys for tokens.
    pub fn check(&self, token: &str, now: SystemTime) -> Option<Result<Claims, TokenError>> {
        let auth = self.auth.as_ref()?;
        let keys = auth.keys();
        let checks = &auth.settings.token_checks;
        let keys = &keys.token.keys;
        (!keys.is_empty()).then(|| keys.verify(token, checks, now))
    }

    /// Judges a request as of `now`, however often its client has failed.
    ///
    /// # Errors
    ///
    /// The first offence.
    pub fn judge(&self, head: &Head<'_>, now: SystemTime) -> Result<Terms, Denial> {
        self.judge_try(head, now, Trier::default())
    }

    fn judge_try(
        &self,
        head: &Head<'_>,
        now: SystemTime,
        trier: Trier<'_, '_>,
    ) -> Result<Terms, Denial> {
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
        let (identity, expires) = auth.identify(head, now, trier)?;
        let context: Arc<Context> = Arc::new(identity);
        Ok(Terms {
            context: Some(context),
            expires,
            ..terms
        })
    }
}

impl Auth {
    fn keys(&self) -> Keys {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.clone()
    }

    /// Who the client is, and until when.
    fn identify(
        &self,
        head: &Head<'_>,
        now: SystemTime,
        mut trier: Trier<'_, '_>,
    ) -> Result<(Identity, Option<SystemTime>), Denial> {
        let keys = self.keys();
        let (tokens, api) = (!keys.token.keys.is_empty(), !keys.api.is_empty());
        match credentials::find(head, tokens, api) {
            None => Err(unauthorized(Refusal::NoCredentials, None)),
            Some(Credential::ApiKey(key)) => match keys.api.find(key.as_bytes()) {
                Some((key, scopes)) if scopes.contain(Scope::Connect) => {
                    let identity = Identity {
                        by: By::Key(key),
                        ..Identity::default()
                    };
                    Ok((identity, None))
                }
                Some(_) => Err(out_of_scope()),
                None => Err(trier.failed(unauthorized(Refusal::BadKey, None))),
            },
            Some(Credential::Token(token)) => {
                let claims = self.claims(&keys.token, &token, now, &mut trier)?;
                // Leeway is for clocks that differ, at the end as at the beginning.
                let expires = claims
                    .expires
                    .checked_add(self.settings.token_checks.leeway);
                Ok((claims.identity, expires))
            }
        }
    }

    /// What a token says. One that is not known to be good is verified, if its client may try.
    fn claims(
        &self,
        half: &TokenHalf,
        token: &str,
        now: SystemTime,
        trier: &mut Trier<'_, '_>,
    ) -> Result<Claims, Denial> {
        let (keys, checks) = (&half.keys, &self.settings.token_checks);
        let hash = good::hash_of(token);
        let known = half.good.find(&hash);
        let signed = match known {
            Some(key) => Ok(key),
            None => {
                trier.may_try()?;
                let mut spent_ns = 0;
                let signed = keys.verify_signed(token, &mut spent_ns);
                trier.spent(spent_ns);
                signed
            }
        };
        let claims = signed.and_then(|key| {
            let claims = keys.read_verified(token, key, checks, now)?;
            if known.is_none() {
                half.good.remember(hash, key, claims.expires, now);
            }
            Ok(claims)
        });
        claims.map_err(|error| trier.failed(unauthorized(refusal_of(error), Some(error))))
    }
}

impl Keys {
    fn load(settings: &AuthSettings) -> Result<Keys, FileError> {
        let (api, token) = (settings.files.read_keys()?, settings.files.read_tokens()?);
        Ok(Keys {
            api: api_keys(api, settings),
            token: token_half(token, settings),
        })
    }
}

fn api_keys(mut of_file: Vec<ApiKey>, settings: &AuthSettings) -> Arc<ApiKeys> {
    of_file.extend(settings.keys.iter().cloned());
    Arc::new(ApiKeys::new(&of_file))
}

fn token_half(mut keys: TokenKeys, settings: &AuthSettings) -> Arc<TokenHalf> {
    if let Some(secret) = &settings.token_secret {
        keys.add_secret(secret);
    }
    let good = GoodTokens::default();
    Arc::new(TokenHalf { keys, good })
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

/// 403, for a key that is good and does not open this (RFC 6750 §3.1).
fn out_of_scope() -> Denial {
    let text = "The key is not for this: it lacks the scope connect.\n";
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"connect\"";
    Denial {
        refusal: Refusal::Forbidden,
        response: Response::text(403, text).with_header("WWW-Authenticate", challenge),
    }
}

fn throttled(throttled: Throttled) -> Denial {
    Denial {
        refusal: Refusal::CredentialRate,
        response: throttled.response(),
    }
}

/// An endpoint with a guard in front. A reload replaces the guard. Who is connected stays, but for
/// those who came in by what is good no more ([`CloseRevoked`]).
pub struct Guarded<E> {
    door: Arc<Door>,
    handle: OnceLock<Handle>,
    inner: E,
}

impl<E: Endpoint> Guarded<E> {
    /// Puts `guard` in front of `inner`.
    pub fn new(inner: E, guard: Arc<Guard>) -> Guarded<E> {
        Guarded {
            door: Arc::new(Door::new(guard)),
            handle: OnceLock::new(),
            inner,
        }
    }

    /// As [`Guard::judge`], a refusal in the endpoint's words. It counts who fails.
    fn judge(
        &self,
        request: &Request<'_>,
        later: &mut Later<'_>,
    ) -> Result<Terms, (Refusal, Response)> {
        let trier = Trier(Some((later, request.peer.ip())));
        let guard = self.door.guard();
        let judged = guard.judge_try(request.head, SystemTime::now(), trier);
        let terms = judged.map_err(|Denial { refusal, response }| {
            let response = self.inner.refusal(response, refusal.label());
            (refusal, response)
        })?;
        Ok(self.door.keep(terms))
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
        self.handle.get_or_init(|| handle.clone());
        self.door.guard().watch(handle);
        self.inner.started(handle)
    }

    fn take_over(&self, next: &dyn Endpoint) {
        let next: &dyn std::any::Any = next;
        if let Some(next) = next.downcast_ref::<Guarded<E>>() {
            let guard = next.door.guard();
            let before = self.door.replace(Arc::clone(&guard));
            if let Some(handle) = self.handle.get() {
                guard.watch(handle);
                guard.recheck_after(&before, handle);
            }
            self.inner.take_over(&next.inner);
        }
    }

    fn admit(&self, request: &Request<'_>, later: &mut Later<'_>) -> Admission {
        match self.judge(request, later) {
            Ok(terms) => self.inner.admit(&known(request, &terms), later).on(terms),
            Err((refusal, response)) => Admission::RefuseFor(refusal, response),
        }
    }

    fn opened(&self, session: &mut Session<'_>, request: &Request<'_>) {
        self.inner.opened(session, request);
        // The answer of the endpoint may have come later than the key went.
        session.recheck();
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

    fn judge_head(&self, request: &Request<'_>, later: &mut Later<'_>) -> HeadVerdict {
        if request.head.method == "OPTIONS" {
            return self.inner.judge_head(request, later);
        }
        match self.judge(request, later) {
            Ok(terms) => match self.inner.judge_head(&known(request, &terms), later) {
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
        match self.judge(request, later) {
            Ok(terms) => self.inner.request(&known(request, &terms), later),
            Err((refusal, response)) => Answer::RefuseFor(refusal, response),
        }
    }
}
