//! Listening sockets. Each shard has one for every TCP address, with SO_REUSEPORT. Unix sockets and
//! inherited sockets exist once; the first shard polls them and hands connections over.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::engine::settings::{Listen, ListenAddress, Settings};
use crate::engine::start_error::StartError;
use crate::engine::stream::Stream;
use crate::limits::LISTEN_BACKLOG;
use crate::peer::Peer;

/// The unsent bytes that the kernel may hold for a connection before a send blocks. The rest stays
/// in the outbox, where the policy for slow clients applies. Other systems keep their defaults.
#[cfg(target_os = "linux")]
const NOTSENT_LOWAT_BYTES: u32 = 128 * 1024;

/// How long sent data may stay unacknowledged before the kernel drops the connection.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// A listening socket.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// If the file is ours, it is removed with the listener.
        _file: Option<SocketFile>,
    },
}

impl Listener {
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => registry.register(listener, token, Interest::READABLE),
            Listener::Unix { listener, .. } => {
                registry.register(listener, token, Interest::READABLE)
            }
        }
    }

    /// Whether a connection waits to be accepted. `accept` cannot tell if no file descriptor is
    /// free.
    pub(crate) fn has_waiting(&self) -> bool {
        let socket = match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix { listener, .. } => listener.as_fd(),
        };
        let mut sockets = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
        poll(&mut sockets, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// The next connection, and the client's address. Clients of a Unix socket have none, so theirs
    /// is the unspecified address.
    pub(crate) fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                // A socket for both families reports IPv4 clients with mapped addresses.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                Ok((Stream::Tcp(stream), Peer::Ip(peer)))
            }
            Listener::Unix { listener, .. } => {
                let (stream, _) = listener.accept()?;
                Ok((Stream::Unix(stream), Peer::Unix))
            }
        }
    }
}

/// A listening socket that the service manager or the process before this one opened. It exists
/// once, and the first shard polls it.
#[derive(Debug)]
pub enum Inherited {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A Unix socket. Its file is not ours to remove.
    Unix(std::os::unix::net::UnixListener),
}

/// A listener that is ready to be polled.
pub(super) struct Bound {
    pub(super) listener: Listener,
    /// Its clients speak TLS.
    pub(super) tls: bool,
    /// Another process holds it too, so connections in its queue are not lost when we end.
    pub(super) is_inherited: bool,
}

/// The listeners of each shard, and their addresses, with the ports that were chosen for 0.
pub(super) struct Listeners {
    pub(super) of_shards: Vec<Vec<Bound>>,
    pub(super) places: Vec<Listen>,
}

impl Listeners {
    pub(super) fn new(shards: usize) -> Listeners {
        Listeners {
            of_shards: (0..shards).map(|_| Vec::new()).collect(),
            places: Vec::new(),
        }
    }

    /// Opens a listener: one for each shard if it is TCP, otherwise one for the first.
    pub(super) fn open(&mut self, listen: &Listen, settings: &Settings) -> Result<(), StartError> {
        let tls = listen.tls;
        let failed = |source| StartError::Listen {
            address: listen.address.clone(),
            source,
        };
        let (listeners, address) = match &listen.address {
            ListenAddress::Tcp(address) => {
                let bound = bind_tcp(*address, self.of_shards.len(), settings).map_err(failed)?;
                let first = bound.first().map(TcpListener::local_addr).transpose();
                let place = first.map_err(failed)?.unwrap_or(*address);
                let listeners: Vec<_> = bound.into_iter().map(Listener::Tcp).collect();
                (listeners, ListenAddress::Tcp(place))
            }
            ListenAddress::Unix(path) => {
                let (listener, file) = bind_unix(path, settings.unix_mode).map_err(failed)?;
                let _file = Some(file);
                let listener = Listener::Unix { listener, _file };
                (vec![listener], listen.address.clone())
            }
        };
        self.places.push(Listen { address, tls });
        for (shard, listener) in self.of_shards.iter_mut().zip(listeners) {
            shard.push(Bound {
                listener,
                tls,
                is_inherited: false,
            });
        }
        Ok(())
    }

    /// Adds an inherited listener, for the first shard.
    pub(super) fn inherit(
        &mut self,
        inherited: Inherited,
        tls: bool,
        settings: &Settings,
    ) -> io::Result<()> {
        let (listener, address) = match inherited {
            Inherited::Tcp(listener) => {
                configure(&SockRef::from(&listener), settings)?;
                listener.set_nonblocking(true)?;
                let address = ListenAddress::Tcp(listener.local_addr()?);
                (Listener::Tcp(TcpListener::from_std(listener)), address)
            }
            Inherited::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                let path = address.as_pathname().unwrap_or(Path::new("(inherited)"));
                let address = ListenAddress::Unix(path.to_path_buf());
                let listener = Listener::Unix {
                    listener: UnixListener::from_std(listener),
                    _file: None,
                };
                (listener, address)
            }
        };
        self.places.push(Listen { address, tls });
        if let Some(first) = self.of_shards.first_mut() {
            first.push(Bound {
                listener,
                tls,
                is_inherited: true,
            });
        }
        Ok(())
    }

    /// The TCP addresses of the listeners.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let places = self.places.iter();
        places
            .filter_map(|place| match place.address {
                ListenAddress::Tcp(address) => Some(address),
                ListenAddress::Unix(_) => None,
            })
            .collect()
    }
}

/// Binds without SO_REUSEPORT first, so that a second relay on the same port gets an error instead
/// of silently taking half of the connections.
fn bind_tcp(
    address: SocketAddr,
    shards: usize,
    settings: &Settings,
) -> io::Result<Vec<TcpListener>> {
    let only_v6 = settings.has_all_of_ipv4(address.port());
    drop(socket(address, only_v6, false)?);
    let first = listen(address, only_v6, settings)?;
    let bound = first.local_addr()?;
    let others = (1..shards).map(|_| listen(bound, only_v6, settings));
    std::iter::once(Ok(first)).chain(others).collect()
}

fn socket(address: SocketAddr, only_v6: bool, reuse_port: bool) -> io::Result<Socket> {
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
        // `::` includes IPv4, as people expect, unless `0.0.0.0` has a listener of its own on that
        // port. `0.0.0.0` is IPv4 alone.
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen(address: SocketAddr, only_v6: bool, settings: &Settings) -> io::Result<TcpListener> {
    let socket = socket(address, only_v6, true)?;
    configure(&SockRef::from(&socket), settings)?;
    socket.set_nonblocking(true)?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Sets options that accepted sockets inherit on Linux, which saves calls for each connection.
fn configure(socket: &SockRef<'_>, settings: &Settings) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        socket.set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES)?;
    }
    if let Some(bytes) = settings.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(())
}

/// The file of a Unix socket that we created, which is removed with the listener.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode, which show whether the file is still ours.
    identity: (u64, u64),
}

impl SocketFile {
    fn identity_of(path: &Path) -> io::Result<(u64, u64)> {
        let metadata = fs::symlink_metadata(path)?;
        Ok((metadata.dev(), metadata.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A successor may have replaced it already.
        let is_ours = SocketFile::identity_of(&self.path).is_ok_and(|now| now == self.identity);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket's file");
        }
    }
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile {
        path: path.to_path_buf(),
        identity: SocketFile::identity_of(path)?,
    };
    // Before a client can connect.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.set_nonblocking(true)?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok((UnixListener::from_std(socket.into()), file))
}

/// Removes the socket of a process that has ended. If the file is not a socket, or has a listener,
/// it stays and the bind fails.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Ok(()),
    }
}
