//! The guard itself: its credentials, and how it checks a request.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use super::credentials::{self, Credential};
use super::denial;
use super::files::{FileError, Stamps};
use super::good::{self, GoodTokens};
use super::identity::{By, Identity};
use super::keys::{ApiKey, ApiKeys, Scope};
use super::origin::Origins;
use super::settings::{AuthSettings, GuardSettings};
use super::token::{Claims, TokenError, TokenKeys};
use crate::engine::{Context, Peer, Refused, Responder, Terms, Throttled};
use crate::wire::http::Head;

/// The subprotocol that is selected if a client offers it and the endpoint selects none. A browser
/// that sends its key or token as a subprotocol needs another one selected, since the answer must
/// not repeat the credential.
pub const PROTOCOL: &str = "corecast.v1";

/// A guard. It serves all shards.
#[derive(Debug)]
pub struct Guard {
    origins: Origins,
    pub(super) auth: Option<Auth>,
    /// The files as they were before they were read.
    pub(super) stamps: Stamps,
    /// Whether a thread polls them.
    pub(super) is_watched: AtomicBool,
    /// Rechecks of open connections that were asked for and are not done yet.
    pub(super) rechecks: AtomicUsize,
}

/// The credentials that admit a client.
#[derive(Debug)]
pub(super) struct Auth {
    pub(super) settings: AuthSettings,
    pub(super) keys: RwLock<Keys>,
}

/// The keys of settings and files together. Each half is replaced on its own.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) api: Arc<ApiKeys>,
    pub(super) token: Arc<TokenHalf>,
}

#[derive(Debug, Default)]
pub(super) struct TokenHalf {
    pub(super) keys: TokenKeys,
    /// Recent tokens that these keys signed.
    good: GoodTokens,
}

/// Counts a client's failures with its shard; the default counts nothing.
#[derive(Default)]
pub(super) struct Attempt<'t, 'l>(pub(super) Option<(&'t mut Responder<'l>, Peer)>);

impl Attempt<'_, '_> {
    fn may_try(&self) -> Result<(), Refused> {
        let Some((responder, client)) = &self.0 else {
            return Ok(());
        };
        responder.may_try(*client).map_err(Throttled::refused)
    }

    /// The refusal for a client whose credentials were not valid.
    fn failed(&mut self, refused: Refused) -> Refused {
        let Some((responder, client)) = &mut self.0 else {
            return refused;
        };
        responder
            .failed(*client)
            .map_or_else(Throttled::refused, |()| refused)
    }

    fn spent(&mut self, work_ns: u64) {
        if let Some((responder, _)) = &mut self.0 {
            responder.spent(work_ns);
        }
    }
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

    /// Whether credentials are required and none are configured, so that every client is refused.
    pub fn is_shut(&self) -> bool {
        self.auth.as_ref().is_some_and(|auth| {
            let keys = auth.keys();
            keys.api.is_empty() && keys.token.keys.is_empty()
        })
    }

    /// Checks a token alone as of `now`; `None` if no keys for tokens are configured.
    pub fn check(&self, token: &str, now: SystemTime) -> Option<Result<Claims, TokenError>> {
        let auth = self.auth.as_ref()?;
        let keys = auth.keys();
        let checks = &auth.settings.token_checks;
        let keys = &keys.token.keys;
        (!keys.is_empty()).then(|| keys.verify(token, checks, now))
    }

    /// Checks a request as of `now`, regardless of earlier failures of its client.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub fn judge(&self, head: &Head<'_>, now: SystemTime) -> Result<Terms, Refused> {
        self.check_attempt(head, now, Attempt::default())
    }

    pub(super) fn check_attempt(
        &self,
        head: &Head<'_>,
        now: SystemTime,
        attempt: Attempt<'_, '_>,
    ) -> Result<Terms, Refused> {
        if !self.origins.admit(head) {
            return Err(denial::origin());
        }
        let terms = Terms {
            protocol: Some(PROTOCOL),
            ..Terms::default()
        };
        let Some(auth) = &self.auth else {
            return Ok(terms);
        };
        let (identity, expires) = auth.identify(head, now, attempt)?;
        let context: Arc<Context> = Arc::new(identity);
        Ok(Terms {
            context: Some(context),
            expires,
            ..terms
        })
    }
}

impl Auth {
    pub(super) fn keys(&self) -> Keys {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.clone()
    }

    /// The client's identity, and the time when it expires.
    fn identify(
        &self,
        head: &Head<'_>,
        now: SystemTime,
        mut attempt: Attempt<'_, '_>,
    ) -> Result<(Identity, Option<SystemTime>), Refused> {
        let keys = self.keys();
        let takes_tokens = !keys.token.keys.is_empty();
        match credentials::find(head, &keys.api, takes_tokens) {
            None => Err(denial::no_credentials()),
            Some(Credential::ApiKey(key, scopes)) if scopes.contain(Scope::Connect) => {
                let identity = Identity {
                    by: By::Key(key),
                    ..Identity::default()
                };
                Ok((identity, None))
            }
            Some(Credential::ApiKey(..)) => Err(denial::out_of_scope()),
            // Without any key or token nothing can be guessed, so the failure is not counted.
            Some(Credential::Unknown) if keys.api.is_empty() && !takes_tokens => {
                Err(denial::bad_key())
            }
            Some(Credential::Unknown) => Err(attempt.failed(denial::bad_key())),
            Some(Credential::Token(token)) => {
                let claims = self.claims(&keys.token, &token, now, &mut attempt)?;
                // Clocks may differ, so the leeway holds for `exp` as it does for `nbf`.
                let expires = claims
                    .expires
                    .checked_add(self.settings.token_checks.leeway);
                Ok((claims.identity, expires))
            }
        }
    }

    /// The claims of a token. Its signature is verified if it is not in the cache and its client
    /// has not failed too often.
    fn claims(
        &self,
        half: &TokenHalf,
        token: &str,
        now: SystemTime,
        attempt: &mut Attempt<'_, '_>,
    ) -> Result<Claims, Refused> {
        let (keys, checks) = (&half.keys, &self.settings.token_checks);
        let hash = good::hash_of(token);
        let known = half.good.find(&hash);
        let signed = match known {
            Some(key) => Ok(key),
            None => {
                attempt.may_try()?;
                let mut spent_ns = 0;
                let signed = keys.verify_signed(token, &mut spent_ns);
                attempt.spent(spent_ns);
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
        claims.map_err(|error| attempt.failed(denial::bad_token(error)))
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

pub(super) fn api_keys(mut of_file: Vec<ApiKey>, settings: &AuthSettings) -> Arc<ApiKeys> {
    of_file.extend(settings.keys.iter().cloned());
    Arc::new(ApiKeys::new(&of_file))
}

pub(super) fn token_half(mut keys: TokenKeys, settings: &AuthSettings) -> Arc<TokenHalf> {
    if let Some(secret) = &settings.token_secret {
        keys.add_secret(secret);
    }
    let good = GoodTokens::default();
    Arc::new(TokenHalf { keys, good })
}
