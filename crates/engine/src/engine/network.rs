//! Networks in CIDR notation, and which of them may connect.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::peer::Peer;

/// A range of addresses, as `10.0.0.0/8` or `2001:db8::/32`; no address bits after the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

/// The networks whose connections are accepted: all that are not denied, or, if any are allowed,
/// only those that are allowed and not denied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks {
    /// Networks that may connect; empty: all.
    pub allow: Vec<Network>,
    /// Networks that may not connect, even if they are allowed.
    pub deny: Vec<Network>,
}

impl Networks {
    /// Whether any network may not connect.
    pub fn keep_somebody_out(&self) -> bool {
        !(self.allow.is_empty() && self.deny.is_empty())
    }

    /// Whether a client with this address may connect. Clients of Unix sockets, which have the
    /// unspecified address, always may: the permissions of the socket's file control them.
    pub fn admit(&self, client: Peer) -> bool {
        let Some(address) = client.ip() else {
            return true;
        };
        let has = |networks: &[Network]| networks.iter().any(|each| each.contains(address));
        !has(&self.deny) && (self.allow.is_empty() || has(&self.allow))
    }
}

/// The reason why a text is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The part before the slash is not an IP address.
    #[error("is not a network; write an address or a range such as 10.0.0.0/8 or 2001:db8::/32")]
    NoAddress,
    /// The part after the slash is not a valid number of bits for such an address.
    #[error("has a prefix that is not a number from 0 to {max}")]
    BadPrefix {
        /// 32 for IPv4, 128 for IPv6.
        max: u8,
    },
    /// Bits are set after the prefix, so the address or the prefix is a mistake.
    #[error("has address bits after its prefix; did you mean {network}?")]
    HostBits {
        /// The same with those bits cleared.
        network: Network,
    },
}

impl Network {
    /// `127.0.0.0/8`.
    pub const LOOPBACK_V4: Network = Network {
        address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)),
        prefix_bits: 8,
    };
    /// `::1/128`.
    pub const LOOPBACK_V6: Network = Network {
        address: IpAddr::V6(Ipv6Addr::LOCALHOST),
        prefix_bits: 128,
    };

    /// Whether `address` is in this range. An IPv4 address that arrived over an IPv6 socket
    /// (`::ffff:127.0.0.1`) counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix_bits) == self.address
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Parses `address/bits`, or an address alone, which is a range of one.
    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address
            .trim()
            .parse()
            .map_err(|_| NetworkError::NoAddress)?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            None => max,
            Some(bits) => bits
                .trim()
                .parse()
                .ok()
                .filter(|bits| *bits <= max)
                .ok_or(NetworkError::BadPrefix { max })?,
        };
        let network = Network {
            address: masked(address, prefix_bits),
            prefix_bits,
        };
        if network.address != address {
            return Err(NetworkError::HostBits { network });
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

/// The address with the bits after the prefix cleared; a prefix that is too long clears none.
fn masked(address: IpAddr, prefix_bits: u8) -> IpAddr {
    let prefix_bits = u32::from(prefix_bits);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX
                .checked_shl(32_u32.saturating_sub(prefix_bits))
                .unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX
                .checked_shl(128_u32.saturating_sub(prefix_bits))
                .unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        for (range, inside, outside) in [
            ("127.0.0.0/8", "127.255.0.1", "128.0.0.1"),
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("::1/128", "::1", "::2"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            assert!(
                network(range).contains(inside.parse().unwrap()),
                "{inside} in {range}"
            );
            assert!(
                !network(range).contains(outside.parse().unwrap()),
                "{outside} in {range}"
            );
        }
    }

    #[test]
    fn denied_networks_and_those_not_allowed_are_refused() {
        let (all, mut some) = (Networks::default(), Networks::default());
        some.allow = vec![network("10.0.0.0/8"), network("::1")];
        some.deny = vec![network("10.6.0.0/16")];
        for (address, is_admitted) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.6.6.6", false),
            ("::ffff:10.6.6.6", false),
            ("192.0.2.1", false),
            ("::1", true),
            ("::2", false),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert!(all.admit(address.into()));
            assert_eq!(some.admit(address.into()), is_admitted, "{address}");
        }
        assert!(some.admit(Peer::Unix), "the file's permissions decide");
    }

    #[test]
    fn an_ipv4_address_on_an_ipv6_socket_counts_as_ipv4() {
        assert!(Network::LOOPBACK_V4.contains("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!Network::LOOPBACK_V4.contains("::ffff:192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn an_invalid_network_is_refused_with_the_reason() {
        for text in ["", "/8", "localhost", "10.0.0/8"] {
            assert_eq!(
                text.parse::<Network>(),
                Err(NetworkError::NoAddress),
                "{text}"
            );
        }
        for (text, max) in [
            ("10.0.0.0/33", 32),
            ("::/129", 128),
            ("::/x", 128),
            ("::/", 128),
        ] {
            assert_eq!(
                text.parse::<Network>(),
                Err(NetworkError::BadPrefix { max }),
                "{text}"
            );
        }
        let meant = NetworkError::HostBits {
            network: network("10.0.0.0/8"),
        };
        assert_eq!("10.1.2.3/8".parse::<Network>(), Err(meant));
    }
}
