//! Keys that are revoked, forgotten or guessed, and invalid tokens.

use std::fs;
use std::path::Path;
use std::process::Command;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustix::process::Signal;

use crate::stage::{Stage, arguments};
use crate::support::client::{Client, upgrade_with};
use crate::support::eventually;
use crate::support::relay::Relay;

const KEY: &str = "a-key-of-0123456789";

/// An endpoint that requires keys, beside the hub of the witness, which requires none.
const DOOR: [&str; 2] = ["endpoints.door.kind=hub", "endpoints.door.path=/door/**"];

/// The result of a request at the door.
fn knock(stage: &Stage, headers: &str) -> (Client, u16) {
    let mut client = stage.connect();
    client.send(upgrade_with("/door/a", headers).as_bytes());
    let status = client.answer().status;
    (client, status)
}

fn key(text: &str) -> String {
    format!("X-API-Key: {text}\r\n")
}

/// A relay with a configuration file whose door has this `auth`.
fn stage_with(file: &Path, auth: &str) -> Stage {
    configure(file, auth);
    let path = file.to_str().expect("UTF-8");
    let arguments = [&arguments(&[])[..], &["--config-file", path]].concat();
    Stage::on(Relay::start(&arguments))
}

fn configure(file: &Path, auth: &str) {
    let text = format!("endpoints: {{door: {{kind: hub, path: /door/**, auth: {{{auth}}}}}}}\n");
    fs::write(file, text).expect("a file");
}

#[test]
fn the_last_key_is_removed_by_a_reload() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    let stage = stage_with(&file, &format!("keys: [{KEY}]"));
    assert_eq!(knock(&stage, "").1, 401);
    let reloads = |result: &str| {
        let series = format!("corecast_config_reloads_total{{result=\"{result}\"}}");
        stage.metrics().value(&series)
    };
    for (number, auth) in [
        (1.0, "keys: []"),
        (2.0, "keys: null"),
        (3.0, "enabled: auto"),
    ] {
        configure(&file, auth);
        stage.relay.signal(Signal::HUP);
        eventually("it is refused", || reloads("failed") == number);
        assert_eq!(knock(&stage, "").1, 401, "{auth}");
    }
    assert_eq!(
        (
            stage.relay.logged("and would need none"),
            reloads("applied")
        ),
        (3, 0.0)
    );
    // With this setting it is open.
    configure(&file, "enabled: false");
    stage.relay.signal(Signal::HUP);
    eventually("it is applied", || reloads("applied") == 1.0);
    let (client, status) = knock(&stage, "");
    assert_eq!(status, 101);
    stage.leave(client);
    stage.end(&[("refused no_credentials", 4)]);
}

#[test]
fn the_variable_of_a_secret_is_empty() {
    for variable in [
        "CORECAST_AUTH_KEYS",
        "CORECAST_AUTH_JWT_SECRET",
        "CORECAST_ENDPOINTS_HUB_AUTH_KEYS",
        "CORECAST_ADMIN_TOKEN",
        "RELAY_API_KEY",
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_corecast"))
            .args(["--set", "server.host=127.0.0.1", "--set", "server.port=0"])
            .args(["--set", "metrics.port=0"])
            .env_clear()
            .env(variable, "")
            .output()
            .expect("the binary runs");
        assert_eq!(output.status.code(), Some(78), "{variable}");
        let said = String::from_utf8_lossy(&output.stderr);
        let expected = format!("environment {variable}: a secret is set to an empty text");
        assert!(said.starts_with(&expected), "{said}");
    }
}

#[test]
fn a_file_of_keys_is_emptied_and_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    fs::write(&keys, KEY).expect("a file");
    let named = format!("endpoints.door.auth.keys_file={}", keys.display());
    let stage = Stage::start(&[&DOOR[..], &[&named]].concat());
    let (mut client, status) = knock(&stage, &key(KEY));
    assert_eq!(status, 101);
    fs::write(&keys, "# all revoked\n").expect("a file");
    assert_eq!(client.expect_close(1008), "auth: revoked");
    client.close(1008);
    client.expect_end();
    assert_eq!(knock(&stage, &key(KEY)).1, 401);
    fs::remove_file(&keys).expect("a file");
    eventually("that is seen", || stage.relay.logged("cannot be read") == 1);
    assert_eq!(
        (knock(&stage, &key(KEY)).1, knock(&stage, "").1),
        (401, 401)
    );
    stage.end(&[
        ("closed revoked", 1),
        ("refused bad_key", 2),
        ("refused no_credentials", 1),
    ]);
}

#[test]
fn one_address_shows_bad_tokens_without_end() {
    const ROUNDS: usize = 8;
    const CONNECTIONS: usize = 32;
    const REQUESTS: usize = 50;
    let folder = tempfile::tempdir().expect("a folder");
    let pem = folder.path().join("keys.pem");
    let pairs = (0..8).map(|_| KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"));
    let public: String = pairs.map(|pair| pair.public_key_pem()).collect();
    fs::write(&pem, public).expect("a file");
    let named = format!("endpoints.door.auth.jwt.keys_file={}", pem.display());
    let exempt = "limits.exempt_networks=[]";
    let stage = Stage::start(&[&DOOR[..], &[&named, exempt]].concat());
    // {"alg":"ES256"}, {}, and 64 bytes.
    let token = format!("eyJhbGciOiJFUzI1NiJ9.e30.{}", "A".repeat(86));
    let request =
        format!("GET /door/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    let flood = request.repeat(REQUESTS);
    let (mut unverified, mut verified) = (0, 0);
    for _ in 0..ROUNDS {
        let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| stage.connect()).collect();
        for client in &mut clients {
            // Data after the answer may find a closed connection.
            let _ = client.try_send(flood.as_bytes());
        }
        stage.witness.goes_on();
        for client in &mut clients {
            match client.answer().status {
                401 => verified += 1,
                429 => unverified += 1,
                other => panic!("{other}"),
            }
            client.expect_end();
        }
    }
    assert!(
        verified >= 20 && unverified > verified,
        "{verified} {unverified}"
    );
    let mut probe = Client::connect(stage.relay.admin);
    probe.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(probe.answer().status, 200);
    drop(probe);
    stage.end(&[
        ("refused credential_rate", unverified),
        ("refused token_signature", verified),
    ]);
}

#[test]
fn keys_are_guessed() {
    let keys = format!("endpoints.door.auth.keys={KEY}");
    let api = format!("api.keys={KEY}");
    let exempt = "limits.exempt_networks=[]";
    let stage = Stage::start(&[&DOOR[..], &[&keys, &api, exempt]].concat());
    let (mut judged, mut unseen) = (0, 0);
    for number in 0..100 {
        match knock(&stage, &key(&format!("guess-{number}"))).1 {
            401 => judged += 1,
            429 => unseen += 1,
            other => panic!("{other}"),
        }
        let mut client = stage.connect();
        let request = format!(
            "GET /api/info HTTP/1.1\r\nHost: x\r\n{}\r\n",
            key(&format!("guess-{number}"))
        );
        // The rest of the packet is not read.
        client.send(request.repeat(10).as_bytes());
        match client.answer().status {
            401 => judged += 1,
            429 => unseen += 1,
            other => panic!("{other}"),
        }
        client.expect_end();
    }
    assert!(judged >= 20 && unseen > 0, "{judged} {unseen}");
    let (client, status) = knock(&stage, &key(KEY));
    assert_eq!(status, 101);
    stage.leave(client);
    stage.end(&[
        ("refused bad_key", judged),
        ("refused credential_rate", unseen),
    ]);
}
