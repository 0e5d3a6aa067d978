//! A connection's socket.

use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::io::writev;
use rustix::net::{SendFlags, send};

/// A connection's socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Registers for both readiness edges: once, and never again.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            Stream::Tcp(stream) => registry.register(stream, token, both),
            Stream::Unix(stream) => registry.register(stream, token, both),
        }
    }

    /// One `recv`.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }

    /// One `send`. It goes past the C library, whose own is a cancellation point of POSIX threads:
    /// that costs a process with several of them more than all else that a send does outside the
    /// kernel.
    ///
    /// It is inlined, and so is what calls it, up to the loop over connections. A return from a
    /// function that has made a system call is mispredicted, because the kernel's calls have
    /// replaced ours in the processor's stack of return addresses; and where the kernel guards its
    /// own returns (safe RET, on AMD's Zen), each system call after that takes a fifth longer from
    /// end to end. No count of instructions shows it: `scripts/bench --against` does.
    #[inline(always)]
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let socket = match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        };
        Ok(send(socket, bytes, SendFlags::NOSIGNAL)?)
    }

    /// One `writev`, likewise.
    #[inline(always)]
    pub(crate) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let socket = match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        };
        Ok(writev(socket, slices)?)
    }

    /// Has what came acknowledged now (`TCP_QUICKACK`), where that is put off: the kernel waits up
    /// to 40 ms for data to send it with, and a client with Nagle's algorithm sends nothing more
    /// before (RFC 1122 §4.2.3.4). It holds for what has come alone. Elsewhere than on Linux
    /// nothing happens.
    pub(crate) fn acknowledge(&self) {
        #[cfg(target_os = "linux")]
        if let Stream::Tcp(stream) = self {
            // Without it the acknowledgement comes later, as it would have.
            let _ = rustix::net::sockopt::set_tcp_quickack(stream, true);
        }
    }

    /// Says to the client that nothing follows. What it still sends can be read.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl From<Stream> for OwnedFd {
    fn from(stream: Stream) -> OwnedFd {
        match stream {
            Stream::Tcp(stream) => stream.into(),
            Stream::Unix(stream) => stream.into(),
        }
    }
}
