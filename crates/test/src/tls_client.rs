//! Clients over TLS: rustls with tungstenite on top of it, or raw records.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use tungstenite::{Message, WebSocket};

use crate::DEADLINE;
use crate::certificates::{Authority, Signed};

pub static BOTH_VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// How a client speaks TLS.
pub fn client_config(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    identity: Option<&Signed>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.cert.as_bytes()).expect("a certificate");
    roots.add(root).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some(signed) => builder
            .with_client_auth_cert(signed.chain(), signed.private_key())
            .expect("a certificate with its key"),
    }
}

/// A TCP connection with deadlines.
pub fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream
        .set_write_timeout(Some(DEADLINE))
        .expect("a deadline");
    stream.set_nodelay(true).expect("a socket");
    stream
}

pub fn session(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::clone(config), name).expect("a client")
}

/// A TLS stream on a new connection. The handshake begins with the first byte.
pub fn stream(address: SocketAddr, config: &Arc<ClientConfig>) -> Stream {
    StreamOwned::new(session(config), tcp(address))
}

/// A WebSocket over TLS.
pub struct Client(pub WebSocket<Stream>);

impl Client {
    pub fn open(address: SocketAddr, config: &Arc<ClientConfig>, path: &str) -> Client {
        Client::upgraded(stream(address, config), path)
    }

    pub fn upgraded(stream: Stream, path: &str) -> Client {
        let url = format!("wss://localhost{path}");
        let (socket, _) = tungstenite::client(url, stream).expect("an upgrade");
        Client(socket)
    }

    pub fn text(&mut self, text: &str) {
        self.0.send(Message::text(text)).expect("the server reads");
    }

    pub fn binary(&mut self, bytes: Vec<u8>) {
        self.0
            .send(Message::binary(bytes))
            .expect("the server reads");
    }

    /// The next message other than a ping.
    pub fn message(&mut self) -> Message {
        loop {
            match self.0.read().expect("a message in time") {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    pub fn expect_text(&mut self) -> String {
        match self.message() {
            Message::Text(text) => text.to_string(),
            other => panic!("no text: {other:?}"),
        }
    }

    pub fn expect_close(&mut self, code: u16) {
        match self.message() {
            Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), code),
            other => panic!("no Close: {other:?}"),
        }
    }

    pub fn tls(&mut self) -> &mut Stream {
        self.0.get_mut()
    }
}

/// How a TLS stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// By `close_notify`, then by the end of the TCP stream.
    CloseNotify,
    /// By the end of the TCP stream only.
    Truncated,
}

/// Reads up to the end of the stream, whatever comes before it.
pub fn read_to_end(stream: &mut Stream) -> (Vec<u8>, End) {
    let mut bytes = Vec::new();
    let end = match stream.read_to_end(&mut bytes) {
        Ok(_) => End::CloseNotify,
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => End::Truncated,
        Err(error) => panic!("neither data nor an end: {error}"),
    };
    if end == End::CloseNotify {
        let mut rest = [0; 1];
        assert_eq!(stream.sock.read(&mut rest).expect("an end"), 0);
    }
    (bytes, end)
}

/// Finishes the handshake, or says why that is not possible.
pub fn shake_hands(stream: &mut Stream) -> Result<(), rustls::Error> {
    let outcome = stream.conn.complete_io(&mut stream.sock);
    // With TLS 1.3 the client is done before the server has looked at its certificate.
    let outcome = outcome.and_then(|_| {
        stream.write_all(b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        stream.read_exact(&mut [0; 12])
    });
    let Err(error) = outcome else {
        return Ok(());
    };
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(error) => Err(rustls::Error::clone(error)),
        None => panic!("no error of TLS: {error}"),
    }
}
