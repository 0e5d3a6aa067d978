//! `corecast token`: tokens that it makes are accepted, and its messages about tokens.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};

use super::{SECRET, plain_token, signed, signed_by};

/// Runs the binary with this standard input.
fn corecast(arguments: &[&str], secret: Option<&str>, input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corecast"));
    let command = command.args(arguments).env_clear();
    if let Some(secret) = secret {
        command.env("CORECAST_AUTH_JWT_SECRET", secret);
    }
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = pipes
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A command without input may have ended already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

/// One line of standard output of a successful command.
fn line(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim().to_owned()
}

/// The standard error of a failed command.
fn failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

#[test]
fn a_new_token_is_valid_and_has_the_requested_claims() {
    let make = [
        "token",
        "make",
        "--user",
        "ada",
        "--read",
        "/chat/*",
        "--write",
        "/chat/ada",
        "--expires",
        "10m",
        "--set",
        "auth.jwt.issuer=us",
        "--set",
        "auth.jwt.audience=relay",
    ];
    let token = line(&corecast(&make, Some(SECRET), ""));
    let checks = [
        "--set",
        "auth.jwt.issuer=us",
        "--set",
        "auth.jwt.audience=relay",
    ];
    let check = [&["token", "check", "-"], &checks[..]].concat();
    let said = line(&corecast(&check, Some(SECRET), &format!("{token}\n")));
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["user"], "ada");
    assert_eq!(said["read"], serde_json::json!(["/chat/*"]));
    assert_eq!(said["write"], serde_json::json!(["/chat/ada"]));
    assert!(said["expires"].as_str().is_some_and(|at| at.ends_with('Z')));
    // The same token as an argument, for another audience.
    let error = failure(&corecast(&["token", "check", &token], Some(SECRET), ""));
    assert!(error.contains("it is for another audience"), "{error}");
}

#[test]
fn an_invalid_token_gives_its_reason_and_exit_code_1() {
    let other = signed_by("another secret, which is long enough", &plain_token());
    let mut expired = plain_token();
    expired.expires = std::time::UNIX_EPOCH;
    for (token, reason) in [
        (other, "its signature is wrong"),
        (signed(&expired), "it has expired"),
        ("nonsense".to_owned(), "it cannot be read"),
    ] {
        let error = failure(&corecast(&["token", "check", &token], Some(SECRET), ""));
        assert!(
            error.contains("the token is invalid") && error.contains(reason),
            "{error}"
        );
        assert!(!error.contains(&token), "{error}");
    }
    let error = failure(&corecast(&["token", "check", "x"], None, ""));
    assert!(error.contains("there is nothing to check with"), "{error}");
}

#[test]
fn a_private_key_signs_and_the_public_one_checks() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256] {
        let pair = KeyPair::generate_for(algorithm).expect("a key");
        fs::write(at("private.pem"), pair.serialize_pem()).expect("a file");
        fs::write(at("public.pem"), pair.public_key_pem()).expect("a file");
        let make = ["token", "make", "--key-file", &at("private.pem")];
        let token = line(&corecast(&make, None, ""));
        let set = format!("auth.jwt.keys_file={}", at("public.pem"));
        let said = line(&corecast(
            &["token", "check", "-", "--set", &set],
            None,
            &token,
        ));
        assert!(said.contains(r#""read":["*"]"#), "{said}");
    }
}

#[test]
fn signing_errors_do_not_show_the_secret() {
    let error = failure(&corecast(&["token", "make"], None, ""));
    assert!(error.contains("there is nothing to sign with"), "{error}");
    let error = failure(&corecast(
        &["token", "make", "--key-file", "no/such"],
        None,
        "",
    ));
    assert!(error.contains("no/such"), "{error}");
    let unknown = ["token", "make", "--endpoint", "lobby"];
    let error = failure(&corecast(&unknown, Some(SECRET), ""));
    assert!(
        error.contains("endpoint \"lobby\" does not exist"),
        "{error}"
    );
    let short = corecast(&["token", "make"], Some("hunter2"), "");
    assert_eq!(short.status.code(), Some(78));
    assert!(!String::from_utf8_lossy(&short.stderr).contains("hunter2"));
}
