//! Keys that are replaced while the relay runs.

use std::fs;

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::relay::Relay as Binary;

/// The status of a request with this key.
fn status(relay: &Binary, request: &str, key: &str) -> u16 {
    let (head, body) = request.split_once('|').expect("a body");
    let length = body.len();
    let mut client = Client::connect(relay.address);
    client.send(
        format!(
            "{head} HTTP/1.1\r\nHost: relay\r\nX-API-KEY: {key}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .as_bytes(),
    );
    client.answer().status
}

fn reload(relay: &Binary, result: &str, times: usize) {
    relay.signal(Signal::HUP);
    let series = format!("corecast_config_reloads_total{{result=\"{result}\"}} {times}\n");
    eventually("it is reloaded", || {
        let mut client = Client::connect(relay.admin);
        client.send(b"GET /metrics HTTP/1.1\r\nHost: relay\r\n\r\n");
        String::from_utf8_lossy(&client.answer().body).contains(&series)
    });
}

#[test]
fn api_keys_in_file_and_config_are_replaced_live() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, keys) = (folder.path().join("c.yaml"), folder.path().join("keys"));
    let write = |of_config: &str, of_file: &str| {
        let text = format!(
            "api: {{keys: [{of_config}], keys_file: {}}}\n",
            keys.display()
        );
        fs::write(&config, text).expect("a file");
        fs::write(&keys, of_file).expect("a file");
    };
    write("first-of-config", "first-of-file");
    let relay = Binary::start(&["--config-file", config.to_str().expect("UTF-8")]);
    let expect = |good: [&str; 2], bad: &[&str]| {
        for request in [
            "GET /api/info|",
            "GET /api/rooms?endpoint=hub|",
            "POST /api/push|{\"event_name\":\"e\"}",
            "GET /api/push/pending|",
        ] {
            for key in good {
                assert_eq!(status(&relay, request, key), 200, "{request} {key}");
            }
            for key in bad {
                assert_eq!(status(&relay, request, key), 401, "{request} {key}");
            }
        }
    };
    let first = ["first-of-config", "first-of-file"];
    let second = ["second-of-config", "second-of-file"];
    expect(first, &second);
    write(second[0], second[1]);
    reload(&relay, "applied", 1);
    expect(second, &first);
    // A file that cannot be used changes nothing.
    write(first[0], "not a key\n");
    reload(&relay, "failed", 1);
    expect(second, &first);
    for secret in ["-of-config", "-of-file", "not a key"] {
        assert_eq!(relay.logged(secret), 0, "{secret} is in the log");
    }
}
