//! Management of a relay (NIP-86): calls, and the state that they change.
//!
//! A [`Call`] is the method and its parameters as they came. A [`Request`] is a call that the relay
//! itself carries out, parsed in full. A [`Change`] becomes a [`Note`] of the store, and
//! [`Moderation`] is made of these notes alone, so that a restart ends in the same state.

mod call;
mod hidden;
mod moderation;
mod note;

pub use self::call::{Call, Change, List, METHODS, Methods, RelayText, Request};
pub use self::hidden::Hidden;
pub use self::moderation::{Forbidden, Moderation};
pub use self::note::{Note, NoteError};
