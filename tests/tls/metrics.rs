//! Metrics of certificates and reloads.

use std::net::SocketAddr;
use std::time::SystemTime;

use corecast::config::Config;
use corecast::engine::Engine;
use corecast::relay;

use crate::certificates::{Authority, Folder};
use crate::support::client::Client;

/// 31 December, midnight, in seconds since 1970.
const END_OF_2100: u64 = 4_133_894_400;
const END_OF_2101: u64 = END_OF_2100 + 365 * 24 * 3_600;

fn metrics(admin: SocketAddr) -> String {
    let mut client = Client::connect(admin);
    client.send(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    String::from_utf8(client.answer().body).expect("UTF-8")
}

fn value(text: &str, series: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(series));
    let value = lines
        .next()
        .unwrap_or_else(|| panic!("no {series} in {text}"));
    value.trim().parse::<f64>().expect("a number") as u64
}

fn builder(config: &Config) -> corecast::engine::Builder {
    let mut builder = relay::builder(config, 1_000).expect("paths");
    let tls = config.server.load_tls(SystemTime::now()).expect("files");
    if let Some(tls) = tls {
        builder.tls(tls);
    }
    builder
}

fn config(folder: &Folder) -> Config {
    let mut config = Config::default();
    config.server.host = [127, 0, 0, 1].into();
    (config.server.port, config.metrics.port) = (0, 0);
    config.server.tls.enabled = true;
    config.server.tls.cert_file = Some(folder.path("cert.pem"));
    config.server.tls.key_file = Some(folder.path("key.pem"));
    config
}

fn expiry_of(engine: &Engine) -> String {
    let name = "corecast_tls_certificate_expiry_timestamp_seconds";
    format!("{name}{{listener=\"{}\"}}", engine.addresses()[0])
}

#[test]
fn metrics_show_certificate_expiry_and_reloads() {
    let authority = Authority::new("the server's");
    let folder = Folder::new(&authority.server(2100));
    let config = config(&folder);
    let mut engine = builder(&config).start().expect("an engine");
    let admin = engine.admin_addresses()[0];
    let text = metrics(admin);
    assert_eq!(value(&text, &expiry_of(&engine)), END_OF_2100);
    let began = value(&text, "corecast_config_last_reload_timestamp_seconds");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    assert!(now.expect("after 1970").as_secs() - began < 60);
    assert_eq!(
        value(&text, "corecast_tls_handshakes_total{kind=\"full\"}"),
        0
    );

    folder.renew(&authority.server(2101));
    engine.reload(builder(&config)).expect("the same endpoints");
    engine.count_failed_reload();
    let text = metrics(admin);
    assert_eq!(value(&text, &expiry_of(&engine)), END_OF_2101);
    for result in ["applied", "failed"] {
        let series = format!("corecast_config_reloads_total{{result=\"{result}\"}}");
        assert_eq!(value(&text, &series), 1);
    }
    assert!(engine.stop());
}

#[test]
fn other_endpoints_are_no_reload() {
    let folder = Folder::new(&Authority::new("the server's").server(2100));
    let mut config = config(&folder);
    let mut engine = builder(&config).start().expect("an engine");
    config.endpoints.clear();
    let error = engine
        .reload(builder(&config))
        .expect_err("fewer endpoints");
    assert!(error.to_string().contains("endpoints"), "{error}");
    assert!(engine.stop());
}
