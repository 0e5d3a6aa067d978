//! The work of a turn: one budget in one currency, from which every phase pays for its steps.
//!
//! A phase begins with its share and whatever the phases before it left. Its steps pay prices
//! ([`crate::limits`]), and it ends with the first step that exceeds the budget; the rest stays
//! queued for the next turn. So each phase makes progress in every turn, and none is ever long,
//! whatever kind of work it is. Prices are estimates, so that steps need not read a clock.

use strum::VariantNames;

use crate::limits::{
    ACCEPT_WORK_NS, CLOSE_WORK_NS, CONTROL_WORK_NS, DELIVER_WORK_NS, ENDPOINT_WORK_NS,
    FLUSH_WORK_NS, HANDSHAKE_WORK_NS, MAIL_WORK_NS, READ_QUANTUM_NS, READ_WORK_NS,
};

/// A phase of a turn that has a share of its work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, VariantNames)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum TurnPhase {
    /// Control messages from handles and the main thread.
    Control,
    /// Batches from other shards.
    Mail,
    /// New connections.
    Accept,
    /// Data from clients: frames and requests.
    Read,
    /// Mail of endpoints, and their work in small steps.
    Endpoint,
    /// Runs into outboxes.
    Deliver,
    /// Outboxes into sockets.
    Flush,
    /// TLS handshakes.
    Handshake,
    /// Connections that end.
    Close,
}

impl TurnPhase {
    /// The labels in the metrics, in the order of the variants.
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;

    fn share_ns(self) -> u64 {
        match self {
            TurnPhase::Control => CONTROL_WORK_NS,
            TurnPhase::Mail => MAIL_WORK_NS,
            TurnPhase::Accept => ACCEPT_WORK_NS,
            TurnPhase::Read => READ_WORK_NS,
            TurnPhase::Endpoint => ENDPOINT_WORK_NS,
            TurnPhase::Deliver => DELIVER_WORK_NS,
            TurnPhase::Flush => FLUSH_WORK_NS,
            TurnPhase::Handshake => HANDSHAKE_WORK_NS,
            TurnPhase::Close => CLOSE_WORK_NS,
        }
    }
}

/// The work that is left in this turn, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Work {
    left_ns: i64,
    /// The end of the share of the connection that is being read.
    quantum_end_ns: i64,
    phase: TurnPhase,
}

impl Default for Work {
    fn default() -> Work {
        Work {
            left_ns: 0,
            quantum_end_ns: 0,
            phase: TurnPhase::Control,
        }
    }
}

impl Work {
    /// Begins a turn. Nothing is carried over from the last one, since its unused work was not
    /// needed.
    pub(crate) fn begin_turn(&mut self) {
        self.left_ns = 0;
    }

    /// Begins a phase with its share and what was left.
    pub(crate) fn begin(&mut self, phase: TurnPhase) {
        self.phase = phase;
        self.left_ns = self.left_ns.max(0) + phase.share_ns() as i64;
        self.quantum_end_ns = 0;
    }

    #[inline]
    pub(crate) fn spend(&mut self, ns: u64) {
        self.left_ns -= ns as i64;
    }

    /// Pays for `bytes` bytes, at the price for 1,024 of them.
    #[inline]
    pub(crate) fn spend_bytes(&mut self, bytes: usize, price_of_kib: u64) {
        self.spend(price_of_bytes(bytes, price_of_kib));
    }

    /// Whether the phase has to end.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.left_ns <= 0
    }

    /// The work that is left, for callers that measure how much a step took.
    pub(crate) fn left_ns(&self) -> i64 {
        self.left_ns
    }

    /// Begins the share of one connection that is read.
    pub(crate) fn begin_quantum(&mut self) {
        self.quantum_end_ns = (self.left_ns - READ_QUANTUM_NS as i64).max(0);
    }

    /// Whether it is the turn of another connection.
    #[inline]
    pub(crate) fn is_quantum_spent(&self) -> bool {
        self.left_ns <= self.quantum_end_ns
    }

    /// The phase, if it has to end although `more` waits.
    pub(crate) fn cut(&self, more: bool) -> Option<TurnPhase> {
        (more && self.is_spent()).then_some(self.phase)
    }
}

/// The price of `bytes` bytes, given the price for 1,024.
#[inline]
pub(crate) fn price_of_bytes(bytes: usize, price_of_kib: u64) -> u64 {
    (bytes as u64 * price_of_kib) >> 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_has_its_share_and_what_was_left_and_pays_no_debt() {
        let mut work = Work::default();
        work.begin_turn();
        work.begin(TurnPhase::Mail);
        work.spend(MAIL_WORK_NS / 2);
        assert!(!work.is_spent());
        work.begin(TurnPhase::Read);
        assert_eq!(work.left_ns(), (MAIL_WORK_NS / 2 + READ_WORK_NS) as i64);
        work.spend(100 * READ_WORK_NS);
        assert!(work.is_spent());
        work.begin(TurnPhase::Deliver);
        assert_eq!(work.left_ns(), DELIVER_WORK_NS as i64);
        work.begin_turn();
        work.begin(TurnPhase::Mail);
        assert_eq!(work.left_ns(), MAIL_WORK_NS as i64);
    }

    #[test]
    fn a_connection_has_a_quantum_of_the_reading() {
        let mut work = Work::default();
        work.begin(TurnPhase::Read);
        work.begin_quantum();
        work.spend(READ_QUANTUM_NS - 1);
        assert!(!work.is_quantum_spent());
        work.spend(1);
        assert!(work.is_quantum_spent() && !work.is_spent());
        work.spend(READ_WORK_NS);
        work.begin_quantum();
        assert!(work.is_quantum_spent(), "nothing is left for anybody");
    }

    #[test]
    fn a_phase_is_cut_if_something_waits_when_it_ends() {
        let mut work = Work::default();
        work.begin(TurnPhase::Flush);
        assert_eq!(work.cut(true), None, "something is left");
        work.spend(FLUSH_WORK_NS);
        assert_eq!(work.cut(false), None, "nothing waits");
        assert_eq!(work.cut(true), Some(TurnPhase::Flush));
    }
}
