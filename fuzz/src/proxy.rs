//! The PROXY protocol, versions 1 and 2.

use std::net::{IpAddr, SocketAddr};

use corecast::wire::proxy::{ProxyError, ProxyHeader, parse};

use crate::pieces::pieces;
use crate::sizes::split_sizes;

/// The longest header: the fixed part of version 2, and the rest that is read.
const HEADER_BYTES_MAX: usize = 16 + 4096;

/// The target: one verdict for any split into pieces, a length within the input, and the same
/// address when it is encoded again in either version.
///
/// # Panics
///
/// If that does not hold.
pub(crate) fn proxy(data: &[u8]) {
    let Some((sizes, stream)) = split_sizes(data) else {
        return;
    };
    let whole = read(stream, &[]);
    assert_eq!(
        read(stream, &sizes),
        whole,
        "in pieces of {sizes:?}, and whole"
    );
    let Ok(header) = whole else { return };
    let Some(ProxyHeader {
        client,
        is_local,
        len,
    }) = header
    else {
        assert!(stream.len() < HEADER_BYTES_MAX, "more is awaited");
        return;
    };
    assert!(len <= stream.len() && len <= HEADER_BYTES_MAX, "{len}");
    assert_eq!(
        parse(&stream[..len]),
        Ok(header),
        "what follows makes no difference"
    );
    assert_eq!(
        parse(&stream[..len - 1]),
        Ok(None),
        "the last byte is part of it"
    );
    if let Some(client) = client {
        assert!(!client.ip().is_unspecified(), "nobody's address");
        assert!(!is_local, "a proxy that speaks for itself has no client");
        check_again(client);
    }
}

/// The header, or `None` if it never becomes whole.
fn read(stream: &[u8], sizes: &[usize]) -> Result<Option<ProxyHeader>, ProxyError> {
    let mut kept = Vec::new();
    for piece in pieces(stream, sizes) {
        kept.extend_from_slice(piece);
        if let Some(header) = parse(&kept)? {
            return Ok(Some(header));
        }
    }
    Ok(None)
}

fn check_again(client: SocketAddr) {
    let (ip, port) = (client.ip(), client.port());
    let (word, family, bytes) = match ip {
        IpAddr::V4(ip) => ("TCP4", 0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => ("TCP6", 0x21, ip.octets().to_vec()),
    };
    let line = format!("PROXY {word} {ip} {ip} {port} 0\r\n").into_bytes();
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    binary.extend([family, 0, bytes.len() as u8 * 2 + 4]);
    binary.extend([&bytes[..], &bytes[..], &port.to_be_bytes()[..], &[0, 0]].concat());
    for text in [line, binary] {
        let len = text.len();
        let expected = ProxyHeader {
            client: Some(client),
            is_local: false,
            len,
        };
        assert_eq!(parse(&text), Ok(Some(expected)), "{client}");
    }
}
