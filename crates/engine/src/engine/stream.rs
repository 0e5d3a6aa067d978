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
    /// Registers for both readiness edges, once for the life of the connection.
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

    /// One `send`. It bypasses the C library, whose `send` is a cancellation point of POSIX
    /// threads: in a process with several threads that costs more than everything else that a send
    /// does outside the kernel.
    ///
    /// It is inlined, and so are its callers, up to the loop over connections. A return from a
    /// function that has made a system call is mispredicted, because the kernel's calls have
    /// replaced ours in the processor's stack of return addresses. If the kernel guards its own
    /// returns as well (safe RET, on AMD's Zen), each later system call takes a fifth longer from
    /// end to end. Instruction counts do not show this: `scripts/bench --against` does.
    #[inline(always)]
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let socket = match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        };
        Ok(send(socket, bytes, SendFlags::NOSIGNAL)?)
    }

    /// One `writev`, inlined for the same reasons.
    #[inline(always)]
    pub(crate) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let socket = match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        };
        Ok(writev(socket, slices)?)
    }

    /// Acknowledges received data now (`TCP_QUICKACK`) if the kernel delays that: it waits up to 40
    /// ms for data to send with the acknowledgement, and a client with Nagle's algorithm sends
    /// nothing more before it arrives (RFC 1122 §4.2.3.4). It applies only to data that has arrived
    /// already. Does nothing on systems other than Linux.
    pub(crate) fn acknowledge(&self) {
        #[cfg(target_os = "linux")]
        if let Stream::Tcp(stream) = self {
            // If this fails, the acknowledgement comes later, as it would have anyway.
            let _ = rustix::net::sockopt::set_tcp_quickack(stream, true);
        }
    }

    /// Tells the client that nothing follows. Data that it still sends can be read.
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
