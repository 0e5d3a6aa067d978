//! The doors of the shards: how other threads reach them.

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

/// What another thread asks of a shard.
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
    /// Mail of an endpoint to itself on the shard.
    Mail(EndpointMail),
    /// What holds from now on.
    Reload(Live),
    /// Accept no more, deliver what was accepted, close everybody.
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

/// What can be replaced while the engine runs.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) settings: Arc<Settings>,
    pub(super) endpoint_settings: Arc<[EndpointSettings]>,
    /// For connections that are still to come.
    pub(super) tls: Option<Arc<Tls>>,
}

/// A connection that was accepted by one shard for another.
pub(super) struct Handover {
    pub(super) stream: Stream,
    pub(super) peer: Peer,
    pub(super) over_limit: Option<OverLimit>,
    pub(super) is_counted: bool,
    /// It speaks TLS.
    pub(super) tls: bool,
}

impl Wake for mio::Waker {
    fn wake(&self) -> io::Result<()> {
        mio::Waker::wake(self)
    }
}

/// One shard's door.
pub(super) struct Door {
    control: Sender<Control>,
    /// Bytes of payload in `control`.
    control_bytes: Arc<AtomicUsize>,
    handover: Sender<Handover>,
    /// Connections that the shard has, and that are on their way to it, those aside that it only
    /// refuses.
    pub(super) load: AtomicU32,
    pub(super) stats: ShardStats,
    /// Who lags behind there; written once a sweep, and read where somebody asks.
    pub(super) lagging: Mutex<Lagging>,
}

/// The receiving ends that belong to a [`Door`].
pub(super) struct Inbox {
    control: Receiver<Control>,
    control_bytes: Arc<AtomicUsize>,
    pub(super) handover: Receiver<Handover>,
}

impl Inbox {
    /// The next control message.
    pub(super) fn take_control(&self) -> Option<Control> {
        let control = self.control.try_recv().ok()?;
        let bytes = control.payload_bytes();
        if bytes > 0 {
            self.control_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        Some(control)
    }

    /// Whether there is no control message.
    pub(super) fn has_no_control(&self) -> bool {
        self.control.is_empty()
    }
}

impl Door {
    /// The door of a shard that counts this.
    pub(super) fn new(counted: &Counted) -> (Door, Inbox) {
        let (control, control_receiver) = crossbeam_channel::bounded(CONTROL_MAILBOX_MAX);
        let control_bytes = Arc::new(AtomicUsize::new(0));
        let (handover, handover_receiver) = crossbeam_channel::bounded(HANDOVER_MAILBOX_MAX);
        let door = Door {
            control,
            control_bytes: Arc::clone(&control_bytes),
            handover,
            load: AtomicU32::new(0),
            stats: ShardStats::new(counted),
            lagging: Mutex::default(),
        };
        (
            door,
            Inbox {
                control: control_receiver,
                control_bytes,
                handover: handover_receiver,
            },
        )
    }

    /// Leaves a control message for the shard, unless there are too many, or too many bytes in
    /// them.
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

/// Why a handle could not do what it was asked: nothing has happened, unless it is [`Self::Late`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// The shard has too many control messages waiting. It may be tried again.
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

/// All that the shards share.
pub(super) struct Doors {
    pub(super) doors: Vec<Door>,
    /// The state that the shards' exchanges share.
    pub(super) interconnect: Arc<Interconnect>,
    /// What the shards hold beside those, as each has published it.
    pub(super) metered: AtomicUsize,
    /// The connections that lag behind, by what waits for them.
    pub(super) waiting_holders: Holders,
    /// Shards that relay; one more, the last, may be the admin shard.
    pub(super) relaying: u16,
    /// How many connections there are of each kind.
    pub(super) places: Places,
    /// How often each client address connects.
    pub(super) connects: AddressBuckets,
    /// How often each client address shows credentials that are no good.
    pub(super) failed_credentials: AddressBuckets,
    /// Bytes of partial messages.
    pub(super) inbound: Arc<AtomicUsize>,
    /// The connections, by what was received of those.
    pub(super) inbound_holders: Holders,
    /// Whether the relay wants new connections: turns false before accepting ends.
    pub(super) is_ready: AtomicBool,
    /// The time for a graceful shutdown is over.
    pub(super) is_aborted: AtomicBool,
    /// When the engine was started: nanoseconds count from here.
    pub(super) origin: Instant,
    pub(super) reloads: ReloadStats,
    /// The names of the listeners that speak TLS.
    pub(super) tls_listeners: Vec<String>,
    pub(super) notices: Notices,
    /// The relaying shards' and the admin shard's.
    pub(super) spare_files: [SpareFile; 2],
}

impl Doors {
    /// # Errors
    ///
    /// The open files are used up.
    pub(super) fn new(
        doors: Vec<Door>,
        interconnect: Interconnect,
        relaying: u16,
        tls_listeners: Vec<String>,
    ) -> io::Result<Doors> {
        let count = doors.len();
        // The ports are behind the shards, and have no doors.
        debug_assert!(usize::from(interconnect.participants()) >= count);
        Ok(Doors {
            doors,
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

    /// What waits to be sent, and what it takes to send it, in bytes: what
    /// [`Settings::process_bytes_max`] bounds.
    pub(super) fn process_bytes(&self) -> usize {
        self.interconnect.live.now() + self.metered.load(Ordering::Relaxed)
    }

    pub(super) fn shards(&self) -> u16 {
        self.doors.len() as u16
    }

    /// The shards that have members of the room; ports, which are no shards, aside.
    pub(super) fn shards_of(&self, room: &Room) -> impl Iterator<Item = u16> + use<> {
        let shards = self.shards();
        let participants = room.tickets.shards().iter();
        participants.filter(move |participant| *participant < shards)
    }

    /// Lets seats become ports from now on.
    pub(super) fn admit_ports(&self, link: &Link) {
        link.started(&self.interconnect, self.shards(), self.origin);
    }

    /// Lets go of the ports that some shard waits for: they get nothing more.
    pub(super) fn close_blocking_ports(&self) {
        let interconnect = &self.interconnect;
        for port in self.shards()..interconnect.participants() {
            if interconnect.blocks_others(port) {
                tracing::warn!("a port that took no mail was let go of, since the engine stops");
                interconnect.close(port);
            }
        }
    }

    /// Wakes a shard where it sleeps, after there is something for it.
    pub(super) fn wake(&self, shard: u16) {
        self.interconnect.wake(shard);
    }

    /// Gives `shard` something to do.
    pub(super) fn control(&self, shard: u16, control: Control) -> Result<(), HandleError> {
        let door = self
            .doors
            .get(usize::from(shard))
            .ok_or(HandleError::NoShard)?;
        door.leave_control(control)?;
        self.wake(shard);
        Ok(())
    }

    /// Gives `shard` something to do, and waits until the deadline for a place in its control
    /// mailbox.
    pub(super) fn control_until(
        &self,
        shard: u16,
        control: Control,
        deadline: Instant,
    ) -> Result<(), HandleError> {
        debug_assert!(control.payload_bytes() == 0, "those are counted");
        let door = &self.doors[usize::from(shard)];
        let sent = door.control.send_deadline(control, deadline);
        sent.map_err(|error| match error {
            SendTimeoutError::Timeout(_) => HandleError::Busy,
            SendTimeoutError::Disconnected(_) => HandleError::Ended,
        })?;
        self.wake(shard);
        Ok(())
    }

    /// Gives `shard` something to do, and waits as long as it takes for a place in its control
    /// mailbox.
    pub(super) fn control_waiting(&self, shard: u16, control: Control) -> Result<(), HandleError> {
        debug_assert!(control.payload_bytes() == 0, "those are counted");
        let door = self.doors.get(usize::from(shard));
        let sent = door.ok_or(HandleError::NoShard)?.control.send(control);
        sent.map_err(|_| HandleError::Ended)?;
        self.wake(shard);
        Ok(())
    }

    /// Tells `shard` to stop, or finds that it has ended. Returns whether that was possible before
    /// the deadline.
    pub(super) fn stop_until(&self, shard: u16, deadline: Instant) -> bool {
        let door = &self.doors[usize::from(shard)];
        let told = door.control.send_deadline(Control::Stop, deadline);
        self.wake(shard);
        !told.is_err_and(|error| error.is_timeout())
    }

    /// Hands an accepted connection over, or gives it back where the other has too many waiting.
    pub(super) fn hand_over(&self, shard: u16, handover: Handover) -> Result<(), Handover> {
        let door = &self.doors[usize::from(shard)];
        door.load.fetch_add(1, Ordering::Relaxed);
        door.handover.try_send(handover).map_err(|refused| {
            door.load.fetch_sub(1, Ordering::Relaxed);
            match refused {
                TrySendError::Full(handover) | TrySendError::Disconnected(handover) => handover,
            }
        })?;
        self.wake(shard);
        Ok(())
    }

    /// The relaying shard with the fewest connections; `own` where it is among them.
    pub(super) fn least_loaded(&self, own: u16) -> u16 {
        let load = |shard: u16| self.doors[usize::from(shard)].load.load(Ordering::Relaxed);
        (0..self.relaying)
            .min_by_key(|shard| (load(*shard), *shard != own))
            .unwrap_or(own)
    }

    /// Connections of the relaying shards, those aside that they only refuse.
    pub(super) fn connections(&self) -> u64 {
        let relaying = &self.doors[..usize::from(self.relaying)];
        relaying
            .iter()
            .map(|door| u64::from(door.load.load(Ordering::Relaxed)))
            .sum()
    }
}
