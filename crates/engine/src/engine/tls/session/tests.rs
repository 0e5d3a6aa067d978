//! A session and a client in memory: arbitrary pieces, and records that no well-meaning client
//! sends.

use std::io::{Read, Write};
use std::rc::Rc;
use std::time::SystemTime;

use proptest::prelude::*;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::ring as provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ConnectionTrafficSecrets, RootCertStore};

use super::*;
use crate::engine::tls::TlsFiles;

/// A server's TLS, and the TLS of a client that trusts it and exports its keys.
fn both() -> (Tls, Arc<ClientConfig>) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
    let folder = tempfile::tempdir().expect("a folder");
    let files = TlsFiles {
        cert_file: folder.path().join("cert.pem"),
        key_file: folder.path().join("key.pem"),
        client_ca_file: None,
    };
    std::fs::write(&files.cert_file, signed.cert.pem()).expect("a file");
    std::fs::write(&files.key_file, signed.signing_key.serialize_pem()).expect("a file");
    let tls = Tls::load(&files, SystemTime::now()).expect("files that can be used");
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(signed.cert.pem().as_bytes());
    roots.add(root.expect("a certificate")).expect("a root");
    let mut suites = provider::default_provider();
    suites.cipher_suites = vec![provider::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let builder = ClientConfig::builder_with_provider(Arc::new(suites));
    let mut config = builder
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    (tls, Arc::new(config))
}

struct Pair {
    session: TlsSession,
    client: ClientConnection,
    plaintext: Vec<u8>,
}

impl Pair {
    fn new() -> Pair {
        let (tls, config) = both();
        let name = ServerName::try_from("localhost").expect("a name");
        let mut client = ClientConnection::new(config, name).expect("a client");
        client.set_buffer_limit(None);
        Pair {
            session: TlsSession::new(&tls, &Rc::default()).expect("a session"),
            client,
            plaintext: Vec::new(),
        }
    }

    fn established() -> Pair {
        let mut pair = Pair::new();
        while pair.client.is_handshaking() || pair.session.connection.is_handshaking() {
            let records = pair.clients_records();
            pair.give(&records).expect("a handshake");
            pair.deliver();
        }
        pair
    }

    fn clients_records(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut records).expect("memory");
        }
        records
    }

    /// As a shard does: the bytes that were kept go in front.
    fn give(&mut self, records: &[u8]) -> Result<Progress, Error> {
        let mut buffer = vec![0; self.session.kept.len() + records.len()];
        let kept = self.session.restore(&mut buffer);
        buffer[kept..].copy_from_slice(records);
        self.session.receive(&mut buffer, &mut self.plaintext)
    }

    /// Gives the client the bytes that the session has for it. Returns the client's plaintext.
    fn deliver(&mut self) -> Vec<u8> {
        let mut encrypted = Encrypted::default();
        self.session.take_unsent(&mut encrypted);
        self.read(&encrypted)
    }

    fn read(&mut self, encrypted: &Encrypted) -> Vec<u8> {
        let mut records = encrypted.bytes();
        let mut plaintext = Vec::new();
        while !records.is_empty() {
            self.client.read_tls(&mut records).expect("memory");
            self.client.process_new_packets().expect("records");
            // This may fail because no plaintext has come yet.
            let _ = self.client.reader().read_to_end(&mut plaintext);
        }
        plaintext
    }

    fn send(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut encrypted = Encrypted::default();
        assert!(self.session.encrypt(plaintext, &mut encrypted));
        self.read(&encrypted)
    }
}

/// A record of a client with these keys, for TLS 1.3 (RFC 8446 §5.2).
fn record(secrets: &ConnectionTrafficSecrets, number: u64, content: &[u8], kind: u8) -> Vec<u8> {
    let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
        panic!("another suite was negotiated");
    };
    let mut nonce: [u8; 12] = iv.as_ref().try_into().expect("12 bytes");
    for (byte, of_number) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
        *byte ^= of_number;
    }
    let mut sealed = [content, &[kind]].concat();
    let header = [23, 3, 3, 0, (sealed.len() + 16) as u8];
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key.as_ref()).expect("a key"));
    key.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(header),
        &mut sealed,
    )
    .expect("a record");
    [&header[..], &sealed].concat()
}

#[test]
fn data_can_be_sent_between_two_records_of_a_handshake_message() {
    let mut pair = Pair::established();
    let name = ServerName::try_from("localhost").expect("a name");
    let (_, config) = both();
    let stand_in = ClientConnection::new(config, name).expect("a client");
    let client = std::mem::replace(&mut pair.client, stand_in);
    let secrets = client.dangerous_extract_secrets().expect("its keys");
    let (number, keys) = &secrets.tx;
    // KeyUpdate without a request for an update (RFC 8446 §4.6.3).
    let update = [24, 0, 0, 1, 0];
    let first = record(keys, *number, &update[..3], 22);
    let second = record(keys, number + 1, &update[3..], 22);
    assert_eq!(pair.give(&first), Ok(Progress::default()));
    assert_eq!(pair.session.kept.len(), first.len());
    let mut encrypted = Encrypted::default();
    assert!(pair.session.encrypt(b"in between", &mut encrypted));
    assert_eq!(pair.give(&second[..7]), Ok(Progress::default()));
    assert!(pair.session.encrypt(b"in between", &mut encrypted));
    assert_eq!(pair.give(&second[7..]), Ok(Progress::default()));
    assert!(pair.session.kept.is_empty() && pair.plaintext.is_empty());
    assert!(pair.session.finish(&mut encrypted));
    assert!(!pair.session.has_to_send(true));
}

#[test]
fn a_handshake_message_without_end_is_refused() {
    let mut pair = Pair::new();
    // A ClientHello of 64,000 bytes that comes byte by byte, each in a record of its own.
    let mut records = vec![22, 3, 1, 0, 4, 1, 0, 0xFA, 0];
    let mut outcome = Ok(Progress::default());
    for _ in 0..64_000 {
        outcome = pair.give(&records);
        if outcome.is_err() {
            break;
        }
        assert!(pair.session.kept.len() <= TLS_KEPT_BYTES_MAX);
        records = [22, 3, 1, 0, 1, 0].repeat(1_000);
    }
    assert_eq!(outcome, Err(Error::General("a message is too long".into())));
    assert_eq!(
        pair.give(b"more"),
        Ok(Progress::default()),
        "nothing is looked at any more"
    );
    assert!(pair.session.kept.is_empty());
}

#[test]
fn an_established_session_holds_no_buffer() {
    let mut pair = Pair::established();
    for _ in 0..3 {
        pair.client
            .writer()
            .write_all(&[7; 40_000])
            .expect("a queue");
        let records = pair.clients_records();
        pair.give(&records).expect("records");
        assert_eq!(pair.send(&[8; 20_000]), [8; 20_000]);
    }
    assert_eq!(pair.plaintext, [7; 120_000]);
    let buffers = (pair.session.kept.capacity(), pair.session.unsent.capacity());
    assert_eq!(buffers, (0, 0));
}

#[test]
fn nothing_is_encrypted_while_the_socket_has_not_taken_what_was() {
    let mut pair = Pair::established();
    assert_eq!(pair.session.room_bytes(), TLS_SEND_BYTES_MAX);
    pair.session.keep_unsent(b"records");
    assert_eq!(pair.session.room_bytes(), 0);
    let mut encrypted = Encrypted::default();
    pair.session.take_unsent(&mut encrypted);
    assert_eq!(encrypted.bytes(), b"records");
    pair.session.keep_unsent(&[]);
    assert_eq!(pair.session.room_bytes(), TLS_SEND_BYTES_MAX);
}

#[test]
fn the_costly_steps_are_those_with_keys() {
    let mut pair = Pair::new();
    let hello = pair.clients_records();
    let (half, rest) = hello.split_at(hello.len() / 2);
    assert_eq!(
        pair.give(half).map(|progress| progress.is_costly),
        Ok(false)
    );
    assert_eq!(pair.give(rest).map(|progress| progress.is_costly), Ok(true));
    pair.deliver();
    let finished = pair.clients_records();
    let established = Progress {
        is_established: true,
        ..Progress::default()
    };
    assert_eq!(pair.give(&finished), Ok(established));
}

proptest! {
    // Each of them begins with a handshake.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_pieces_of_the_stream_give_the_same_plaintext(
        pieces in proptest::collection::vec(1_usize..20_000, 5..20),
        messages in proptest::collection::vec(0_usize..40_000, 1..6),
    ) {
        let mut pair = Pair::established();
        let expected: Vec<u8> = messages.iter().flat_map(|len| vec![*len as u8; *len]).collect();
        for len in &messages {
            pair.client.writer().write_all(&vec![*len as u8; *len]).expect("a queue");
        }
        let records = pair.clients_records();
        let (mut rest, mut sizes) = (&records[..], pieces.iter().cycle());
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.len().min(*sizes.next().expect("a cycle")));
            pair.give(piece).expect("records");
            prop_assert!(pair.session.kept.len() <= 17 * 1024);
            rest = more;
        }
        prop_assert_eq!(&pair.plaintext, &expected);
    }

    #[test]
    fn garbage_is_an_error_and_not_a_panic(
        cut in 0_usize..4_000,
        noise in proptest::collection::vec(any::<u8>(), 1..400),
        is_established: bool,
    ) {
        let mut pair = if is_established { Pair::established() } else { Pair::new() };
        pair.client.writer().write_all(&[1; 2_000]).expect("a queue");
        let mut records = pair.clients_records();
        records.truncate(cut);
        // Garbled bytes may look like an incomplete record; then the session waits for more.
        let outcomes = [pair.give(&records), pair.give(&noise), pair.give(&noise)];
        if outcomes.iter().any(Result::is_err) {
            prop_assert!(pair.session.kept.is_empty() && !pair.session.can_encrypt());
        }
        let mut encrypted = Encrypted::default();
        pair.session.take_unsent(&mut encrypted);
        let _ = pair.session.encrypt(b"an answer", &mut encrypted);
    }
}
