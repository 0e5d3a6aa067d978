//! The cost of checking credentials: a shard's time to verify them and, if they are bad, one of a
//! few attempts of the client's address.
//!
//! Code that checks credentials calls [`Responder::may_try`] before it verifies those that are not
//! known to be good, and reports the result with [`Responder::failed`] and [`Responder::spent`]. An
//! address that has failed too often is refused before anything is verified, so that neither
//! guessing nor garbage costs a shard more than a lookup.

use super::core::Core;
use super::endpoint::Responder;
use crate::engine::rate::TokenRate;
use crate::engine::refusal::{Refusal, Refused};
use crate::limits::{FAILED_CREDENTIALS_MAX, FAILED_CREDENTIALS_TIME};
use crate::peer::Peer;

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
    /// 429, with the time to wait (RFC 6585 §4, RFC 9110 §10.2.3). The connection ends with it.
    pub fn refused(self) -> Refused {
        let text = "Too many invalid keys or tokens from this address.";
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
    /// Reports that cryptographic operations took about `work_ns` nanoseconds, which are charged to
    /// the shard's turn.
    pub fn spent(&mut self, work_ns: u64) {
        self.core.work.spend(work_ns);
    }

    /// Whether credentials from this client address may be verified.
    ///
    /// # Errors
    ///
    /// The address has shown too many bad credentials.
    pub fn may_try(&self, client: Peer) -> Result<(), Throttled> {
        if self.core.is_exempt(client) {
            return Ok(());
        }
        let (failed, now_ns) = (
            &self.core.shared.failed_credentials,
            self.core.clock.now_ns(),
        );
        match failed.wait_ns(client.counting_ip(), &RATE, now_ns) {
            0 => Ok(()),
            wait_ns => Err(Throttled::after(wait_ns)),
        }
    }

    /// Counts bad credentials from this client address.
    ///
    /// # Errors
    ///
    /// The address had failed too often already, as in [`Responder::may_try`]. Nothing is counted.
    pub fn failed(&mut self, client: Peer) -> Result<(), Throttled> {
        if self.core.is_exempt(client) {
            return Ok(());
        }
        let (failed, now_ns) = (
            &self.core.shared.failed_credentials,
            self.core.clock.now_ns(),
        );
        match failed.take(client.counting_ip(), &RATE, now_ns) {
            true => Ok(()),
            false => Err(Throttled::after(failed.wait_ns(
                client.counting_ip(),
                &RATE,
                now_ns,
            ))),
        }
    }
}

impl Core {
    /// Whether limits for one address do not apply to this one: a trusted proxy's, one in an exempt
    /// network, or the unspecified address of Unix sockets.
    pub(in crate::engine) fn is_exempt(&self, client: Peer) -> bool {
        let settings = &self.settings;
        let is_relaying = self.id < self.shared.relaying;
        let Some(address) = client.ip() else {
            return true;
        };
        let mut exempt = settings.exempt_networks.iter();
        is_relaying && settings.trusted_proxies.contains(client)
            || exempt.any(|network| network.contains(address))
    }
}
