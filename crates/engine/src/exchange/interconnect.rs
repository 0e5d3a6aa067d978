//! What the exchanges of a process share.

use std::sync::Arc;

use super::mailbox::Mailbox;
use super::wake::Sleeper;
use crate::fanout::directory::Directory;
use crate::fanout::segment::LiveBytes;

/// The directory, and a mailbox from each shard to each.
pub(crate) struct Interconnect {
    pub(crate) directory: Directory,
    /// Bytes of buffers and batches.
    pub(crate) live: Arc<LiveBytes>,
    sleepers: Box<[Sleeper]>,
    /// From shard `from` to shard `to` at `from * shards + to`.
    mailboxes: Box<[Arc<Mailbox>]>,
}

impl Interconnect {
    /// For a shard each.
    pub(crate) fn new(sleepers: Vec<Sleeper>) -> Interconnect {
        Interconnect::with_mailboxes(sleepers, Mailbox::new)
    }

    pub(super) fn with_mailboxes(
        sleepers: Vec<Sleeper>,
        mailbox: impl Fn() -> Mailbox,
    ) -> Interconnect {
        let count = sleepers.len();
        Interconnect {
            directory: Directory::default(),
            live: Arc::default(),
            sleepers: sleepers.into(),
            mailboxes: (0..count * count).map(|_| Arc::new(mailbox())).collect(),
        }
    }

    pub(crate) fn shards(&self) -> u16 {
        self.sleepers.len() as u16
    }

    pub(super) fn mailbox(&self, from: u16, to: u16) -> &Arc<Mailbox> {
        &self.mailboxes[usize::from(from) * self.sleepers.len() + usize::from(to)]
    }

    /// Mails that wait for a shard in all its mailboxes together.
    pub(crate) fn mailbox_depth(&self, shard: u16) -> usize {
        let mailboxes = (0..self.shards()).map(|from| self.mailbox(from, shard));
        mailboxes.map(|mailbox| mailbox.depth()).sum()
    }

    pub(crate) fn sleeper(&self, shard: u16) -> &Sleeper {
        &self.sleepers[usize::from(shard)]
    }
}
