//! An independent client: `openssl s_client`, if it is installed.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::Secure;
use crate::support::client as raw;

#[test]
fn openssl_gets_its_upgrade_and_a_clean_end() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: openssl is not installed");
        return;
    }
    let secure = Secure::on_shards(1);
    for version in ["-tls1_2", "-tls1_3"] {
        let mut client = Command::new("openssl")
            .args([
                "s_client", "-quiet", "-ign_eof", "-alpn", "http/1.1", version,
            ])
            .args(["-connect", &secure.server.address.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        let mut input = client.stdin.take().expect("a pipe");
        input
            .write_all(raw::upgrade("/").as_bytes())
            .expect("it reads");
        let message = raw::frame(raw::TEXT, b"from openssl");
        input.write_all(&message).expect("it reads");
        let close = raw::frame(raw::CLOSE, &raw::close_payload(1000, ""));
        input.write_all(&close).expect("it reads");
        // It ends with the relay: after its Close, with close_notify.
        let mut output = Vec::new();
        let mut answer = client.stdout.take().expect("a pipe");
        answer.read_to_end(&mut output).expect("an answer");
        let text = String::from_utf8_lossy(&output);
        assert!(text.starts_with("HTTP/1.1 101 "), "{version}: {text}");
        let frames = [&[0x81, 12][..], b"from openssl", &[0x88, 2, 3, 232]].concat();
        assert!(output.ends_with(&frames), "{version}: {output:?}");
        assert!(client.wait().expect("a child").success(), "{version}");
    }
}
