//! Over TLS: the same checks, trust, and fragmented records.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use corecast_test::generator::{Behaviour, number, report, run, serve};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

/// A server that sends every message back to its sender.
struct Echo {
    url: String,
    folder: TempDir,
}

impl Echo {
    fn start(piece_bytes: usize) -> Echo {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
        let made = made.expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).expect("written");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("a key that fits");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("wss://{}/", listener.local_addr().expect("bound"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                std::thread::spawn(move || echo(stream, piece_bytes, config));
            }
        });
        Echo { url, folder }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn trusting(&self) -> String {
        format!("--ca {}", self.ca().display())
    }
}

/// Ends with the connection, or with an error that the generator sees.
fn echo(stream: TcpStream, piece_bytes: usize, config: Arc<ServerConfig>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let pieces = Pieces {
        stream,
        piece_bytes,
    };
    let connection = ServerConnection::new(config).ok()?;
    let mut socket = tungstenite::accept(StreamOwned::new(connection, pieces)).ok()?;
    loop {
        let message = socket.read().ok()?;
        if message.is_binary() || message.is_text() {
            socket.send(message).ok()?;
        }
    }
}

/// Writes in pieces, so that records are cut in the middle.
struct Pieces {
    stream: TcpStream,
    piece_bytes: usize,
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.stream.read(out)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream
            .write(&bytes[..bytes.len().min(self.piece_bytes)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn deliveries_are_checked_wherever_records_are_cut() {
    for (piece_bytes, size) in [(1 << 20, 300_000), (1 << 20, 100), (33, 700)] {
        let echo = Echo::start(piece_bytes);
        let load = "--clients 1 --rate 200 --duration 200 --warmup 0";
        let arguments = format!("{load} --size {size} {}", echo.trusting());
        let (code, report) = report(&echo.url, &arguments);
        assert_eq!(
            (code, number(&report, "/delivered")),
            (0, 40.0),
            "{report:#}"
        );
        assert!(number(&report, "/receive_lag_ns/count") > 0.0);
        let bytes = number(&report, "/wire/bytes_per_delivery");
        // A record adds 22 bytes, a frame at most 10; the tickets of the start are spread over 40.
        assert!(
            bytes > size as f64 + 20.0 && bytes < size as f64 * 1.01 + 100.0,
            "{bytes}"
        );
    }
}

#[test]
fn a_closed_loop_continues_after_a_full_socket() {
    let echo = Echo::start(1 << 20);
    let load = "--clients 1 --rate max --window 64 --size 100000 --duration 1s --warmup 0";
    let (code, report) = report(&echo.url, &format!("{load} --insecure"));
    assert_eq!(code, 0, "{report:#}");
    assert!(number(&report, "/sent") > 64.0, "{report:#}");
}

#[test]
fn an_untrusted_certificate_ends_the_run_unless_insecure() {
    let (echo, other) = (Echo::start(1 << 20), Echo::start(1 << 20));
    let load = "--clients 1 --rate 100 --duration 100 --warmup 0";
    let output = run(&echo.url, &format!("{load} {}", other.trusting()));
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("certificate"), "{told}");
    let (code, _) = report(&echo.url, &format!("{load} --insecure"));
    assert_eq!(code, 0);
}

#[test]
fn a_server_without_tls_is_reported_as_such() {
    let url = serve(Behaviour::default()).replace("ws://", "wss://");
    let output = run(&url, "--clients 1 --insecure --duration 100");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
}

#[test]
fn handshakes_are_made_over_tls() {
    let echo = Echo::start(1 << 20);
    for flag in ["", "--reset"] {
        let arguments = format!("--handshakes 30 --concurrency 5 {flag} {}", echo.trusting());
        let (code, report) = report(&echo.url, &arguments);
        assert_eq!((code, number(&report, "/completed")), (0, 30.0));
    }
}
