//! Findings in words: the pattern behind the counts, and who caused it.

use serde::{Deserialize, Serialize};

/// An explanation of the counts, or a fault that could not be counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The kind of finding.
    pub kind: FindingKind,
    /// The party that caused it.
    pub culprit: Culprit,
    /// One sentence for people.
    pub text: String,
    /// When it began, in milliseconds after the start of the measurement, negative in the warm-up;
    /// absent if it has no time.
    pub at_ms: Option<f64>,
}

/// The cause of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Culprit {
    /// The relay, or something between it and the generator.
    Relay,
    /// The generator.
    Generator,
    /// The relay does something other than the options say; either may be intended.
    Options,
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// No reader or no publisher was left: the run ended early.
    RelayGone,
    /// One of several runs could not connect: there are fewer runs than requested.
    NotRun,
    /// Some clients lost their connections.
    Disconnected,
    /// The relay closed with 1008, or with a code of its own from 4000 on: it may not admit these
    /// clients.
    AccessDenied,
    /// The relay broke the protocol.
    ProtocolError,
    /// Messages were sent for a second or longer, and nothing arrived.
    Stalled,
    /// The wait for the last deliveries timed out; they may have come later.
    DrainGaveUp,
    /// The relay accepted no more bytes.
    HeldBack,
    /// Some clients received nothing from some time on, and their own messages reached nobody.
    PartDead,
    /// Some clients received nothing from some time on.
    ClientsSilent,
    /// Nothing of some publishers arrived anywhere.
    PublishersLost,
    /// Clients form groups that receive only each other's messages.
    Split,
    /// Publishers do not get their own messages, but should.
    NoEcho,
    /// Publishers get their own messages, but should not.
    Echo,
    /// Only the publisher gets its messages.
    OnlyEcho,
    /// Nothing came back.
    NothingCame,
    /// Messages arrived in rooms that they were not sent to.
    WrongRoom,
    /// Deliveries come in batches, as if something buffers them.
    Batched,
    /// Connections that were due to be replaced were not.
    ChurnMissed,
    /// The metrics could not be read at the end.
    NoMetrics,
    /// The generator itself stopped, or handled data late.
    GeneratorHeldUp,
    /// A bound of the generator cut off values.
    Clamped,
}
