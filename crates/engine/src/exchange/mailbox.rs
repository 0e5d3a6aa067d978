//! A mailbox: the bounded lock-free queue from one participant to another.
//!
//! Mail counts against the bound until the receiver has delivered it, so that frames that wait for
//! an earlier ticket fill the mailbox that they came from and no other. Nothing blocks here: a
//! sender whose batch does not fit keeps it, announces that with [`Mailbox::blocked`], and is woken
//! when there is room.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};
use crossbeam_utils::CachePadded;

use super::sleep::SleepFlag;
use crate::fanout::batch::{Batch, Run};
use crate::fanout::room::EndpointId;
use crate::limits::{MAILBOX_BATCHES_MAX, MAILBOX_BYTES_MAX};

/// A message of an endpoint to itself on another shard.
#[derive(Clone)]
pub(crate) struct EndpointMail {
    pub(crate) endpoint: EndpointId,
    /// A value of the endpoint's own type.
    pub(crate) mail: Arc<dyn Any + Send + Sync>,
}

/// A message from one shard to another.
#[derive(Clone)]
pub(crate) enum Mail {
    /// Frames for the receiver's members.
    Batch(Arc<Batch>),
    /// A message of an endpoint.
    Endpoint(EndpointMail),
    /// The last mail: the sender has stopped reading.
    Stop,
}

impl Mail {
    fn bytes(&self) -> usize {
        match self {
            Mail::Batch(batch) => batch.bytes,
            Mail::Endpoint(_) | Mail::Stop => 0,
        }
    }

    pub(crate) fn runs(&self) -> &[Run] {
        match self {
            Mail::Batch(batch) => &batch.runs,
            Mail::Endpoint(_) | Mail::Stop => &[],
        }
    }
}

/// The queue from one shard to another.
pub(crate) struct Mailbox {
    sender: Sender<Mail>,
    receiver: Receiver<Mail>,
    /// Mail that was pushed and is not yet released.
    mails: CachePadded<AtomicUsize>,
    bytes: AtomicUsize,
    mails_max: usize,
    bytes_max: usize,
    /// Set by a sender whose batch does not fit.
    pub(crate) blocked: SleepFlag,
    /// The receiver has ended: mail that is pushed is discarded.
    is_closed: AtomicBool,
}

impl Mailbox {
    pub(crate) fn new() -> Mailbox {
        Mailbox::bounded(MAILBOX_BATCHES_MAX, MAILBOX_BYTES_MAX)
    }

    pub(crate) fn bounded(mails_max: usize, bytes_max: usize) -> Mailbox {
        let (sender, receiver) = crossbeam_channel::bounded(mails_max);
        Mailbox {
            sender,
            receiver,
            mails: CachePadded::default(),
            bytes: AtomicUsize::new(0),
            mails_max,
            bytes_max,
            blocked: SleepFlag::default(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Pushes `mail`, or returns it if it does not fit. An empty mailbox takes any single batch.
    /// Only the sending shard calls this, so the counts that it reads can only shrink meanwhile.
    pub(crate) fn push(&self, mail: Mail) -> Result<(), Mail> {
        if self.lacks_room_for(mail.bytes()) {
            // A receiver that has ended will never make room.
            return if self.is_closed() { Ok(()) } else { Err(mail) };
        }
        self.reserve(mail.bytes());
        self.sender.try_send(mail).map_err(|refused| {
            debug_assert!(false, "a mailbox below its bound took no mail");
            refused.into_inner()
        })
    }

    #[inline]
    fn lacks_room_for(&self, bytes: usize) -> bool {
        let mails = self.mails.load(Ordering::Acquire);
        let bytes = self.bytes.load(Ordering::Relaxed) + bytes;
        mails > 0 && (mails >= self.mails_max || bytes > self.bytes_max)
    }

    /// Whether mail of `bytes` bytes would fit now. If not, the sender is announced as blocked, as
    /// by [`Mailbox::push_all`].
    pub(super) fn takes(&self, bytes: usize) -> bool {
        let takes = |mailbox: &Mailbox| !mailbox.lacks_room_for(bytes) || mailbox.is_closed();
        if !takes(self) {
            self.blocked.announce();
            if !takes(self) {
                return false;
            }
        }
        if self.blocked.is_announced() {
            self.blocked.withdraw();
        }
        true
    }

    /// Marks the receiver as ended. The caller then has to fence, to discard what was pushed, and
    /// to wake senders that are blocked.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Whether the receiver has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Pushes the mail in `unsent`, in order, as far as it fits. If some is left, the sender is
    /// announced as blocked. Returns whether any was pushed.
    pub(crate) fn push_all(&self, unsent: &mut VecDeque<Mail>) -> bool {
        let mut has_pushed = false;
        let mut has_announced = false;
        while let Some(mail) = unsent.pop_front() {
            match self.push(mail) {
                Ok(()) => has_pushed = true,
                Err(mail) => {
                    unsent.push_front(mail);
                    if has_announced {
                        return has_pushed;
                    }
                    // Try once more after the announcement: the receiver may have made room just
                    // before it, and would then not wake us.
                    self.blocked.announce();
                    has_announced = true;
                }
            }
        }
        if has_announced {
            self.blocked.withdraw();
        }
        has_pushed
    }

    fn reserve(&self, bytes: usize) {
        self.mails.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether it has reached its bound.
    pub(crate) fn is_full(&self) -> bool {
        self.mails.load(Ordering::Relaxed) >= self.mails_max
            || self.bytes.load(Ordering::Relaxed) > self.bytes_max
    }

    /// Removes the next mail, which counts until it is released.
    pub(crate) fn pop(&self) -> Option<Mail> {
        self.receiver.try_recv().ok()
    }

    /// Mail that was not taken.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.receiver.len()
    }

    /// Whether no mail waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Mail that was pushed and not yet released, including mail that waits for a ticket.
    pub(crate) fn depth(&self) -> usize {
        self.mails.load(Ordering::Relaxed)
    }

    fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.mails.fetch_sub(1, Ordering::Release);
    }
}

/// Releases a mail from its mailbox when it is dropped: at once if everything in it was delivered,
/// or with the last run that had to wait.
pub(crate) struct Credit {
    mailbox: Arc<Mailbox>,
    bytes: usize,
}

impl Credit {
    /// The credit of mail that was taken from `mailbox`.
    pub(crate) fn new(mailbox: &Arc<Mailbox>, mail: &Mail) -> Credit {
        Credit {
            mailbox: Arc::clone(mailbox),
            bytes: mail.bytes(),
        }
    }

    /// Counts `mail` in `mailbox` without pushing it.
    pub(crate) fn reserve(mailbox: &Arc<Mailbox>, mail: &Mail) -> Credit {
        mailbox.reserve(mail.bytes());
        Credit::new(mailbox, mail)
    }
}

impl Credit {
    /// Whether it belongs to this mailbox.
    pub(super) fn is_of(&self, mailbox: &Arc<Mailbox>) -> bool {
        Arc::ptr_eq(&self.mailbox, mailbox)
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.mailbox.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::batch::BatchBuilder;

    fn mail(bytes: usize) -> Mail {
        let mut batch = BatchBuilder::new(Arc::default()).seal();
        batch.bytes = bytes;
        Mail::Batch(Arc::new(batch))
    }

    #[test]
    fn an_empty_mailbox_takes_any_one_batch() {
        let mailbox = Mailbox::new();
        assert!(mailbox.push(mail(MAILBOX_BYTES_MAX * 2)).is_ok());
        assert!(mailbox.push(mail(1)).is_err());
    }

    #[test]
    fn mail_that_waits_for_a_ticket_fills_its_mailbox() {
        let mailbox = Arc::new(Mailbox::new());
        let mut credits = Vec::new();
        for _ in 0..MAILBOX_BATCHES_MAX {
            assert!(mailbox.push(mail(1)).is_ok());
            let popped = mailbox.pop().unwrap();
            credits.push(Credit::new(&mailbox, &popped));
        }
        assert!(mailbox.is_empty());
        assert!(mailbox.push(mail(1)).is_err());
        credits.pop();
        assert!(mailbox.push(mail(1)).is_ok());
        assert_eq!(mailbox.depth(), MAILBOX_BATCHES_MAX);
    }
}
