//! TLS from outside: with rustls as the client, and with hostile clients.

mod budget;
mod ends;
mod files;
mod handshake;
mod messages;
mod metrics;
mod openssl;
mod paced;
mod proxied;
mod reload;

use std::net::SocketAddr;
use std::sync::Arc;

use corecast::engine::{EndpointSettings, Listen, Settings};
use corecast::relay::hub::Hub;
use corecast_test::{self as support, certificates, tls_client as client};
use rustls::ClientConfig;
use rustls::version::TLS13;

use certificates::{Authority, Folder, tls_of};
use client::{Client, client_config};
use support::Server;

/// A hub with TLS on its first listener and without on its second.
pub(crate) struct Secure {
    pub(crate) server: Server,
    pub(crate) authority: Authority,
    pub(crate) plain: SocketAddr,
}

impl Secure {
    pub(crate) fn start(settings: Settings, endpoint: EndpointSettings) -> Secure {
        let authority = Authority::new("the server's");
        let folder = Folder::new(&authority.server(2100));
        Secure::with_files(authority, &folder.files(), settings, endpoint)
    }

    pub(crate) fn with_files(
        authority: Authority,
        files: &corecast::engine::TlsFiles,
        mut settings: Settings,
        endpoint: EndpointSettings,
    ) -> Secure {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let secure = Listen {
            tls: true,
            ..any.into()
        };
        settings.listen = vec![secure, any.into()];
        let server = Server::start(settings, |builder| {
            builder.tls(tls_of(files));
            let hub = builder.endpoint(endpoint, Hub { echo: true });
            builder.route("/**", hub).expect("a path");
        });
        let plain = server.engine().addresses()[1];
        Secure {
            server,
            authority,
            plain,
        }
    }

    pub(crate) fn on_shards(shards: usize) -> Secure {
        let settings = Settings {
            shards,
            ..support::settings()
        };
        Secure::start(settings, EndpointSettings::default())
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::new(client_config(&self.authority, &TLS13, None))
    }

    pub(crate) fn open(&self, path: &str) -> Client {
        Client::open(self.server.address, &self.config(), path)
    }
}
