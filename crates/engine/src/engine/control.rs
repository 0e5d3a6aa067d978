//! The handles of the shards, through which other threads reach them.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError};

use crate::engine::connects::AddressBuckets;
use crate::engine::holders::Holders;
use crate::engine::lagging::Lagging;
use crate::engine::notice::Notices;
use crate::engine::over_limit::OverLimit;
use crate::engine::places::Places;
use crate::engine::questions::Ask;
use crate::engine::reload_stats::ReloadStats;
use crate::engine::settings::{EndpointSettings, Settings};
use crate::engine::spare::SpareFile;
use crate::engine::stats::{Counted, ShardStats};
use crate::engine::stream::Stream;
use crate::engine::tls::Tls;
use crate::exchange::{EndpointMail, Interconnect, Link, Wake};
use crate::fanout::room::{Room, RoomKey};
use crate::fanout::{ConnectionId, Recipients};
use crate::limits::{CONTROL_MAILBOX_BYTES_MAX, CONTROL_MAILBOX_MAX, HANDOVER_MAILBOX_MAX};
use crate::peer::Peer;
use crate::wire::frame::MessageKind;

/// A request of another thread to a shard.
pub(super) enum Control {
    Publish {
        room: RoomKey,
        recipients: Recipients,
        kind: MessageKind,
        payload: Bytes,
    },
    Send {
        to: ConnectionId,
        kind: MessageKind,
        payload: Bytes,
    },
    Close {
        connection: ConnectionId,
        code: u16,
        reason: String,
    },
    Join {
        connection: ConnectionId,
        room: RoomKey,
    },
    Leave {
        connection: ConnectionId,
        room: RoomKey,
    },
    /// A question of a thread that waits for the answer.
    Ask(Ask),
    /// The answer to a deferred request is in its slot.
    Answered(ConnectionId),
    /// Mail of an endpoint for its part on this shard.
    Mail(EndpointMail),
    /// Settings that apply from now on.
    Reload(Live),
    /// Stop accepting, deliver what was accepted, and close all connections.
    Stop,
}

impl Control {
    fn payload_bytes(&self) -> usize {
        match self {
            Control::Publish { payload, .. } | Control::Send { payload, .. } => payload.len(),
            _ => 0,
        }
    }
}

/// The settings that can be replaced while the engine runs.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) settings: Arc<Settings>,
    pub(super) endpoint_settings: Arc<[EndpointSettings]>,
    /// For new connections.
    pub(super) tls: Option<Arc<Tls>>,
}

/// A connection that one shard accepted for another.
pub(super) struct Handover {
    pub(super) stream: Stream,
    pub(super) peer: Peer,
    pub(super) over_limit: Option<OverLimit>,
    pub(super) is_counted: bool,
    /// Whether it speaks TLS.
    pub(super) tls: bool,
}

impl Wake for mio::Waker {
    fn wake(&self) -> io::Result<()> {
        mio::Waker::wake(self)
    }
}

/// One shard's handle.
pub(super) struct ShardHandle {
    control: Sender<Control>,
    /// The bytes of payload in `control`.
    control_bytes: Arc<AtomicUsize>,
    handover: Sender<Handover>,
    /// Connections that the shard serves or that are on their way to it, without those that it only
    /// refuses.
    pub(super) load: AtomicU32,
    pub(super) stats: ShardStats,
    /// The clients that lag behind there. Written once a sweep, and read on request.
    pub(super) lagging: Mutex<Lagging>,
}

/// The receiving ends of a [`ShardHandle`].
pub(super) struct Inbox {
    control: Receiver<Control>,
    control_bytes: Arc<AtomicUsize>,
    pub(super) handover: Receiver<Handover>,
}

impl Inbox {
    /// The next control message.
    pub(super) fn next_control(&self) -> Option<Control> {
        let control = self.control.try_recv().ok()?;
        let bytes = control.payload_bytes();
        if bytes > 0 {
            self.control_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        Some(control)
    }

    /// Whether no control message waits.
    pub(super) fn has_no_control(&self) -> bool {
        self.control.is_empty()
    }
}

impl ShardHandle {
    /// The handle and inbox of a shard with the counters of `counted`.
    pub(super) fn new(counted: &Counted) -> (ShardHandle, Inbox) {
        let (control, control_receiver) = crossbeam_channel::bounded(CONTROL_MAILBOX_MAX);
        let control_bytes = Arc::new(AtomicUsize::new(0));
        let (handover, handover_receiver) = crossbeam_channel::bounded(HANDOVER_MAILBOX_MAX);
        let handle = ShardHandle {
            control,
            control_bytes: Arc::clone(&control_bytes),
            handover,
            load: AtomicU32::new(0),
            stats: ShardStats::new(counted),
            lagging: Mutex::default(),
        };
        (
            handle,
            Inbox {
                control: control_receiver,
                control_bytes,
                handover: handover_receiver,
            },
        )
    }

    /// Leaves a control message for the shard, unless too many messages or bytes wait already.
    fn leave_control(&self, control: Control) -> Result<(), HandleError> {
        let bytes = control.payload_bytes();
        if bytes > 0 {
            let waiting = self.control_bytes.fetch_add(bytes, Ordering::Relaxed);
            if waiting > 0 && waiting + bytes > CONTROL_MAILBOX_BYTES_MAX {
                self.control_bytes.fetch_sub(bytes, Ordering::Relaxed);
                return Err(HandleError::Busy);
            }
        }
        self.control.try_send(control).map_err(|error| {
            self.control_bytes.fetch_sub(bytes, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => HandleError::Busy,
                TrySendError::Disconnected(_) => HandleError::Ended,
            }
        })
    }
}

/// The reason why a handle did not do what it was asked. Nothing has happened, unless it is
/// [`Self::Late`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// Too many control messages wait for the shard, or it has ended. The call may be repeated.
    #[error("the shard has too many control messages waiting")]
    Busy,
    /// The engine has stopped, or is about to: trying again is of no use.
    #[error("the shard has ended")]
    Ended,
    /// The connection's id names a shard that this engine does not have.
    #[error("no shard has this number")]
    NoShard,
    /// A shard did not answer in time.
    #[error("a shard did not answer in time")]
    Late,
    /// The message is larger than [`crate::limits::MESSAGE_BYTES_MAX`].
    #[error("the message is too large")]
    TooLarge,
}

/// The state that all shards share.
pub(super) struct Shared {
    pub(super) handles: Vec<ShardHandle>,
    /// The state that the shards' exchanges share.
    pub(super) interconnect: Arc<Interconnect>,
    /// Memory that the shards hold besides that, as each has published it.
    pub(super) metered: AtomicUsize,
    /// The largest outboxes of connections that lag behind.
    pub(super) waiting_holders: Holders,
    /// The number of relaying shards. The admin shard, if there is one, is the last and not
    /// included.
    pub(super) relaying: u16,
    /// The number of connections of each kind.
    pub(super) places: Places,
    /// Limits how often each client address connects.
    pub(super) connects: AddressBuckets,
    /// Limits how often each client address shows bad credentials.
    pub(super) failed_credentials: AddressBuckets,
    /// Bytes of partial messages.
    pub(super) inbound: Arc<AtomicUsize>,
    /// The largest partial messages.
    pub(super) inbound_holders: Holders,
    /// Whether the relay wants new connections. It turns false before accepting ends.
    pub(super) is_ready: AtomicBool,
    /// The time for a graceful shutdown is over.
    pub(super) is_aborted: AtomicBool,
    /// When the engine was started, which is 0 on the process's clock.
    pub(super) origin: Instant,
    pub(super) reloads: ReloadStats,
    /// The names of the listeners that speak TLS.
    pub(super) tls_listeners: Vec<String>,
    pub(super) notices: Notices,
    /// The spare files of the relaying shards and of the admin shard.
    pub(super) spare_files: [SpareFile; 2],
}

impl Shared {
    /// # Errors
    ///
    /// No file descriptor is left.
    pub(super) fn new(
        handles: Vec<ShardHandle>,
        interconnect: Interconnect,
        relaying: u16,
        tls_listeners: Vec<String>,
    ) -> io::Result<Shared> {
        let count = handles.len();
        // The ports follow the shards, and have no handles.
        debug_assert!(usize::from(interconnect.participants()) >= count);
        Ok(Shared {
            handles,
            interconnect: Arc::new(interconnect),
            metered: AtomicUsize::new(0),
            waiting_holders: Holders::new(count),
            relaying,
            places: Places::default(),
            connects: AddressBuckets::default(),
            failed_credentials: AddressBuckets::default(),
            inbound: Arc::default(),
            inbound_holders: Holders::new(count),
            is_ready: AtomicBool::new(false),
            is_aborted: AtomicBool::new(false),
            origin: Instant::now(),
            reloads: ReloadStats::default(),
            tls_listeners,
            notices: Notices::default(),
            spare_files: [SpareFile::open()?, SpareFile::open()?],
        })
    }

    /// The bytes that wait to be sent, and the memory needed to send them, which
    /// [`Settings::process_bytes_max`] bounds.
    pub(super) fn process_bytes(&self) -> usize {
        self.interconnect.live.now() + self.metered.load(Ordering::Relaxed)
    }

    pub(super) fn shards(&self) -> u16 {
        self.handles.len() as u16
    }

    /// The shards that have members of the room, without ports.
    pub(super) fn shards_of(&self, room: &Room) -> impl Iterator<Item = u16> + use<> {
        let shards = self.shards();
        let participants = room.tickets.shards().iter();
        participants.filter(move |participant| *participant < shards)
    }

    /// From now on seats can be opened as ports.
    pub(super) fn admit_ports(&self, link: &Link) {
        link.started(&self.interconnect, self.shards(), self.origin);
    }

    /// Closes the ports that a shard waits for: they get nothing more.
    pub(super) fn close_blocking_ports(&self) {
        let interconnect = &self.interconnect;
        for port in self.shards()..interconnect.participants() {
            if interconnect.blocks_others(port) {
                tracing::warn!("the engine stops: closed a port that took no mail");
                interconnect.close(port);
            }
        }
    }

    /// Wakes a shard if it sleeps, after something was left for it.
    pub(super) fn wake(&self, shard: u16) {
        self.interconnect.wake(shard);
    }

    /// Leaves a control message for `shard`.
    pub(super) fn control(&self, shard: u16, control: Control) -> Result<(), HandleError> {
        let handle = self
            .handles
            .get(usize::from(shard))
            .ok_or(HandleError::NoShard)?;
        handle.leave_control(control)?;
        self.wake(shard);
        Ok(())
    }

    /// The same, and waits until the deadline for room in its control mailbox.
    pub(super) fn control_until(
        &self,
        shard: u16,
        control: Control,
        deadline: Instant,
    ) -> Result<(), HandleError> {
        debug_assert!(control.payload_bytes() == 0, "those are counted");
        let handle = &self.handles[usize::from(shard)];
        let sent = handle.control.send_deadline(control, deadline);
        sent.map_err(|error| match error {
            SendTimeoutError::Timeout(_) => HandleError::Busy,
            SendTimeoutError::Disconnected(_) => HandleError::Ended,
        })?;
        self.wake(shard);
        Ok(())
    }

    /// The same, and waits for room in its control mailbox for as long as that takes.
    pub(super) fn control_waiting(&self, shard: u16, control: Control) -> Result<(), HandleError> {
        debug_assert!(control.payload_bytes() == 0, "those are counted");
        let handle = self.handles.get(usize::from(shard));
        let sent = handle.ok_or(HandleError::NoShard)?.control.send(control);
        sent.map_err(|_| HandleError::Ended)?;
        self.wake(shard);
        Ok(())
    }

    /// Tells `shard` to stop, or finds that it has ended. Returns whether either happened before
    /// the deadline.
    pub(super) fn stop_until(&self, shard: u16, deadline: Instant) -> bool {
        let handle = &self.handles[usize::from(shard)];
        let told = handle.control.send_deadline(Control::Stop, deadline);
        self.wake(shard);
        !told.is_err_and(|error| error.is_timeout())
    }

    /// Hands an accepted connection over, or returns it if too many wait for the other shard.
    pub(super) fn hand_over(&self, shard: u16, handover: Handover) -> Result<(), Handover> {
        let handle = &self.handles[usize::from(shard)];
        handle.load.fetch_add(1, Ordering::Relaxed);
        handle.handover.try_send(handover).map_err(|refused| {
            handle.load.fetch_sub(1, Ordering::Relaxed);
            match refused {
                TrySendError::Full(handover) | TrySendError::Disconnected(handover) => handover,
            }
        })?;
        self.wake(shard);
        Ok(())
    }

    /// The relaying shard with the fewest connections; `own` if it is one of several.
    pub(super) fn least_loaded(&self, own: u16) -> u16 {
        let load = |shard: u16| {
            self.handles[usize::from(shard)]
                .load
                .load(Ordering::Relaxed)
        };
        (0..self.relaying)
            .min_by_key(|shard| (load(*shard), *shard != own))
            .unwrap_or(own)
    }

    /// Connections of the relaying shards, without those that they only refuse.
    pub(super) fn connections(&self) -> u64 {
        let relaying = &self.handles[..usize::from(self.relaying)];
        relaying
            .iter()
            .map(|handle| u64::from(handle.load.load(Ordering::Relaxed)))
            .sum()
    }
}
