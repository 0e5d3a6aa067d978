//! One message in, many clients out: rooms, batches and outboxes, without sockets and without a
//! clock.
//!
//! A shard gathers what its connections publish in a turn in a [`batch::BatchBuilder`], seals it,
//! takes tickets ([`tickets::Tickets`]) and hands the [`batch::Batch`] to every shard that has
//! members. There a [`local_room::LocalRoom`] puts the runs in ticket order and gives each member's
//! [`outbox::Outbox`] a slice of the one buffer, a bounded number of members in each
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

/// A connection, for the life of the process: the shard that owns it, its place there, and a
/// generation that tells it from earlier connections in the same place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionId {
    /// The connection's place in its shard's slab.
    pub index: u32,
    /// Tells connections in one place apart.
    pub generation: u32,
    /// The shard that owns the connection.
    pub shard: u16,
}

impl std::fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.shard, self.index, self.generation)
    }
}

/// A text that is no id of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("is no id of a connection")]
pub struct ConnectionIdError;

impl std::str::FromStr for ConnectionId {
    type Err = ConnectionIdError;

    /// As it is displayed: shard, place and generation.
    fn from_str(text: &str) -> Result<ConnectionId, ConnectionIdError> {
        let mut parts = text.split('-');
        let mut part = || parts.next().ok_or(ConnectionIdError);
        let (shard, index, generation) = (part()?, part()?, part()?);
        let id = ConnectionId {
            shard: shard.parse().map_err(|_| ConnectionIdError)?,
            index: index.parse().map_err(|_| ConnectionIdError)?,
            generation: generation.parse().map_err(|_| ConnectionIdError)?,
        };
        // One id has one form: no signs, no zeros in front, nothing behind.
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
    /// Where the member is.
    pub peer: Peer,
    /// What its endpoint keeps for the member.
    pub(crate) state: Option<&'a (dyn Any + Send)>,
    /// What others keep for it: one value of each type.
    pub(crate) attachments: &'a [Box<dyn Any + Send>],
}

impl Recipient<'_> {
    /// What its endpoint keeps for the member, if it is of this type: a room may have members of
    /// several endpoints.
    pub fn state<T: Any>(&self) -> Option<&T> {
        self.state?.downcast_ref()
    }

    /// What is kept for the member beside the endpoint's state, of this type.
    pub fn attached<T: Any>(&self) -> Option<&T> {
        self.attachments.iter().find_map(|each| each.downcast_ref())
    }
}

/// Decides for each member whether it gets a frame: `true` lets it through. It is called on the
/// member's own shard, once for each frame and member, so it has to be quick.
pub type Filter = Arc<dyn Fn(&Recipient<'_>) -> bool + Send + Sync>;

/// Who gets a frame.
#[derive(Clone, Default)]
pub enum Recipients {
    /// Every member of the room.
    #[default]
    All,
    /// Every member but this connection.
    Except(ConnectionId),
    /// The members for which the filter says so.
    If(Filter),
}

impl Recipients {
    /// Whether both are the same members. A filter is asked about every frame, so it may say
    /// something else of the next one.
    #[inline]
    pub(crate) fn are_surely(&self, others: &Recipients) -> bool {
        match (self, others) {
            (Recipients::All, Recipients::All) => true,
            (Recipients::Except(sender), Recipients::Except(other)) => sender == other,
            _ => false,
        }
    }

    /// Of these, those for which `filter` says so as well.
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
    fn an_id_is_read_as_it_is_displayed_and_in_no_other_form() {
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
