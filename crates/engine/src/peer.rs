//! Where a client is.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Where a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// At an IP address: the connection's own, or the one that a trusted proxy names, whose port is
    /// 0 if the proxy does not tell it.
    Ip(SocketAddr),
    /// At a Unix socket: it has no address, and no limit for one address applies to it.
    Unix,
}

impl Peer {
    /// The IP address, if there is one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Peer::Ip(address) => Some(address.ip()),
            Peer::Unix => None,
        }
    }

    /// The address by which connections are counted if even a trusted proxy counts as one client.
    /// All Unix sockets together count as the unspecified address, which no client on a network
    /// has.
    pub(crate) fn counting_ip(self) -> IpAddr {
        self.ip().unwrap_or(Ipv6Addr::UNSPECIFIED.into())
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        Peer::Ip(address)
    }
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Peer {
        SocketAddr::new(address, 0).into()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Ip(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix"),
        }
    }
}
