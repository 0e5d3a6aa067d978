//! Listening sockets: one of every shard for each address, with SO_REUSEPORT.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use super::settings::Settings;
use crate::limits::LISTEN_BACKLOG;

/// What the kernel may hold unsent for one connection before a send would block: the rest stays in
/// the outbox, where the policy for slow clients can act on it.
const NOTSENT_LOWAT_BYTES: u32 = 128 * 1024;

/// How long sent data may stay unacknowledged before the kernel gives a client up.
const USER_TIMEOUT: Duration = Duration::from_secs(60);

/// Binds `address` for every one of `shards` shards. The first bind goes without SO_REUSEPORT, so
/// that a second relay on the same port is an error and not a silent split.
pub(crate) fn bind(
    address: SocketAddr,
    shards: usize,
    settings: &Settings,
) -> io::Result<Vec<TcpListener>> {
    drop(socket(address, false)?);
    let first = listen(address, settings)?;
    let bound = first.local_addr()?;
    let others = (1..shards).map(|_| listen(bound, settings));
    std::iter::once(Ok(first)).chain(others).collect()
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
