//! Replaces settings while the engine runs, without touching a connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::engine::control::{Control, HandleError, Live};
use crate::engine::settings::Settings;
use crate::engine::start::{Builder, Engine};
use crate::engine::start_error::StartError;

/// How long a shard may take to accept a message. A shard that makes no turn for so long is stuck.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// The reason why new settings were not applied. Except for [`ReloadError::Busy`], nothing has
/// changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The settings cannot work.
    #[error(transparent)]
    Settings(#[from] StartError),
    /// The new settings have another number of endpoints than the engine.
    #[error("the settings have {wanted} endpoints, but {running} are running")]
    Endpoints {
        /// In the new settings.
        wanted: usize,
        /// In the engine.
        running: usize,
    },
    /// A shard has accepted no message for ten seconds. Other shards may have the new settings
    /// already.
    #[error("a shard does not accept control messages")]
    Busy(#[from] HandleError),
}

impl Engine {
    /// Applies the settings, the settings of endpoints and the TLS of `builder`, which must have
    /// the same endpoints in the same order as the builder that the engine was started from. The
    /// running endpoints register what they can of the new ones ([`super::Endpoint::reload`]).
    /// Routes, listeners, shards and buffers stay as they are. Connections that are open keep their
    /// TLS session and get the new limits.
    ///
    /// # Errors
    ///
    /// The settings cannot work, or a shard does not accept them in time.
    pub fn reload(&mut self, builder: Builder) -> Result<(), ReloadError> {
        builder.check()?;
        let running = &self.live;
        let (wanted, running_endpoints) = (
            builder.endpoint_settings.len(),
            running.endpoint_settings.len(),
        );
        if wanted != running_endpoints {
            return Err(ReloadError::Endpoints {
                wanted,
                running: running_endpoints,
            });
        }
        let live = Live {
            settings: Arc::new(with_fixed(builder.settings, &running.settings)),
            endpoint_settings: builder.endpoint_settings.into(),
            tls: builder.tls.or_else(|| running.tls.clone()),
        };
        let deadline = Instant::now() + TAKEN_WITHIN;
        for (running, next) in self.endpoints.iter().zip(&builder.endpoints) {
            running.reload(&**next);
        }
        for (running, next) in self.plain.iter().zip(&builder.plain) {
            running.service.reload(&*next.service);
        }
        for shard in 0..self.shared.shards() {
            let message = Control::Reload(live.clone());
            self.shared.control_until(shard, message, deadline)?;
        }
        self.shared.reloads.applied.fetch_add(1, Ordering::Relaxed);
        self.shared.reloads.note(live.tls.as_deref());
        self.live = live;
        Ok(())
    }

    /// Counts a reload that failed, in [`Engine::reload`] or before it could be called.
    pub fn count_failed_reload(&self) {
        self.shared.reloads.failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// `wanted`, with the values that only a start can change taken from `running`.
fn with_fixed(wanted: Settings, running: &Settings) -> Settings {
    let running = running.clone();
    Settings {
        listen: running.listen,
        admin_listen: running.admin_listen,
        shards: running.shards,
        pin: running.pin,
        spin: running.spin,
        read_buffer_bytes: running.read_buffer_bytes,
        send_buffer_bytes: running.send_buffer_bytes,
        ..wanted
    }
}
