//! An engine in this process on a free port, and its settings.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use corecast::config::{Config, Shards};
use corecast::engine::{Builder, EndpointSettings, Engine, Settings, ShardStats, Shutdown, View};
use corecast::relay::hub::Hub;
use corecast::relay::json_error;

use crate::client::Client;
use crate::waiting::eventually;

/// Holds a table of what is promised to its second column, the names of tests: each has to be in
/// one of these sources.
pub fn assert_tests(rows: &[(&str, &str)], sources: &[&str]) {
    for (row, test) in rows {
        let name = format!("fn {test}() {{");
        let is_there = |source: &&str| {
            let lines: Vec<&str> = source.lines().map(str::trim).collect();
            lines.windows(2).any(|pair| pair == ["#[test]", &name])
        };
        assert!(sources.iter().any(is_there), "{row}: {test}");
    }
}

/// One shard, a short close timeout, and no endpoint yet.
pub fn settings() -> Settings {
    let mut settings = Settings {
        shutdown: Shutdown {
            timeout: Duration::from_secs(3),
            ..Shutdown::default()
        },
        ..Settings::default()
    };
    settings.timeouts.close = Duration::from_secs(2);
    settings
}

/// A config for tests: loopback, free ports, no metrics, so many shards.
pub fn config(shards: u16) -> Config {
    let mut config = Config::default();
    config.server.host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    config.server.port = 0;
    config.metrics.enabled = false;
    config.engine.shards = Shards::Count(shards);
    config.timeouts.close = Duration::from_secs(2);
    config.shutdown.timeout = Duration::from_secs(3);
    config
}

/// A running engine, which is stopped when the test is over.
pub struct Server {
    engine: Option<Engine>,
    pub address: SocketAddr,
    pub view: View,
}

impl Server {
    /// Starts an engine with the endpoints that `build` adds.
    pub fn start(settings: Settings, build: impl FnOnce(&mut Builder)) -> Server {
        let mut builder = Engine::builder().settings(settings);
        build(&mut builder);
        Server::of(builder)
    }

    /// The relay that a configuration describes.
    pub fn relay(config: &Config) -> Server {
        let builder = corecast::relay::builder(config, 4_096).expect("a config that works");
        Server::of(builder)
    }

    fn of(builder: Builder) -> Server {
        let engine = builder.start().expect("an engine on a free port");
        Server {
            address: engine.addresses()[0],
            view: engine.view(),
            engine: Some(engine),
        }
    }

    /// A hub at every path.
    pub fn hub(settings: Settings, endpoint: EndpointSettings) -> Server {
        Server::start(settings, |builder| {
            let hub = builder.endpoint_and_service(endpoint, Hub { echo: true });
            builder.render_refusals(hub, json_error::rendered);
            builder.route("/**", hub).expect("a path");
        })
    }

    /// A hub as it comes, on one shard.
    pub fn default_hub() -> Server {
        Server::hub(settings(), EndpointSettings::default())
    }

    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("a running engine")
    }

    /// Stops it as a signal would. Returns whether everybody went in time.
    pub fn stop(mut self) -> bool {
        self.engine.take().is_some_and(Engine::stop)
    }

    /// The sum over all shards of what `each` picks.
    pub fn sum(&self, each: impl Fn(&ShardStats) -> u64) -> u64 {
        self.view.shards().map(each).sum()
    }

    /// A WebSocket at `path`.
    pub fn open(&self, path: &str) -> Client {
        Client::open(self.address, path)
    }

    /// Waits until no connection is left: every gauge is at zero then.
    pub fn expect_empty(&self) {
        eventually("all connections gone", || self.view.connections() == 0);
        eventually("all gauges at zero", || {
            self.sum(|stats| stats.open.get() + stats.connecting.get() + stats.closing.get()) == 0
        });
        eventually("all partial messages gone", || {
            self.view.inbound_bytes() == 0
        });
        eventually("all buffers gone", || self.view.live_bytes() == 0);
        eventually("all rooms gone", || self.view.rooms() == 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take()
            && !std::thread::panicking()
        {
            engine.stop();
        }
    }
}
