//! Messages of synchronizations, for a [`Listener`].

use serde_json::Value;

use super::listener::{Listener, Turn, Verdict};
use super::sync::{Next, number_of};

impl Listener {
    /// Handles a message of a synchronization.
    pub(super) fn neg(&mut self, name: &str, hex: Option<&Value>, turn: &mut Turn<'_>) {
        let (Some(syncs), Some(number), Some(hex)) = (&turn.script.syncs, number_of(name), hex)
        else {
            turn.client.receiver.foreign += 1;
            return;
        };
        match self.syncing.take(syncs, turn.script.mask(), number, hex) {
            Next::Answer(frame) => turn.said.replies.extend(frame),
            Next::Over(frame, is_right) => {
                turn.said.replies.extend(frame);
                let verdict = if is_right {
                    Verdict::Right
                } else {
                    Verdict::Wrong
                };
                self.settle(number, verdict, turn);
            }
            Next::Wrong(reason) => {
                self.keep_text("NEG-MSG", &reason);
                self.settle(number, Verdict::Wrong, turn);
            }
        }
    }

    /// Handles a NEG-ERR.
    pub(super) fn neg_refused(&mut self, name: &str, reason: &str, turn: &mut Turn<'_>) {
        match number_of(name).filter(|_| turn.script.syncs.is_some()) {
            Some(number) => self.settle(number, Verdict::Refused(reason), turn),
            None => turn.client.receiver.foreign += 1,
        }
    }
}
