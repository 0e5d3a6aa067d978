//! The PROXY protocol, versions 1 and 2: the header in which a proxy describes its client
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>; sections are of that text).
//!
//! The engine calls [`parse`] with the first bytes of a connection that must begin with a header,
//! before TLS and HTTP. Nothing is detected: if a header is expected, anything else is an error; if
//! not, the engine does not look for one (§2). A header is small, and it is read whole.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use strum::IntoStaticStr;

/// The first bytes of version 2 (§2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The first bytes of version 1 (§2.1).
const PREFIX: &[u8; 6] = b"PROXY ";
/// The longest line of version 1, its CR LF included (§2.1).
const LINE_BYTES_MAX: usize = 107;
/// Signature, version and command, family and protocol, and the length of the rest.
const FIXED_BYTES: usize = 16;
/// The longest rest of a version 2 header: addresses, and TLVs, which are skipped. The text asks
/// for at least 536 bytes; a client's certificate in a TLV takes more.
const REST_BYTES_MAX: usize = 4_096;

/// A whole header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProxyHeader {
    /// The client's address, if the header gives one. It does not if the proxy speaks for itself,
    /// does not know (`UNKNOWN`, `UNSPEC`) or was itself reached by a Unix socket.
    pub client: Option<SocketAddr>,
    /// The proxy speaks for itself (`LOCAL`, as in health checks), not for a client.
    pub is_local: bool,
    /// Its length in bytes; the client's data follows.
    pub len: usize,
}

/// Why the bytes are not a valid header. One variant for each offence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum ProxyError {
    /// The first bytes match neither version.
    #[error("no PROXY protocol header")]
    NoHeader,
    /// A line of version 1 that does not end in time (§2.1).
    #[error("a PROXY line of more than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// A malformed line of version 1 (§2.1), which must match to the byte.
    #[error("malformed PROXY line")]
    BadLine,
    /// A version other than 1 and 2 (§2.2).
    #[error("unknown version of the PROXY protocol")]
    BadVersion,
    /// Neither LOCAL nor PROXY (§2.2).
    #[error("unknown PROXY command")]
    BadCommand,
    /// An unknown address family (§2.2).
    #[error("unknown PROXY address family")]
    BadFamily,
    /// A transport other than a stream (§2.2), which this connection is.
    #[error("PROXY transport is not a stream")]
    BadTransport,
    /// Less than the addresses of the family need (§2.2).
    #[error("PROXY addresses are cut short")]
    TooShort,
    /// Longer than the limit.
    #[error("PROXY header is too large")]
    TooLarge,
}

impl ProxyError {
    /// A fixed word for logs.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The header at the front of `bytes`, or `None` if it is not whole yet. At most 4,112 bytes are
/// ever needed.
///
/// # Errors
///
/// The first offence, as soon as it is present.
pub fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    let begins = |with: &[u8]| {
        let len = bytes.len().min(with.len());
        bytes[..len] == with[..len]
    };
    if begins(PREFIX) {
        parse_line(bytes)
    } else if begins(SIGNATURE) {
        parse_binary(bytes)
    } else {
        Err(ProxyError::NoHeader)
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n`, or `PROXY UNKNOWN …\r\n`.
fn parse_line(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    let line = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
        return if line.len() < LINE_BYTES_MAX {
            Ok(None)
        } else {
            Err(ProxyError::LineTooLong)
        };
    };
    let text = line[..end].strip_suffix(b"\r").ok_or(ProxyError::BadLine)?;
    let text = std::str::from_utf8(text).map_err(|_| ProxyError::BadLine)?;
    let client = client_of_line(text).ok_or(ProxyError::BadLine)?;
    Ok(Some(ProxyHeader {
        client: client.filter(is_somebody),
        is_local: false,
        len: end + 1,
    }))
}

/// `0.0.0.0` and `::` are not addresses of a client.
fn is_somebody(client: &SocketAddr) -> bool {
    !client.ip().is_unspecified()
}

/// The client's address of a line without its end; `None` if it is malformed.
fn client_of_line(text: &str) -> Option<Option<SocketAddr>> {
    let mut words = text.split(' ').skip(1);
    let is_v4 = match words.next()? {
        // The rest must be ignored.
        "UNKNOWN" => return Some(None),
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let address = |word: &str| -> Option<IpAddr> {
        if is_v4 {
            Ipv4Addr::from_str(word).ok().map(IpAddr::V4)
        } else {
            Ipv6Addr::from_str(word).ok().map(IpAddr::V6)
        }
    };
    let source = address(words.next()?)?;
    address(words.next()?)?;
    let source_port = port(words.next()?)?;
    port(words.next()?)?;
    words
        .next()
        .is_none()
        .then_some(Some(SocketAddr::new(source, source_port)))
}

/// Digits without a sign and without leading zeros (§2.1).
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let has_leading_zero = word.len() > 1 && word.starts_with('0');
    word.parse().ok().filter(|_| is_plain && !has_leading_zero)
}

/// Version 2.
fn parse_binary(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    let Some((version_command, family)) = bytes.get(12).zip(bytes.get(13)) else {
        return Ok(None);
    };
    if version_command >> 4 != 2 {
        return Err(ProxyError::BadVersion);
    }
    let is_local = match version_command & 0x0F {
        0 => true,
        1 => false,
        _ => return Err(ProxyError::BadCommand),
    };
    let family = Family::read(*family).or_else(|error| {
        // The rest of a LOCAL header must be ignored (§2.2).
        if is_local {
            Ok(Family::None)
        } else {
            Err(error)
        }
    })?;
    let Some(length) = bytes.get(14..FIXED_BYTES) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length > REST_BYTES_MAX {
        return Err(ProxyError::TooLarge);
    }
    if !is_local && length < family.addresses_bytes() {
        return Err(ProxyError::TooShort);
    }
    let Some(rest) = bytes.get(FIXED_BYTES..FIXED_BYTES + length) else {
        return Ok(None);
    };
    Ok(Some(ProxyHeader {
        client: family
            .client(rest)
            .filter(|client| !is_local && is_somebody(client)),
        is_local,
        len: FIXED_BYTES + length,
    }))
}

/// The address families of version 2, for stream transports.
#[derive(Clone, Copy)]
enum Family {
    None,
    V4,
    V6,
    Unix,
}

impl Family {
    fn read(byte: u8) -> Result<Family, ProxyError> {
        match (byte >> 4, byte & 0x0F) {
            (0, 0..=2) => Ok(Family::None),
            (1, 1) => Ok(Family::V4),
            (2, 1) => Ok(Family::V6),
            (3, 1) => Ok(Family::Unix),
            (1..=3, _) => Err(ProxyError::BadTransport),
            _ => Err(ProxyError::BadFamily),
        }
    }

    /// Two addresses and, if the family has them, two ports.
    fn addresses_bytes(self) -> usize {
        match self {
            Family::None => 0,
            Family::V4 => 2 * 4 + 2 * 2,
            Family::V6 => 2 * 16 + 2 * 2,
            Family::Unix => 2 * 108,
        }
    }

    /// Source address, destination address, source port, destination port.
    fn client(self, rest: &[u8]) -> Option<SocketAddr> {
        let (ip, port_at) = match self {
            Family::None | Family::Unix => return None,
            Family::V4 => (IpAddr::from(*rest.first_chunk::<4>()?), 8),
            Family::V6 => (IpAddr::from(*rest.first_chunk::<16>()?), 32),
        };
        let port = rest.get(port_at..)?.first_chunk::<2>()?;
        Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::{collection, sample};

    fn binary(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([version_command, family]);
        header.extend((rest.len() as u16).to_be_bytes());
        header.extend(rest);
        header
    }

    /// Source 192.0.2.1:258, destination 192.0.2.2:443.
    const V4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 1, 187];

    fn whole(bytes: &[u8]) -> Option<SocketAddr> {
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        let expected = bytes.len();
        let behind = [bytes, b"GET / HTTP/1.1\r\n"].concat();
        let header = parse(&behind).expect("a header").expect("a whole one");
        assert_eq!(header.len, expected);
        let is_local = bytes.starts_with(SIGNATURE) && bytes[SIGNATURE.len()] == 0x20;
        assert_eq!(header.is_local, is_local);
        header.client
    }

    #[test]
    fn a_line_gives_the_clients_address() {
        for (line, client) in [
            (
                "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n",
                Some("192.0.2.1:56324"),
            ),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n",
                Some("255.255.255.255:65535"),
            ),
            (
                "PROXY TCP6 2001:db8::1 ::1 1 2\r\n",
                Some("[2001:db8::1]:1"),
            ),
            (
                "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n",
                Some("[::ffff:192.0.2.1]:1"),
            ),
            ("PROXY TCP4 0.0.0.0 192.0.2.2 56324 443\r\n", None),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN whatever this is\r\n", None),
        ] {
            let client = client.map(|client| client.parse().unwrap());
            assert_eq!(whole(line.as_bytes()), client, "{line:?}");
        }
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LINE_BYTES_MAX - 16));
        assert_eq!((longest.len(), whole(longest.as_bytes())), (107, None));
    }

    #[test]
    fn version_2_gives_the_clients_address_and_its_tlvs_are_skipped() {
        let four = Some("192.0.2.1:258".parse().unwrap());
        assert_eq!(whole(&binary(0x21, 0x11, &V4)), four);
        let with_tlv = [&V4[..], &[0x03, 0, 4, 1, 2, 3, 4], &[0xE0, 0, 0]].concat();
        assert_eq!(whole(&binary(0x21, 0x11, &with_tlv)), four);
        let six = [&Ipv6Addr::LOCALHOST.octets()[..], &[0; 16], &[0, 80, 0, 81]].concat();
        let client = Some("[::1]:80".parse().unwrap());
        assert_eq!(whole(&binary(0x21, 0x21, &six)), client);
        assert_eq!(whole(&binary(0x21, 0x31, &[0; 216])), None);
        assert_eq!(whole(&binary(0x21, 0x00, &[])), None);
        assert_eq!(whole(&binary(0x21, 0x00, &[0; 50])), None);
        assert_eq!(whole(&binary(0x20, 0x00, &[])), None);
        assert_eq!(whole(&binary(0x20, 0x11, &V4)), None);
        assert_eq!(whole(&binary(0x20, 0xFF, &[1, 2])), None);
        assert_eq!(
            whole(&binary(
                0x21,
                0x11,
                &[&V4[..], &[0; REST_BYTES_MAX - 12]].concat()
            )),
            four
        );
    }

    #[test]
    fn invalid_proxy_headers_are_refused_by_name() {
        use ProxyError::*;
        let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LINE_BYTES_MAX - 15));
        let lines = [
            ("GET / HTTP/1.1\r\n", NoHeader),
            ("PROXX", NoHeader),
            ("proxy TCP4 ", NoHeader),
            ("\r\n\r\n\0\r\nQUIX", NoHeader),
            ("\x16\x03\x01", NoHeader),
            (&long, LineTooLong),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", BadLine),
            ("PROXY \r\n", BadLine),
            ("PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", BadLine),
            ("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", BadLine),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", BadLine),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", BadLine),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", BadLine),
            ("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", BadLine),
            ("PROXY TCP4 192.0.2.1 ::1 1 2\r\n", BadLine),
            ("PROXY TCP6 192.0.2.1 ::1 1 2\r\n", BadLine),
            ("PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", BadLine),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", BadLine),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", BadLine),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", BadLine),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 \u{661}\r\n", BadLine),
        ];
        let lines = lines.map(|(line, error)| (line.as_bytes().to_vec(), error));
        let binaries = [
            (binary(0x11, 0x11, &V4), BadVersion),
            (binary(0x31, 0x11, &V4), BadVersion),
            (binary(0x22, 0x11, &V4), BadCommand),
            (binary(0x21, 0x41, &V4), BadFamily),
            (binary(0x21, 0x12, &V4), BadTransport),
            (binary(0x21, 0x10, &V4), BadTransport),
            (binary(0x21, 0x11, &V4[..11]), TooShort),
            (binary(0x21, 0x21, &[0; 35]), TooShort),
            (binary(0x21, 0x31, &[0; 215]), TooShort),
            (binary(0x21, 0x11, &[0; REST_BYTES_MAX + 1]), TooLarge),
        ];
        for (bytes, error) in lines.into_iter().chain(binaries) {
            assert_eq!(parse(&bytes), Err(error), "{bytes:?}");
            // Found at the latest when it is whole, and never accepted before.
            for cut in 0..bytes.len() {
                let early = parse(&bytes[..cut]);
                assert!(
                    early == Ok(None) || early == Err(error),
                    "{bytes:?} cut at {cut}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_a_header_is_found_at_one_place(
            version in any::<bool>(),
            edits in collection::vec((any::<sample::Index>(), any::<u8>()), 0..5),
        ) {
            let mut bytes = match version {
                true => b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n".to_vec(),
                false => binary(0x21, 0x11, &V4),
            };
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(Some(header)) = parse(&bytes) {
                for cut in 0..header.len {
                    prop_assert_eq!(parse(&bytes[..cut]), Ok(None), "cut at {}", cut);
                }
            }
        }
    }
}
