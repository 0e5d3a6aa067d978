//! Listening sockets: for TCP one of every shard for each address, with SO_REUSEPORT; a Unix socket
//! is there once, polled by the first shard.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::settings::{ListenAddress, Settings};
use super::stream::Stream;
use crate::limits::LISTEN_BACKLOG;

/// What the kernel may hold unsent for one connection before a send would block: the rest stays in
/// the outbox, where the policy for slow clients can act on it.
const NOTSENT_LOWAT_BYTES: u32 = 128 * 1024;

/// How long sent data may stay unacknowledged before the kernel gives a client up.
const USER_TIMEOUT: Duration = Duration::from_secs(60);

/// A listening socket.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => registry.register(listener, token, Interest::READABLE),
            Listener::Unix(listener) => registry.register(listener, token, Interest::READABLE),
        }
    }

    /// The next connection, and the client's address: the unspecified one for a Unix socket, whose
    /// clients have none.
    pub(crate) fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok((Stream::Tcp(stream), peer))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                Ok((Stream::Unix(stream), UNIX_PEER))
            }
        }
    }

    /// Where it listens, where that is TCP.
    pub(crate) fn tcp_address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Some),
            Listener::Unix(_) => Ok(None),
        }
    }
}

/// Stands for the address of a client that came by a Unix socket.
const UNIX_PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

/// Listens on `address`: TCP for every one of `shards` shards, else once.
pub(crate) fn bind(
    address: &ListenAddress,
    shards: usize,
    settings: &Settings,
) -> io::Result<Vec<Listener>> {
    match address {
        ListenAddress::Tcp(address) => bind_tcp(*address, shards, settings),
        ListenAddress::Unix(path) => Ok(vec![Listener::Unix(UnixListener::bind(path)?)]),
    }
}

/// The first bind goes without SO_REUSEPORT, so that a second relay on the same port is an error
/// and not a silent split.
fn bind_tcp(address: SocketAddr, shards: usize, settings: &Settings) -> io::Result<Vec<Listener>> {
    drop(socket(address, false)?);
    let first = listen(address, settings)?;
    let bound = first.local_addr()?;
    let others = (1..shards).map(|_| listen(bound, settings));
    let all = std::iter::once(Ok(first)).chain(others);
    all.map(|listener| listener.map(Listener::Tcp)).collect()
}

fn socket(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // `::` means every address of the machine, as people expect; `0.0.0.0` is IPv4 alone.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen(address: SocketAddr, settings: &Settings) -> io::Result<TcpListener> {
    let socket = socket(address, true)?;
    // Accepted sockets inherit these on Linux, which saves the calls for each connection.
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        socket.set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES)?;
    }
    if let Some(bytes) = settings.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    socket.set_nonblocking(true)?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}
