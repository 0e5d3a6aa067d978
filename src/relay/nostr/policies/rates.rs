//! Policies that limit rates. Each remembers up to 65,536 addresses or keys, in about 5 MiB; if
//! there are more, those that were least active are forgotten.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use corecast_nostr::{Bytes32, Event, Filter};

use crate::engine::{AddressBuckets, Buckets, Refusal, Refused, Request, TokenRate};
use crate::relay::nostr::hooks::{Context, NostrHooks, Operation, Prefix, Rejection};

type Verdict = Result<(), Rejection>;

const SLOW_DOWN: &str = "slow down, please";

/// A number in each interval on average, and a number at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate(TokenRate);

impl Rate {
    /// `tokens` in each `interval` on average, `burst` at once. The numbers are clamped to
    /// 1..=2^30, and the interval to one millisecond to a day.
    pub fn new(tokens: u64, interval: Duration, burst: u64) -> Rate {
        Rate(TokenRate::per(tokens, interval, burst))
    }
}

/// Whether clients on this machine are limited.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Loopback {
    Limited,
    Exempt,
}

/// A limit for each address.
struct ByAddress {
    rate: TokenRate,
    loopback: Loopback,
    buckets: AddressBuckets,
    origin: Instant,
}

impl ByAddress {
    fn new(Rate(rate): Rate, loopback: Loopback) -> ByAddress {
        ByAddress {
            rate,
            loopback,
            buckets: AddressBuckets::default(),
            origin: Instant::now(),
        }
    }

    /// Clients without an address (Unix sockets, handles) have no limit.
    fn allows(&self, ip: Option<IpAddr>) -> bool {
        let Some(ip) = ip else {
            return true;
        };
        let is_exempt = self.loopback == Loopback::Exempt && ip.to_canonical().is_loopback();
        is_exempt || self.buckets.take(ip, &self.rate, elapsed_ns(self.origin))
    }
}

fn elapsed_ns(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn limited(is_allowed: bool, told: &'static str) -> Verdict {
    match is_allowed {
        true => Ok(()),
        false => Err(Rejection::new(Prefix::RateLimited, told)),
    }
}

/// Limits the events from each address (IPv6: a /64).
pub fn event_ip_rate_limiter(
    rate: Rate,
) -> impl Fn(&Context<'_>, &Event) -> Verdict + Send + Sync + 'static {
    event_limiter(rate, Loopback::Limited)
}

pub(super) fn event_limiter(
    rate: Rate,
    loopback: Loopback,
) -> impl Fn(&Context<'_>, &Event) -> Verdict + Send + Sync + 'static {
    let limit = ByAddress::new(rate, loopback);
    move |context, _| limited(limit.allows(context.ip()), SLOW_DOWN)
}

/// Limits the filters from each address (IPv6: a /64), those of all operations together.
pub fn filter_ip_rate_limiter(
    rate: Rate,
) -> impl Fn(&Context<'_>, Operation, &Filter) -> Verdict + Send + Sync + 'static {
    filter_limiter(rate, Loopback::Limited)
}

pub(super) fn filter_limiter(
    rate: Rate,
    loopback: Loopback,
) -> impl Fn(&Context<'_>, Operation, &Filter) -> Verdict + Send + Sync + 'static {
    let limit = ByAddress::new(rate, loopback);
    move |context, _, _| limited(limit.allows(context.ip()), "too many filters; slow down")
}

/// Limits the connections from each address (IPv6: a /64). Further ones get 429, counted as
/// [`Refusal::ConnectRate`].
pub fn connection_rate_limiter(
    rate: Rate,
) -> impl Fn(&Request<'_>) -> Result<(), Refused> + Send + Sync + 'static {
    connection_limiter(rate, Loopback::Limited)
}

pub(super) fn connection_limiter(
    rate: Rate,
    loopback: Loopback,
) -> impl Fn(&Request<'_>) -> Result<(), Refused> + Send + Sync + 'static {
    let limit = ByAddress::new(rate, loopback);
    move |request| match limit.allows(request.peer.ip()) {
        true => Ok(()),
        false => {
            let told = "This address connects too often.";
            let refused = Refused::of(Refusal::ConnectRate, 429, told);
            Err(refused.retry_after(limit.rate.retry_after_s()))
        }
    }
}

/// Limits the events of clients with a proven key, by the first key of each.
pub fn event_authed_pubkey_rate_limiter(
    Rate(rate): Rate,
) -> impl Fn(&Context<'_>, &Event) -> Verdict + Send + Sync + 'static {
    let (buckets, origin) = (Buckets::<Bytes32>::default(), Instant::now());
    move |context, _| {
        let mut key = context.keys().iter().take(1);
        let is_allowed = key.all(|key| buckets.take(*key, &rate, elapsed_ns(origin)));
        limited(is_allowed, SLOW_DOWN)
    }
}

/// Limits the events of each author. Only accepted ones count, since anybody can make events that
/// claim to be another's. Those that wait for their signatures may exceed the burst; further ones
/// wait the longer.
pub fn event_pubkey_rate_limiter(Rate(rate): Rate) -> EventPubkeyRate {
    EventPubkeyRate {
        rate,
        buckets: Buckets::default(),
        origin: Instant::now(),
    }
}

/// The policy of [`event_pubkey_rate_limiter`].
pub struct EventPubkeyRate {
    rate: TokenRate,
    buckets: Buckets<Bytes32>,
    origin: Instant,
}

impl EventPubkeyRate {
    fn count(&self, event: &Event) {
        let now_ns = elapsed_ns(self.origin);
        self.buckets.spend(*event.pubkey(), &self.rate, now_ns);
    }
}

impl NostrHooks for EventPubkeyRate {
    fn reject_event(&self, _: &Context<'_>, event: &Event) -> Verdict {
        let now_ns = elapsed_ns(self.origin);
        let wait_ns = self.buckets.wait_ns(*event.pubkey(), &self.rate, now_ns);
        limited(wait_ns == 0, SLOW_DOWN)
    }

    fn on_event_saved(&self, _: &Context<'_>, event: &Event) {
        self.count(event);
    }

    fn on_ephemeral_event(&self, _: &Context<'_>, event: &Event) {
        self.count(event);
    }

    fn concerns_deliveries(&self) -> bool {
        false
    }
}
