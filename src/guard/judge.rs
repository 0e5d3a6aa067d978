//! The guard itself: what it knows, and how it judges a request.

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

/// The subprotocol that is selected where a client offers it and the endpoint selects none: so a
/// browser, which can send a key or a token only as a subprotocol, gets one that is none.
pub const PROTOCOL: &str = "corecast.v1";

/// A guard. It serves all shards.
#[derive(Debug)]
pub struct Guard {
    origins: Origins,
    pub(super) auth: Option<Auth>,
    /// The files as they were before they were read.
    pub(super) stamps: Stamps,
    /// A thread looks at them.
    pub(super) is_watched: AtomicBool,
    /// How often it was asked to judge open connections again, and did not yet.
    pub(super) rechecks: AtomicUsize,
}

/// Who is let in.
#[derive(Debug)]
pub(super) struct Auth {
    pub(super) settings: AuthSettings,
    pub(super) keys: RwLock<Keys>,
}

/// What is in settings and files together. Each half is replaced by itself.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) api: Arc<ApiKeys>,
    pub(super) token: Arc<TokenHalf>,
}

#[derive(Debug, Default)]
pub(super) struct TokenHalf {
    pub(super) keys: TokenKeys,
    /// Tokens that these keys have signed.
    good: GoodTokens,
}

/// The shard's side of a client that shows something; the default is nobody's.
#[derive(Default)]
pub(super) struct Trier<'t, 'l>(pub(super) Option<(&'t mut Responder<'l>, Peer)>);

impl Trier<'_, '_> {
    fn may_try(&self) -> Result<(), Refused> {
        let Some((responder, client)) = &self.0 else {
            return Ok(());
        };
        responder.may_try(*client).map_err(Throttled::refused)
    }

    /// The refusal for a client whose credentials were no good.
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
    pub fn judge(&self, head: &Head<'_>, now: SystemTime) -> Result<Terms, Refused> {
        self.judge_try(head, now, Trier::default())
    }

    pub(super) fn judge_try(
        &self,
        head: &Head<'_>,
        now: SystemTime,
        trier: Trier<'_, '_>,
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
    pub(super) fn keys(&self) -> Keys {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.clone()
    }

    /// Who the client is, and until when.
    fn identify(
        &self,
        head: &Head<'_>,
        now: SystemTime,
        mut trier: Trier<'_, '_>,
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
            // If nobody has a key or a token, none can be guessed.
            Some(Credential::Unknown) if keys.api.is_empty() && !takes_tokens => {
                Err(denial::bad_key())
            }
            Some(Credential::Unknown) => Err(trier.failed(denial::bad_key())),
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
    ) -> Result<Claims, Refused> {
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
        claims.map_err(|error| trier.failed(denial::bad_token(error)))
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
