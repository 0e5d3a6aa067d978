//! What it costs to show credentials: a shard's time where they are verified, and one of few tries
//! of the client's address where they are no good.
//!
//! Whoever judges credentials asks [`Responder::may_try`] before it verifies what is not known to
//! be good, and says with [`Responder::failed`] and [`Responder::spent`] what became of it. An
//! address that has failed too often is refused before anything is verified, so that neither
//! guessing nor nonsense costs a shard more than a look.

use std::net::IpAddr;

use super::core::Core;
use super::endpoint::Responder;
use crate::engine::rate::TokenRate;
use crate::engine::refusal::{Refusal, Refused};
use crate::limits::{FAILED_CREDENTIALS_MAX, FAILED_CREDENTIALS_TIME};

const RATE: TokenRate = TokenRate::new(
    FAILED_CREDENTIALS_MAX / FAILED_CREDENTIALS_TIME.as_secs(),
    FAILED_CREDENTIALS_MAX,
);

/// The client's address has failed too often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Throttled {
    /// When it may try again, in whole seconds, at least 1.
    pub retry_after_s: u64,
}

impl Throttled {
    /// 429, with when to come again (RFC 6585 §4, RFC 9110 §10.2.3). The connection ends with it.
    pub fn refused(self) -> Refused {
        let text = "This address has shown too many keys or tokens that are not good.";
        Refused::of(Refusal::CredentialRate, 429, text)
            .retry_after(self.retry_after_s)
            .ending_connection()
    }

    fn after(wait_ns: u64) -> Throttled {
        Throttled {
            retry_after_s: wait_ns.div_ceil(1_000_000_000).max(1),
        }
    }
}

impl Responder<'_> {
    /// Notes that operations with keys took about so long, in nanoseconds: the shard's turn is
    /// charged with it.
    pub fn spent(&mut self, work_ns: u64) {
        self.core.work.spend(work_ns);
    }

    /// Whether what a client with this address shows may be verified.
    ///
    /// # Errors
    ///
    /// Too much that it has shown was no good.
    pub fn may_try(&self, client: IpAddr) -> Result<(), Throttled> {
        if self.core.is_exempt(client) {
            return Ok(());
        }
        let (failed, now_ns) = (
            &self.core.shared.failed_credentials,
            self.core.clock.now_ns(),
        );
        match failed.wait_ns(client, &RATE, now_ns) {
            0 => Ok(()),
            wait_ns => Err(Throttled::after(wait_ns)),
        }
    }

    /// Counts that what a client with this address has shown is no good.
    ///
    /// # Errors
    ///
    /// As [`Responder::may_try`] before: then nothing is counted.
    pub fn failed(&mut self, client: IpAddr) -> Result<(), Throttled> {
        if self.core.is_exempt(client) {
            return Ok(());
        }
        let (failed, now_ns) = (
            &self.core.shared.failed_credentials,
            self.core.clock.now_ns(),
        );
        match failed.take(client, &RATE, now_ns) {
            true => Ok(()),
            false => Err(Throttled::after(failed.wait_ns(client, &RATE, now_ns))),
        }
    }
}

impl Core {
    /// Whether no limit for one address applies to this one: a trusted proxy's own, one of those
    /// networks that are exempt, and what a Unix socket has in place of one.
    pub(in crate::engine) fn is_exempt(&self, client: IpAddr) -> bool {
        let settings = &self.settings;
        let is_relaying = self.id < self.shared.relaying;
        client.is_unspecified()
            || is_relaying && settings.trusted_proxies.contains(client)
            || settings
                .exempt_networks
                .iter()
                .any(|network| network.contains(client))
    }
}
