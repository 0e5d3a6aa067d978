//! What happened, in words: the pattern behind the counts, and whose doing it is.

use serde::{Deserialize, Serialize};

/// Something that explains what was counted, or says what could not be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// Whose doing.
    pub culprit: Culprit,
    /// One sentence for people.
    pub text: String,
    /// When it began, in milliseconds after the begin of the measurement, negative in the warm-up;
    /// absent where it has no time.
    pub at_ms: Option<f64>,
}

/// Whose doing something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Culprit {
    /// The relay's, or that of what lies between.
    Relay,
    /// The generator's.
    Generator,
    /// The relay does something else than the options say; either may be meant.
    Options,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Nobody was left who reads, or nobody who publishes: the run ended early.
    RelayGone,
    /// A run of several could not connect: there are fewer than were asked for.
    NotRun,
    /// Some clients lost their connections.
    Disconnected,
    /// The relay closed with 1008, or with a code of its own from 4000 on: it may not let them in.
    AccessDenied,
    /// The relay broke the protocol.
    ProtocolError,
    /// Messages were sent for a second or longer, and nothing arrived.
    Stalled,
    /// At the end deliveries were awaited in vain; they may have come later.
    DrainGaveUp,
    /// The relay took no more messages.
    HeldBack,
    /// Some clients heard nothing from some time on, and what they published reached nobody.
    PartDead,
    /// Some clients heard nothing from some time on.
    ClientsSilent,
    /// Nothing of some publishers arrived anywhere.
    PublishersLost,
    /// Clients fall into groups that hear themselves and not each other.
    Split,
    /// Publishers do not get their own messages, and should.
    NoEcho,
    /// Publishers get their own messages, and should not.
    Echo,
    /// Only the publisher gets its messages.
    OnlyEcho,
    /// Nothing came back at all.
    NothingCame,
    /// Messages arrived in rooms that they were not sent to.
    WrongRoom,
    /// Deliveries come in batches, as from something that buffers.
    Batched,
    /// Connections that were to be replaced were not.
    ChurnMissed,
    /// The metrics could not be read at the end.
    NoMetrics,
    /// The generator itself stood still, or handled data late.
    GeneratorHeldUp,
    /// A bound of the generator cut something off.
    Clamped,
}
