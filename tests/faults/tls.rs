//! Input that is not TLS, and TLS that breaks off.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};

use crate::certificates::{Authority, Folder};
use crate::stage::Stage;
use crate::support::client::{Client, TEXT, raw_frame, upgrade};
use crate::tls_client::{self, client_config, stream};
use crate::witness::ROOM;

/// A relay's files for TLS, on a listener of its own beside the plain one.
pub(crate) struct Certificates {
    authority: Authority,
    folder: Folder,
}

impl Certificates {
    pub(crate) fn new() -> Certificates {
        let authority = Authority::new("the relay's");
        let folder = Folder::new(&authority.server(2100));
        Certificates { authority, folder }
    }

    /// The settings of the relay.
    pub(crate) fn settings(&self) -> [String; 3] {
        let files = self.folder.files();
        [
            "server.listen=https://127.0.0.1:0".to_owned(),
            format!("server.tls.cert_file={}", files.cert_file.display()),
            format!("server.tls.key_file={}", files.key_file.display()),
        ]
    }

    /// A client's TLS configuration for it.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::new(client_config(&self.authority, &TLS13, None))
    }
}

/// A relay with TLS, and a witness with a member that uses it.
struct SecureStage {
    stage: Stage,
    certificates: Certificates,
    address: SocketAddr,
}

impl SecureStage {
    fn start(settings: &[&str]) -> SecureStage {
        let certificates = Certificates::new();
        let of_tls = certificates.settings();
        let of_tls: Vec<&str> = of_tls.iter().map(String::as_str).collect();
        let mut stage = Stage::start(&[&of_tls[..], settings].concat());
        let address = stage.relay.addresses[1];
        stage.witness.join(stream(address, &certificates.client()));
        SecureStage {
            stage,
            certificates,
            address,
        }
    }
}

/// Arbitrary bytes: neither a TLS record nor a request begins like that.
fn noise(bytes: u32) -> Vec<u8> {
    (0..bytes)
        .map(|each| (each * 167 % 251 + 1) as u8)
        .collect()
}

/// Reads the rest of the answer to an offender, and expects the end of the stream or a reset,
/// because some of its input may not have been read.
fn expect_any_end(client: &mut Client) {
    let mut rest = Vec::new();
    if let Err(error) = client.stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn garbage_instead_of_tls() {
    let SecureStage { stage, address, .. } = SecureStage::start(&["timeouts.handshake=2s"]);
    let request = upgrade(ROOM);
    // Not a record, a record of an unknown version, one that is too long, and other protocols.
    let version = [&[22, 9, 9, 0, 200][..], &noise(200)].concat();
    let long = [&[22, 3, 1, 0xFF, 0xFF][..], &noise(70_000)].concat();
    let garbage = [&noise(4_096)[..], &version, &long, request.as_bytes()];
    for bytes in garbage {
        let mut client = Client::connect(address);
        // It may be refused before all of it is sent.
        let _ = client.try_send(bytes);
        expect_any_end(&mut client);
    }
    // The beginning of a greeting, and silence.
    let mut silent = Client::connect(address);
    silent.send(&[22, 3, 1, 2, 0, 1, 0, 1, 0xFC]);
    silent.expect_end();
    stage.end(&[("refused handshake_timeout", 1), ("refused tls", 4)]);
}

#[test]
fn tls_and_then_garbage() {
    let SecureStage {
        stage,
        certificates,
        address,
    } = SecureStage::start(&[]);
    for version in [&TLS13, &TLS12] {
        let config = Arc::new(client_config(&certificates.authority, version, None));
        // After the handshake: no valid records any more.
        let mut early = stream(address, &config);
        while early.conn.is_handshaking() {
            early
                .conn
                .complete_io(&mut early.sock)
                .expect("a handshake");
        }
        let mut early = Client::from(early.sock);
        early.send(&noise(4_096));
        expect_any_end(&mut early);
        // In the middle of a WebSocket.
        let mut late = tls_client::Client::open(address, &config, "/garbage");
        late.text("in order");
        assert_eq!(late.expect_text(), "in order");
        let mut late = Client::from(late.tls().sock.try_clone().expect("a socket"));
        late.send(&noise(4_096));
        expect_any_end(&mut late);
        // Proper records with garbage inside: of requests and of frames.
        let mut request = stream(address, &config);
        request.write_all(&noise(4_096)).expect("the relay reads");
        let (answer, _) = tls_client::read_to_end(&mut request);
        assert!(answer.starts_with(b"HTTP/1.1 400 "));
        let mut frame = tls_client::Client::open(address, &config, "/garbage");
        let bare = raw_frame(0x80 | TEXT, b"bare", false);
        frame.tls().write_all(&bare).expect("the relay reads");
        frame.expect_close(1002);
    }
    stage.end(&[
        ("closed protocol_error", 2),
        ("closed tls", 2),
        ("refused bad_request", 2),
        ("refused tls", 2),
    ]);
}
