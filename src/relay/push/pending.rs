//! A pending push, as it is stored and as it is listed.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::order::push_json_text;

/// The memory that is accounted for a push in addition to its texts, in bytes.
const PENDING_OVERHEAD_BYTES: usize = 200;

/// A pending push.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    /// Its number, which is never reused. It is the key in the journal.
    #[serde(skip)]
    pub(super) id: u64,
    /// When it is to be sent, in milliseconds since 1970 (UTC).
    pub(super) due_ms: u64,
    pub(super) event_name: Box<str>,
    pub(super) subject: Box<RawValue>,
    pub(super) token: Box<RawValue>,
    /// `None`: all clients.
    pub(super) user: Option<Box<str>>,
}

impl Pending {
    /// The memory that is accounted for it.
    pub(super) fn bytes(&self) -> usize {
        let user = self.user.as_ref().map_or(0, |user| user.len());
        let texts = self.event_name.len() + self.subject.get().len() + self.token.get().len();
        PENDING_OVERHEAD_BYTES + texts + user
    }

    /// Appends its entry in a list, which omits the subject.
    pub(super) fn append_to(&self, out: &mut String) {
        let Pending { id, due_ms, .. } = self;
        let _ = write!(out, "{{\"id\":\"{id}\",\"due_ms\":{due_ms},\"event_name\":");
        push_json_text(out, &self.event_name);
        out.push_str(",\"target_user_id\":");
        push_json_text(out, self.user.as_deref().unwrap_or_default());
        let is_broadcast = self.user.is_none();
        let _ = write!(out, ",\"broadcast\":{is_broadcast}}}");
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A push with this number.
    pub(in crate::relay::push) fn pending(id: u64) -> Pending {
        let json = |text: &str| RawValue::from_string(text.to_owned()).expect("JSON");
        Pending {
            id,
            due_ms: id * 1_000,
            event_name: format!("event \"{id}\"").into(),
            subject: json("{ \"a\" : 1.50e1 }"),
            token: json("null"),
            user: id.is_multiple_of(2).then(|| "ada".into()),
        }
    }
}
