//! The address of a client, in 24 bytes of the slab entry instead of 32.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// A [`SocketAddr`] without the flow label of IPv6, which is not used here.
#[derive(Clone, Copy)]
pub(super) struct Peer {
    scope_id: u32,
    port: u16,
    ip: IpAddr,
}

const _: () = assert!(size_of::<Peer>() == 24);

impl Peer {
    pub(super) fn ip(self) -> IpAddr {
        self.ip
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        let scope_id = match address {
            SocketAddr::V6(six) => six.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        Peer {
            scope_id,
            port: address.port(),
            ip: address.ip(),
        }
    }
}

impl From<Peer> for SocketAddr {
    fn from(peer: Peer) -> SocketAddr {
        match peer.ip {
            IpAddr::V4(_) => SocketAddr::new(peer.ip, peer.port),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, peer.port, 0, peer.scope_id).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_as_it_was() {
        let addresses = [
            "192.0.2.7:443",
            "[::ffff:192.0.2.7]:443",
            "[2001:db8::1]:1",
            "[fe80::1%3]:65535",
        ];
        for address in addresses {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(SocketAddr::from(Peer::from(address)), address);
            assert_eq!(Peer::from(address).ip(), address.ip());
        }
    }
}
