//! Where a client is, in 24 bytes of the slab's entry instead of 32.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use crate::peer::Peer;

/// A [`Peer`] without the flow label of IPv6, which nothing here looks at.
#[derive(Clone, Copy)]
pub(super) struct PackedPeer {
    scope_id: u32,
    port: u16,
    /// `None` at a Unix socket.
    ip: Option<IpAddr>,
}

const _: () = assert!(size_of::<PackedPeer>() == 24);

impl From<Peer> for PackedPeer {
    fn from(peer: Peer) -> PackedPeer {
        let (scope_id, port) = match peer {
            Peer::Ip(SocketAddr::V6(six)) => (six.scope_id(), six.port()),
            Peer::Ip(SocketAddr::V4(four)) => (0, four.port()),
            Peer::Unix => (0, 0),
        };
        PackedPeer {
            scope_id,
            port,
            ip: peer.ip(),
        }
    }
}

impl From<PackedPeer> for Peer {
    fn from(packed: PackedPeer) -> Peer {
        let PackedPeer { scope_id, port, ip } = packed;
        match ip {
            None => Peer::Unix,
            Some(IpAddr::V4(ip)) => Peer::Ip((ip, port).into()),
            Some(IpAddr::V6(ip)) => Peer::Ip(SocketAddrV6::new(ip, port, 0, scope_id).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_comes_back_as_it_was() {
        let addresses = [
            "192.0.2.7:443",
            "[::ffff:192.0.2.7]:443",
            "[2001:db8::1]:1",
            "[fe80::1%3]:65535",
        ];
        let peers = addresses.map(|address| Peer::Ip(address.parse().unwrap()));
        for peer in peers.into_iter().chain([Peer::Unix]) {
            assert_eq!(Peer::from(PackedPeer::from(peer)), peer);
        }
    }
}
