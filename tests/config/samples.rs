//! A value for every key that changes it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use corecast::config::{
    Config, ConnectionLimit, EndpointConfig, HubOptions, KIB, KeepaliveOverride, Kind, LogFormat,
    LogLevel, LogOutput, MIB, NamedOptions, Network, NostrChallenge, NostrConfig, OnDuplicate,
    Origin, PushOptions, RatePolicy, Shards, SlowPolicy, TrustedProxy,
};
use corecast::guard::{ApiKey, CloseRevoked, Secret};

/// A key, a value for it that is not its default, and the field that it has to change.
pub(crate) type Sample = (&'static str, &'static str, fn(&mut Config));

pub(crate) const SAMPLES: &[Sample] = &[
    ("server.host", "127.0.0.1", |c| {
        c.server.host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    }),
    ("server.port", "8080", |c| c.server.port = 8080),
    (
        "server.listen",
        "http://[::]:8080, unix:/run/corecast.sock, systemd",
        |c| {
            c.server.listen = ["http://[::]:8080", "unix:/run/corecast.sock", "systemd"]
                .map(|text| text.parse().expect("a listener"))
                .to_vec();
        },
    ),
    ("server.unix_mode", "\"0600\"", |c| {
        c.server.unix_mode = 0o600;
    }),
    ("server.trusted_proxies", "10.0.0.0/8, unix", |c| {
        c.server.trusted_proxies = vec![
            TrustedProxy::Network(network("10.0.0.0/8")),
            TrustedProxy::Unix,
        ];
    }),
    ("server.tls.cert_file", "tls/cert.pem", |c| {
        c.server.tls.cert_file = Some(PathBuf::from("tls/cert.pem"));
    }),
    ("server.tls.key_file", "key.pem", |c| {
        c.server.tls.key_file = Some(PathBuf::from("key.pem"));
    }),
    ("server.tls.client_ca_file", "ca.pem", |c| {
        c.server.tls.client_ca_file = Some(PathBuf::from("ca.pem"));
    }),
    ("engine.shards", "3", |c| c.engine.shards = Shards::Count(3)),
    ("engine.pin", "true", |c| c.engine.pin = true),
    ("engine.spin_us", "50", |c| c.engine.spin_us = 50),
    ("engine.read_buffer_bytes", "1MB", |c| {
        c.engine.read_buffer_bytes = MIB;
    }),
    ("engine.send_buffer_bytes", "64KiB", |c| {
        c.engine.send_buffer_bytes = Some(64 * KIB);
    }),
    ("networks.allow", "10.0.0.0/8, ::1", |c| {
        c.networks.allow = ["10.0.0.0/8", "::1/128"].map(network).to_vec();
    }),
    ("networks.deny", "192.0.2.0/24", |c| {
        c.networks.deny = vec![network("192.0.2.0/24")];
    }),
    ("origins.allow", "https://a.example, same", |c| {
        c.origins.allow = vec![origin("https://a.example"), Origin::Same];
    }),
    ("origins.allow_missing", "false", |c| {
        c.origins.allow_missing = false;
    }),
    ("auth.enabled", "false", |c| c.auth.enabled = Some(false)),
    ("auth.keys", "first-key-01234567, second-key-0123456", |c| {
        let keys = ["first-key-01234567", "second-key-0123456"].map(api_key);
        c.auth.keys = Some(keys.to_vec());
    }),
    ("auth.close_revoked", "all", |c| {
        c.auth.close_revoked = CloseRevoked::All;
    }),
    ("auth.keys_file", "keys.txt", |c| {
        c.auth.keys_file = Some(PathBuf::from("keys.txt"));
    }),
    (
        "auth.jwt.secret",
        "a secret that is quite long enough",
        |c| {
            c.auth.jwt.secret = Some(Secret::new("a secret that is quite long enough"));
        },
    ),
    ("auth.jwt.keys_file", "jwks.json", |c| {
        c.auth.jwt.keys_file = Some(PathBuf::from("jwks.json"));
    }),
    ("auth.jwt.leeway", "1m", |c| {
        c.auth.jwt.leeway = Duration::from_secs(60);
    }),
    ("limits.message_bytes", "10 MB", |c| {
        c.limits.message_bytes = 10 * MIB;
        // The global value applies if the endpoint has none.
        named(c).limits.message_bytes = None;
    }),
    ("limits.frame_bytes", "4096", |c| {
        c.limits.frame_bytes = Some(4096);
    }),
    ("limits.head_bytes", "8KiB", |c| {
        c.limits.head_bytes = 8 * KIB;
    }),
    ("limits.connections", "off", |c| {
        c.limits.connections = ConnectionLimit::Unlimited;
    }),
    ("limits.connections_per_ip", "0", |c| {
        c.limits.connections_per_ip = None;
    }),
    ("limits.exempt_networks", "10.0.0.0/8, 192.0.2.1", |c| {
        c.limits.exempt_networks = ["10.0.0.0/8", "192.0.2.1/32"].map(network).to_vec();
    }),
    ("limits.inbound_bytes", "1GiB", |c| {
        c.limits.inbound_bytes = KIB * MIB;
    }),
    ("limits.rooms_per_connection", "7", |c| {
        c.limits.rooms_per_connection = 7;
    }),
    ("limits.room_name_bytes", "100", |c| {
        c.limits.room_name_bytes = 100;
    }),
    ("slow_client.policy", "drop_oldest", |c| {
        c.slow_client.policy = SlowPolicy::DropOldest;
    }),
    ("slow_client.outbox_bytes", "32MiB", |c| {
        c.slow_client.outbox_bytes = 32 * MIB;
    }),
    ("slow_client.outbox_age", "off", |c| {
        c.slow_client.outbox_age = Duration::ZERO;
    }),
    ("slow_client.process_bytes", "96MiB", |c| {
        c.slow_client.process_bytes = 96 * MIB;
    }),
    ("keepalive.ping", "10s", |c| {
        c.keepalive.ping = Duration::from_secs(10);
        named(c).keepalive = KeepaliveOverride::default();
    }),
    ("keepalive.pong", "1m30s", |c| {
        c.keepalive.pong = Duration::from_secs(90);
        named(c).keepalive = KeepaliveOverride::default();
    }),
    ("deflate.enabled", "true", |c| c.deflate.enabled = true),
    ("rate.policy", "drop", |c| c.rate.policy = RatePolicy::Drop),
    ("rate.messages", "50", |c| c.rate.messages = Some(50)),
    ("rate.messages_burst", "100", |c| {
        c.rate.messages_burst = Some(100);
    }),
    ("rate.bytes", "64KiB", |c| c.rate.bytes = Some(64 * KIB)),
    ("rate.bytes_burst", "1MiB", |c| {
        c.rate.bytes_burst = Some(MIB);
    }),
    ("limits.connects_per_ip.rate", "10", |c| {
        c.limits.connects_per_ip.rate = Some(10);
    }),
    ("limits.connects_per_ip.burst", "20", |c| {
        c.limits.connects_per_ip.burst = Some(20);
    }),
    ("deflate.min_bytes", "0", |c| c.deflate.min_bytes = 0),
    ("deflate.level", "6", |c| c.deflate.level = 6),
    ("timeouts.handshake", "250ms", |c| {
        c.timeouts.handshake = Duration::from_millis(250);
    }),
    ("timeouts.message", "1h", |c| {
        c.timeouts.message = Duration::from_secs(3600);
    }),
    ("timeouts.close", "1s", |c| {
        c.timeouts.close = Duration::from_secs(1);
    }),
    ("shutdown.delay", "3s", |c| {
        c.shutdown.delay = Duration::from_secs(3);
    }),
    ("shutdown.timeout", "0", |c| {
        c.shutdown.timeout = Duration::ZERO;
    }),
    ("metrics.enabled", "no", |c| c.metrics.enabled = false),
    ("metrics.host", "::1", |c| {
        c.metrics.host = Some("::1".parse().expect("an address"));
    }),
    ("metrics.port", "0", |c| c.metrics.port = 0),
    ("admin.dashboard", "false", |c| c.admin.dashboard = false),
    ("admin.token", "a-token-for-admins", |c| {
        c.admin.token = Some(api_key("a-token-for-admins"));
    }),
    ("admin.addresses", "true", |c| c.admin.addresses = true),
    ("health.status_word", "ok", |c| {
        c.health.status_word = "ok".to_owned();
    }),
    ("health.users", "no", |c| c.health.users = Some(false)),
    ("cors.origin", "off", |c| c.cors.origin = None),
    ("cors.methods", "GET", |c| c.cors.methods = "GET".to_owned()),
    ("cors.headers", "X-Trace, Accept", |c| {
        c.cors.headers = "X-Trace, Accept".to_owned();
    }),
    ("api.enabled", "no", |c| c.api.enabled = false),
    ("api.keys", "old-key, new-key", |c| {
        c.api.keys = Some(["old-key", "new-key"].map(api_key).to_vec());
    }),
    ("api.keys_file", "keys.txt", |c| {
        c.api.keys_file = Some(PathBuf::from("keys.txt"));
    }),
    ("pages.enabled", "true", |c| c.pages.enabled = true),
    ("logging.level", "DEBUG", |c| {
        c.logging.level = LogLevel::Debug;
    }),
    ("logging.format", "json", |c| {
        c.logging.format = LogFormat::Json;
    }),
    ("logging.output", "relay.log", |c| {
        c.logging.output = LogOutput::File(PathBuf::from("relay.log"));
    }),
    ("endpoints.hub.path", "/chat/**", |c| {
        hub(c).path = "/chat/**".to_owned();
    }),
    ("endpoints.hub.enabled", "false", |c| hub(c).enabled = false),
    ("endpoints.hub.echo", "false", |c| {
        hub(c).kind = Kind::Hub(HubOptions { echo: false });
    }),
    ("endpoints.named.binary_out", "true", |c| {
        named_options(c).binary_out = true;
    }),
    ("endpoints.named.on_duplicate", "share", |c| {
        named_options(c).on_duplicate = OnDuplicate::Share;
    }),
    ("endpoints.named.cors.origin", "https://example.org", |c| {
        named_options(c).cors.origin = Some(Some("https://example.org".to_owned()));
    }),
    ("endpoints.named.cors.methods", "GET", |c| {
        named_options(c).cors.methods = Some("GET".to_owned());
    }),
    ("endpoints.named.cors.headers", "Accept", |c| {
        named_options(c).cors.headers = Some("Accept".to_owned());
    }),
    ("endpoints.push.push_path", "/internal/push", |c| {
        push(c).push_path = Some("/internal/push".to_owned());
    }),
    ("endpoints.push.broadcast_fallback", "off", |c| {
        push(c).broadcast_fallback = false;
    }),
    ("endpoints.push.journal", "push.redb", |c| {
        push(c).journal = Some(PathBuf::from("push.redb"));
    }),
    ("endpoints.push.pending_max", "7", |c| {
        push(c).pending_max = 7;
    }),
    ("endpoints.push.pending_bytes", "2MiB", |c| {
        push(c).pending_bytes = 2 * MIB;
    }),
    ("endpoints.push.delay_max", "1h", |c| {
        push(c).delay_max = Duration::from_secs(3_600);
    }),
    (
        "endpoints.nostr.nostr.urls",
        "wss://relay.example.com/nostr, ws://127.0.0.1:8080",
        |c| {
            relay(c).urls = ["wss://relay.example.com/nostr", "ws://127.0.0.1:8080"]
                .map(|url| url.parse().expect("a URL"))
                .to_vec();
        },
    ),
    ("endpoints.nostr.nostr.store", "/var/lib/events", |c| {
        relay(c).store = Some("/var/lib/events".into());
    }),
    ("endpoints.nostr.nostr.memory_events", "7", |c| {
        relay(c).memory_events = 7;
    }),
    ("endpoints.nostr.nostr.info.name", "A relay", |c| {
        relay(c).info.name = text("A relay");
    }),
    (
        "endpoints.nostr.nostr.info.description",
        "\"One.\\n\\nTwo.\"",
        |c| {
            relay(c).info.description = text("One.\n\nTwo.");
        },
    ),
    (
        "endpoints.nostr.nostr.info.icon",
        "https://example.com/i.png",
        |c| {
            relay(c).info.icon = text("https://example.com/i.png");
        },
    ),
    (
        "endpoints.nostr.nostr.info.banner",
        "https://example.com/b.png",
        |c| {
            relay(c).info.banner = text("https://example.com/b.png");
        },
    ),
    ("endpoints.nostr.nostr.info.pubkey", HEX_KEY, |c| {
        relay(c).info.pubkey = text(HEX_KEY);
    }),
    ("endpoints.nostr.nostr.info.self", HEX_KEY, |c| {
        relay(c).info.self_key = text(HEX_KEY);
    }),
    (
        "endpoints.nostr.nostr.info.contact",
        "mailto:a@example.com",
        |c| {
            relay(c).info.contact = text("mailto:a@example.com");
        },
    ),
    (
        "endpoints.nostr.nostr.info.terms_of_service",
        "https://example.com/t",
        |c| {
            relay(c).info.terms_of_service = text("https://example.com/t");
        },
    ),
    (
        "endpoints.nostr.nostr.info.payments_url",
        "https://example.com/p",
        |c| {
            relay(c).info.payments_url = text("https://example.com/p");
        },
    ),
    ("endpoints.nostr.nostr.admins", HEX_KEY, |c| {
        relay(c).admins = vec![HEX_KEY.to_owned()];
    }),
    ("endpoints.nostr.nostr.auth.challenge", "connect", |c| {
        relay(c).auth.challenge = NostrChallenge::Connect;
    }),
    ("endpoints.nostr.nostr.auth.read", "yes", |c| {
        relay(c).auth.read = true;
    }),
    ("endpoints.nostr.nostr.auth.write", "true", |c| {
        relay(c).auth.write = true;
    }),
    ("endpoints.nostr.nostr.auth.private_kinds", "[]", |c| {
        relay(c).auth.private_kinds = Vec::new();
    }),
    ("endpoints.nostr.nostr.auth.keys", "1", |c| {
        relay(c).auth.keys = 1;
    }),
    ("endpoints.nostr.nostr.events.bytes", "64KiB", |c| {
        relay(c).events.bytes = 64 * KIB;
    }),
    ("endpoints.nostr.nostr.events.tags", "10", |c| {
        relay(c).events.tags = 10;
    }),
    ("endpoints.nostr.nostr.events.content_chars", "280", |c| {
        relay(c).events.content_chars = Some(280);
    }),
    ("endpoints.nostr.nostr.events.future", "0", |c| {
        relay(c).events.future = Duration::ZERO;
    }),
    ("endpoints.nostr.nostr.events.past", "8760h", |c| {
        relay(c).events.past = seconds(8_760 * 3_600);
    }),
    ("endpoints.nostr.nostr.events.pow", "255", |c| {
        relay(c).events.pow = 255;
    }),
    ("endpoints.nostr.nostr.events.kinds", "0, 1, 65535", |c| {
        relay(c).events.kinds = Some(vec![0, 1, 65_535]);
    }),
    ("endpoints.nostr.nostr.queries.filters", "3", |c| {
        relay(c).queries.filters = 3;
    }),
    ("endpoints.nostr.nostr.queries.subscriptions", "4", |c| {
        relay(c).queries.subscriptions = 4;
    }),
    ("endpoints.nostr.nostr.queries.values", "5", |c| {
        relay(c).queries.values = 5;
    }),
    ("endpoints.nostr.nostr.queries.limit", "6000", |c| {
        relay(c).queries.limit = 6_000;
    }),
    ("endpoints.nostr.nostr.queries.limit_default", "8", |c| {
        relay(c).queries.limit_default = 8;
    }),
    ("endpoints.nostr.nostr.queries.and_tags", "true", |c| {
        relay(c).queries.and_tags = true;
    }),
    ("endpoints.nostr.nostr.queries.count", "9", |c| {
        relay(c).queries.count = 9;
    }),
    ("endpoints.nostr.nostr.sync.events", "off", |c| {
        relay(c).sync.events = None;
    }),
    ("endpoints.nostr.nostr.sync.sessions", "10", |c| {
        relay(c).sync.sessions = 10;
    }),
    ("endpoints.nostr.nostr.sync.idle", "11s", |c| {
        relay(c).sync.idle = Duration::from_secs(11);
    }),
    ("endpoints.nostr.nostr.readers", "64", |c| {
        relay(c).readers = Some(64);
    }),
    (
        "endpoints.nostr.nostr.policies",
        "sane_defaults, prevent_large_tags=1KiB, event_ip_rate_limiter=2/3m/10",
        |c| {
            let policies = [
                "sane_defaults",
                "prevent_large_tags=1KiB",
                "event_ip_rate_limiter=2/3m/10",
            ];
            let read = policies.map(|policy| policy.parse().expect("a policy"));
            relay(c).policies = read.to_vec();
        },
    ),
    ("endpoints.hub.origins.allow", "same", |c| {
        hub(c).origins.allow = Some(vec![Origin::Same]);
    }),
    ("endpoints.hub.origins.allow_missing", "true", |c| {
        hub(c).origins.allow_missing = Some(true);
    }),
    ("endpoints.hub.auth.enabled", "auto", |c| {
        hub(c).auth.enabled = Some(None);
    }),
    ("endpoints.hub.auth.keys", "[hub-key-0123456789]", |c| {
        hub(c).auth.keys = Some(vec![api_key("hub-key-0123456789")]);
    }),
    ("endpoints.hub.auth.keys_file", "hub.txt", |c| {
        hub(c).auth.keys_file = Some(PathBuf::from("hub.txt"));
    }),
    (
        "endpoints.hub.auth.jwt.secret",
        "a secret of the hub, long enough",
        |c| {
            hub(c).auth.jwt.secret = Some(Secret::new("a secret of the hub, long enough"));
        },
    ),
    ("endpoints.hub.auth.jwt.keys_file", "hub.pem", |c| {
        hub(c).auth.jwt.keys_file = Some(PathBuf::from("hub.pem"));
    }),
    ("endpoints.hub.limits.message_bytes", "2KB", |c| {
        hub(c).limits.message_bytes = Some(2 * KIB);
    }),
    ("endpoints.hub.limits.frame_bytes", "off", |c| {
        hub(c).limits.frame_bytes = Some(None);
    }),
    ("endpoints.hub.slow_client.policy", "latest_only", |c| {
        hub(c).slow_client.policy = Some(SlowPolicy::LatestOnly);
    }),
    ("endpoints.hub.slow_client.outbox_bytes", "3MiB", |c| {
        hub(c).slow_client.outbox_bytes = Some(3 * MIB);
    }),
    ("endpoints.hub.slow_client.outbox_age", "5s", |c| {
        hub(c).slow_client.outbox_age = seconds(5);
    }),
    ("endpoints.hub.rate.policy", "close", |c| {
        hub(c).rate.policy = Some(RatePolicy::Close);
    }),
    ("endpoints.hub.rate.messages", "off", |c| {
        hub(c).rate.messages = Some(None);
    }),
    ("endpoints.hub.rate.messages_burst", "7", |c| {
        hub(c).rate.messages_burst = Some(Some(7));
    }),
    ("endpoints.hub.rate.bytes", "1MiB", |c| {
        hub(c).rate.bytes = Some(Some(MIB));
    }),
    ("endpoints.hub.rate.bytes_burst", "auto", |c| {
        hub(c).rate.bytes_burst = Some(None);
    }),
    ("endpoints.hub.keepalive.ping", "off", |c| {
        hub(c).keepalive.ping = Some(Duration::ZERO);
    }),
    ("endpoints.hub.keepalive.pong", "2m", |c| {
        hub(c).keepalive.pong = seconds(120);
    }),
    ("endpoints.hub.deflate.enabled", "on", |c| {
        hub(c).deflate.enabled = Some(true);
    }),
    ("endpoints.hub.deflate.min_bytes", "1KiB", |c| {
        hub(c).deflate.min_bytes = Some(KIB);
    }),
    ("endpoints.hub.deflate.level", "9", |c| {
        hub(c).deflate.level = Some(9);
    }),
];

/// Keys that cannot change alone: TLS needs its files, PROXY headers need somebody to be trusted,
/// another kind needs another path, and what a token has to say needs something to verify it with.
pub(crate) const FIXED: &[&str] = &[
    "server.tls.enabled",
    "server.proxy_protocol",
    "endpoints.hub.kind",
    "auth.jwt.issuer",
    "auth.jwt.audience",
    "endpoints.hub.auth.jwt.issuer",
    "endpoints.hub.auth.jwt.audience",
];

pub(crate) fn network(text: &str) -> Network {
    text.parse().expect("a network")
}

fn origin(text: &str) -> Origin {
    text.parse().expect("an origin")
}

pub(crate) fn api_key(text: &str) -> ApiKey {
    text.parse().expect("an API key")
}

pub(crate) fn seconds(count: u64) -> Option<Duration> {
    Some(Duration::from_secs(count))
}

fn hub(config: &mut Config) -> &mut EndpointConfig {
    endpoint(config, "hub")
}

fn named_options(config: &mut Config) -> &mut NamedOptions {
    match &mut named(config).kind {
        Kind::Named(options) => options,
        other => panic!("{other:?}"),
    }
}

fn push(config: &mut Config) -> &mut PushOptions {
    match &mut endpoint(config, "push").kind {
        Kind::Push(options) => options,
        other => panic!("{other:?}"),
    }
}

fn relay(config: &mut Config) -> &mut NostrConfig {
    match &mut endpoint(config, "nostr").kind {
        Kind::Nostr(options) => options,
        other => panic!("{other:?}"),
    }
}

/// A public key, as it is written.
pub(crate) const HEX_KEY: &str = "82341f882b6eabcd2ba7f1ef90aad961cf074af15b9ef44a09f9d2a8fbfbe6a2";

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn named(config: &mut Config) -> &mut EndpointConfig {
    endpoint(config, "named")
}

fn endpoint<'c>(config: &'c mut Config, name: &str) -> &'c mut EndpointConfig {
    let endpoint = config.endpoints.get_mut(name);
    endpoint.expect("a built-in endpoint")
}
