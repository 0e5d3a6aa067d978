//! Rooms, batches and outboxes, which turn one message in into many out, without sockets or a
//! clock.
//!
//! A shard gathers what its connections publish in a turn in a [`batch::BatchBuilder`], seals it,
//! takes tickets ([`tickets::Tickets`]) and hands the [`batch::Batch`] to every shard that has
//! members. There a [`local_room::LocalRoom`] puts the runs in ticket order and gives each member's
//! [`outbox::Outbox`] a slice of the shared buffer, a bounded number of members in each
//! [pass](pass::deliver_pass).

pub mod batch;
pub mod bodies;
pub mod bundle;
pub mod directory;
mod live;
pub mod local_room;
pub mod meter;
pub mod outbox;
pub mod pass;
pub mod room;
pub mod segment;
pub mod shared_body;
pub mod tickets;

use std::any::Any;
use std::sync::Arc;

use crate::peer::Peer;

/// The id of a connection, unique in the life of the process: the shard that owns it, its slot
/// there, and a generation that distinguishes it from earlier connections in the same slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionId {
    /// The connection's slot in its shard's slab.
    pub index: u32,
    /// Distinguishes the connections that had this slot.
    pub generation: u32,
    /// The shard that owns the connection.
    pub shard: u16,
}

impl std::fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.shard, self.index, self.generation)
    }
}

/// The text is not the id of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("is not a connection id")]
pub struct ConnectionIdError;

impl std::str::FromStr for ConnectionId {
    type Err = ConnectionIdError;

    /// Parses the displayed form: shard, slot and generation.
    fn from_str(text: &str) -> Result<ConnectionId, ConnectionIdError> {
        let mut parts = text.split('-');
        let mut part = || parts.next().ok_or(ConnectionIdError);
        let (shard, index, generation) = (part()?, part()?, part()?);
        let id = ConnectionId {
            shard: shard.parse().map_err(|_| ConnectionIdError)?,
            index: index.parse().map_err(|_| ConnectionIdError)?,
            generation: generation.parse().map_err(|_| ConnectionIdError)?,
        };
        // Each id has exactly one form: no signs, no leading zeros, nothing behind it.
        match id.to_string() == text {
            true => Ok(id),
            false => Err(ConnectionIdError),
        }
    }
}

/// A member of a room, as a [`Filter`] sees it.
#[non_exhaustive]
pub struct Recipient<'a> {
    /// The member.
    pub id: ConnectionId,
    /// The member's address.
    pub peer: Peer,
    /// The state that its endpoint keeps for the member.
    pub(crate) state: Option<&'a (dyn Any + Send)>,
    /// Values that hooks and others attached to the member, one of each type.
    pub(crate) attachments: &'a [Box<dyn Any + Send>],
}

impl Recipient<'_> {
    /// The state that its endpoint keeps for the member, if it has this type. The members of a room
    /// may belong to several endpoints.
    pub fn state<T: Any>(&self) -> Option<&T> {
        self.state?.downcast_ref()
    }

    /// The attached value of this type.
    pub fn attached<T: Any>(&self) -> Option<&T> {
        self.attachments.iter().find_map(|each| each.downcast_ref())
    }
}

/// Decides for each member whether it gets a frame: `true` means that it does. Called on the
/// member's own shard, once for each frame and member, so it has to be fast.
pub type Filter = Arc<dyn Fn(&Recipient<'_>) -> bool + Send + Sync>;

/// The members that get a frame.
#[derive(Clone, Default)]
pub enum Recipients {
    /// Every member of the room.
    #[default]
    All,
    /// Every member but this connection.
    Except(ConnectionId),
    /// The members for which the filter returns true.
    If(Filter),
}

impl Recipients {
    /// Whether both are certain to be the same members. A filter never is: it is asked about each
    /// frame and may answer differently for the next one.
    #[inline]
    pub(crate) fn are_surely(&self, others: &Recipients) -> bool {
        match (self, others) {
            (Recipients::All, Recipients::All) => true,
            (Recipients::Except(sender), Recipients::Except(other)) => sender == other,
            _ => false,
        }
    }

    /// Those of these members for which `filter` returns true as well.
    pub fn only(self, filter: Filter) -> Recipients {
        match self {
            Recipients::All => Recipients::If(filter),
            Recipients::Except(sender) => {
                Recipients::If(Arc::new(move |each| each.id != sender && filter(each)))
            }
            Recipients::If(first) => {
                Recipients::If(Arc::new(move |each| first(each) && filter(each)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_parse_only_in_their_displayed_form() {
        let id = ConnectionId {
            shard: 3,
            index: 12,
            generation: 4_000_000_000,
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in [
            "",
            "3",
            "3-12",
            "3-12-4-5",
            "+3-1-1",
            "03-1-1",
            "3-1-1 ",
            "70000-1-1",
            "a-b-c",
        ] {
            assert_eq!(
                text.parse::<ConnectionId>(),
                Err(ConnectionIdError),
                "{text}"
            );
        }
    }
}
