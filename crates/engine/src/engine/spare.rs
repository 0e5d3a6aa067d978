//! A spare file: a descriptor that is held open, so that one more is available when none is left.
//!
//! Closing it makes room for the socket of a client that waits to be accepted. Later that socket,
//! or another one, is turned into the spare file again. This happens in one step (`dup2`), so that
//! no other thread can take the descriptor in between.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A spare file, shared by the shards that may need it.
#[derive(Debug)]
pub(super) struct SpareFile {
    /// The spare file is a duplicate of this: a socket that is not connected.
    pattern: UnixDatagram,
    held: Mutex<Option<OwnedFd>>,
    is_spent: AtomicBool,
    turn: Mutex<()>,
}

impl SpareFile {
    /// # Errors
    ///
    /// No file descriptor is left.
    pub(super) fn open() -> io::Result<SpareFile> {
        let pattern = UnixDatagram::unbound()?;
        let held = pattern.try_clone()?;
        Ok(SpareFile {
            pattern,
            held: Mutex::new(Some(held.into())),
            is_spent: AtomicBool::new(false),
            turn: Mutex::default(),
        })
    }

    /// The right to spend it until the guard is dropped, for callers that give it back at once.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes it. Returns whether it was there, so that one descriptor is free now.
    pub(super) fn spend(&self) -> bool {
        let mut held = self.held();
        // Set before it is closed, so that a thread that gets the descriptor knows that it must
        // become the spare file again.
        self.is_spent.store(true, Ordering::SeqCst);
        held.take().is_some()
    }

    /// Whether it is spent at the moment.
    pub(super) fn is_spent(&self) -> bool {
        self.is_spent.load(Ordering::SeqCst)
    }

    /// Closes a socket. If the spare file is spent, the socket's descriptor becomes the spare file.
    pub(super) fn close(&self, mut socket: OwnedFd) {
        if !self.is_spent() {
            return;
        }
        let mut held = self.held();
        if held.is_none() && rustix::io::dup2(&self.pattern, &mut socket).is_ok() {
            self.put(&mut held, socket);
        }
    }

    /// Opens it again if it is spent and a descriptor is free. Returns whether it is there.
    pub(super) fn reopen(&self) -> bool {
        if !self.is_spent() {
            return true;
        }
        let mut held = self.held();
        if held.is_none()
            && let Ok(file) = self.pattern.try_clone()
        {
            self.put(&mut held, file.into());
        }
        held.is_some()
    }

    fn put(&self, held: &mut Option<OwnedFd>, file: OwnedFd) {
        *held = Some(file);
        self.is_spent.store(false, Ordering::SeqCst);
    }

    fn held(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn it_is_spent_once_and_comes_back() {
        let spare = SpareFile::open().expect("files");
        assert!(!spare.is_spent());
        assert!(spare.spend() && spare.is_spent());
        assert!(!spare.spend(), "it is not there");
        assert!(spare.reopen() && spare.reopen());
        assert!(!spare.is_spent() && spare.spend());
    }

    #[test]
    fn a_closed_socket_becomes_the_missing_spare_file() {
        let spare = SpareFile::open().expect("files");
        for is_spent in [false, true] {
            let (socket, mut peer) = UnixStream::pair().expect("sockets");
            peer.set_nonblocking(true).expect("a socket");
            let nothing_yet = peer.read(&mut [0]).expect_err("it is open");
            assert_eq!(nothing_yet.kind(), ErrorKind::WouldBlock);
            assert!(!is_spent || spare.spend());
            spare.close(socket.into());
            assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
            assert!(!spare.is_spent());
        }
    }
}
