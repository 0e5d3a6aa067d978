//! The state that the exchanges of a process share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::mailbox::{Credit, Mailbox};
use super::wake::Sleeper;
use crate::fanout::directory::Directory;
use crate::fanout::segment::LiveBytes;
use crate::sync::fence;

/// The directory, and a mailbox for each pair of participants. The participants are the shards,
/// followed by the ports.
pub(crate) struct Interconnect {
    pub(crate) directory: Directory,
    /// The bytes of buffers and batches.
    pub(crate) live: Arc<LiveBytes>,
    sleepers: Box<[Sleeper]>,
    /// The mailbox from participant `from` to participant `to` is at `from * participants + to`.
    mailboxes: Box<[Arc<Mailbox>]>,
    /// The shards have ended, so no more mail will come.
    has_ended: AtomicBool,
}

impl Interconnect {
    /// Builds it for one participant per sleeper.
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
            has_ended: AtomicBool::new(false),
        }
    }

    pub(crate) fn participants(&self) -> u16 {
        self.sleepers.len() as u16
    }

    pub(super) fn mailbox(&self, from: u16, to: u16) -> &Arc<Mailbox> {
        &self.mailboxes[usize::from(from) * self.sleepers.len() + usize::from(to)]
    }

    /// The mailboxes to a participant.
    fn mailboxes_to(&self, to: u16) -> impl Iterator<Item = (u16, &Arc<Mailbox>)> {
        (0..self.participants()).map(move |from| (from, self.mailbox(from, to)))
    }

    /// The number of mails that wait for a participant, in all its mailboxes together.
    pub(crate) fn mailbox_depth(&self, to: u16) -> usize {
        let mailboxes = self.mailboxes_to(to);
        mailboxes.map(|(_, mailbox)| mailbox.depth()).sum()
    }

    pub(crate) fn sleeper(&self, participant: u16) -> &Sleeper {
        &self.sleepers[usize::from(participant)]
    }

    /// Wakes a participant if it sleeps. Called after something was left for it. Returns whether it
    /// had to be woken.
    pub(crate) fn wake(&self, participant: u16) -> bool {
        let sleeper = self.sleeper(participant);
        let asleep = sleeper.sleeping.must_wake();
        if asleep {
            // A closed participant is announced as asleep after it was marked as closed, so a
            // thread that finds it asleep must see the mark.
            fence(Ordering::Acquire);
            match self.is_closed(participant) {
                true => self.discard_mail(participant),
                false => sleeper.rouse(),
            }
        }
        asleep
    }
}

/// Participants that leave while the others go on.
impl Interconnect {
    /// Whether [`Interconnect::close`] was called for it.
    pub(super) fn is_closed(&self, participant: u16) -> bool {
        self.mailbox(participant, participant).is_closed()
    }

    /// Closes a participant: mail that waits for it or is pushed from now on is discarded, so it no
    /// longer holds up the others. It is woken, and finds that it is closed.
    pub(crate) fn close(&self, participant: u16) {
        for (_, mailbox) in self.mailboxes_to(participant) {
            mailbox.close();
        }
        fence(Ordering::SeqCst);
        let sleeper = self.sleeper(participant);
        let was_asleep = sleeper.sleeping.must_wake();
        self.discard_mail(participant);
        if was_asleep {
            sleeper.rouse();
        }
    }

    /// Discards the mail of a closed participant, and announces it as asleep. A sender that pushes
    /// mail to it is then told to wake it, and discards the mail instead. So pushing costs the same
    /// whether or not a participant is closed, and no mail stays that was pushed while the mailbox
    /// was being closed.
    fn discard_mail(&self, participant: u16) {
        self.sleeper(participant).sleeping.announce();
        for (from, mailbox) in self.mailboxes_to(participant) {
            while let Some(mail) = mailbox.pop() {
                drop(Credit::new(mailbox, &mail));
            }
            if mailbox.blocked.must_wake() {
                self.wake(from);
            }
        }
    }

    /// Whether another participant waits for this one to take mail.
    pub(crate) fn blocks_others(&self, participant: u16) -> bool {
        let mut mailboxes = self.mailboxes_to(participant);
        mailboxes.any(|(_, mailbox)| mailbox.blocked.is_announced())
    }

    /// Records that the `shards` shards have ended, and wakes the ports.
    pub(crate) fn end(&self, shards: u16) {
        self.has_ended.store(true, Ordering::Release);
        for port in shards..self.participants() {
            self.wake(port);
        }
    }

    /// Whether the shards have ended.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }
}
