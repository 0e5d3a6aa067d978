//! SIGHUP: certificates, keys and the live part of the configuration change; connections do not.

use std::sync::Arc;

use rustix::process::Signal;
use rustls::ClientConfig;
use rustls::version::TLS13;

use crate::certificates::{Authority, Folder};
use crate::client::{Client, client_config, shake_hands, stream};
use crate::support::eventually;
use crate::support::relay::Relay;

/// The binary with a config file in a folder of its own.
struct Case {
    folder: Folder,
    relay: Relay,
    reloads: usize,
}

const DONE: &str = "config and certificates are reloaded";
const FAILED: &str = "not reloaded, the old config stays";

impl Case {
    fn start(authority: &Authority) -> Case {
        let folder = Folder::new(&authority.server(2100));
        configure(&folder, "logging: {level: info}\n");
        let file = folder.path("config.yaml");
        let file = file.to_str().expect("UTF-8");
        Case {
            relay: Relay::start(&["--config-file", file]),
            folder,
            reloads: 0,
        }
    }

    /// Sends SIGHUP and waits for the outcome. Returns whether it was applied.
    fn reload(&mut self) -> bool {
        let outcomes = |relay: &Relay| (relay.logged(DONE), relay.logged(FAILED));
        let before = outcomes(&self.relay);
        self.relay.signal(Signal::HUP);
        eventually("it says what became of it", || {
            outcomes(&self.relay) != before
        });
        self.reloads += 1;
        outcomes(&self.relay).0 > before.0
    }

    fn is_trusted(&self, config: &Arc<ClientConfig>) -> bool {
        shake_hands(&mut stream(self.relay.address, config)).is_ok()
    }
}

fn configure(folder: &Folder, more: &str) {
    let files = folder.files();
    let text = format!(
        "server: {{tls: {{enabled: true, cert_file: {:?}, key_file: {:?}}}}}\n{more}",
        files.cert_file, files.key_file
    );
    folder.write("config.yaml", &text);
}

fn trusting(authority: &Authority) -> Arc<ClientConfig> {
    Arc::new(client_config(authority, &TLS13, None))
}

#[test]
fn new_connections_see_the_new_certificate_and_open_ones_go_on() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let mut case = Case::start(&old);
    let mut open = Client::open(case.relay.address, &trusting(&old), "/");
    case.folder.renew(&new.server(2101));
    assert!(
        case.is_trusted(&trusting(&old)),
        "nothing happens without a signal"
    );
    assert!(case.reload());
    assert!(case.is_trusted(&trusting(&new)));
    assert!(!case.is_trusted(&trusting(&old)));
    open.text("still here");
    assert_eq!(open.expect_text(), "still here");
    open.0.close(None).expect("the server reads");
}

#[test]
fn a_broken_certificate_or_config_keeps_the_old_ones() {
    let authority = Authority::new("the server's");
    let mut case = Case::start(&authority);
    let config = trusting(&authority);
    case.folder.write("cert.pem", "nothing of use");
    assert!(!case.reload());
    assert_eq!(
        case.relay.logged("cert.pem: holds no certificate in PEM"),
        1
    );
    assert!(case.is_trusted(&config));
    case.folder.renew(&authority.server(2100));
    configure(&case.folder, "logging: {level: loud}\n");
    assert!(!case.reload());
    assert_eq!(case.relay.logged("logging.level: "), 1);
    assert!(case.is_trusted(&config));
    configure(&case.folder, "logging: {level: info}\n");
    assert!(case.reload());
    assert!(case.is_trusted(&config));
}

#[test]
fn the_live_part_of_the_config_changes_and_the_rest_is_named() {
    let authority = Authority::new("the server's");
    let mut case = Case::start(&authority);
    let config = trusting(&authority);
    let mut open = Client::open(case.relay.address, &config, "/");
    let long = "x".repeat(100);
    open.text(&long);
    assert_eq!(open.expect_text(), long);
    let more = "logging: {level: debug}\nlimits: {message_bytes: 50}\nengine: {shards: 7}\n";
    configure(&case.folder, more);
    assert!(case.reload());
    assert_eq!(case.relay.logged("logging.level: info becomes debug"), 1);
    let restart = "engine.shards: auto becomes 7 (takes effect after a restart)";
    assert_eq!(case.relay.logged(restart), 1);
    open.text("short");
    assert_eq!(open.expect_text(), "short");
    assert_eq!(case.relay.logged("closed"), 0);
    open.text(&long);
    open.expect_close(1009);
    eventually("debug events are logged", || {
        case.relay.logged("closed") == 1
    });
}
