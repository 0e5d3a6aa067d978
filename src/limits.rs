//! Every bound of the engine that is not in the configuration, with its reason.

use std::time::Duration;

/// Shards of one process, the admin shard included: the width of a room's shard bitmap.
pub const SHARDS_MAX: usize = 256;

/// Events taken from the operating system by one poll. More only wait for the next turn.
pub const EVENTS_PER_POLL: usize = 1_024;

/// `recv` calls for one connection in one turn. The rest waits in the ready list, so that one
/// flooding publisher cannot keep the others from being read.
pub const READS_PER_CONNECTION: usize = 4;

/// Bytes taken by one `recv` from a connection that may send compressed messages: DEFLATE makes up
/// to 1,032 bytes of one, and a turn is to gather little more than [`TURN_BYTES_MAX`].
pub const COMPRESSED_READ_BYTES_MAX: usize = 16 * 1024;

/// Bytes that are inflated out of what was received at once, but for the last message. Reads of
/// [`COMPRESSED_READ_BYTES_MAX`] stay below it; what came along with the handshake may not.
pub const INFLATED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Payload that one turn gathers before it is sealed. It keeps a batch within the second-level
/// cache while it is written to many sockets, and bounds what a turn can add to every outbox.
pub const TURN_BYTES_MAX: usize = 1024 * 1024;

/// The largest message that may be configured or published, in bytes: what is longer could not be
/// indexed with 32 bits.
pub const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// Connections accepted in one turn, so that a connect storm does not starve open connections.
pub const ACCEPTS_PER_TURN: usize = 64;

/// Steps of TLS handshakes in one turn that exchange, sign or verify keys: up to a millisecond each
/// with RSA. A reconnect storm gets no more of a turn than that.
pub const TLS_HANDSHAKES_PER_TURN: usize = 2;

/// `recv` calls for connections in the TLS handshake in one turn, the cheap ones included.
pub const TLS_HANDSHAKE_READS_PER_TURN: usize = 64;

/// Plaintext that is encrypted for one connection at a time, in bytes: four of the largest records
/// (RFC 8446 §5.1). What a slow client has not taken of it is out of reach of its policy.
pub const TLS_SEND_BYTES_MAX: usize = 64 * 1024;

/// What a TLS connection keeps of records and handshake messages that are not whole, in bytes: the
/// largest handshake message that rustls takes (64 KiB) with the records around it.
pub const TLS_KEPT_BYTES_MAX: usize = 96 * 1024;

/// Clients that lag behind most, of each shard, that are noted for whoever asks.
pub const LAGGING_SHOWN_MAX: usize = 10;

/// Batches taken from one mailbox in one turn.
pub const BATCHES_PER_MAILBOX: usize = 32;

/// Control messages taken in one turn.
pub const CONTROLS_PER_TURN: usize = 256;

/// Members of one room that get their frames in one pass. With about 3 µs a send, a room of any
/// size holds up the others for less than a millisecond.
pub const MEMBERS_PER_PASS: usize = 256;

/// Members of all rooms that get their frames in one pass.
pub const DELIVERIES_PER_PASS: usize = 512;

/// Connections written to in one flush pass.
pub const SENDS_PER_PASS: usize = 1_024;

/// `writev` calls for one connection in one flush pass.
pub const WRITES_PER_CONNECTION: usize = 4;

/// Slices of one `writev`. Linux takes up to 1,024 (`IOV_MAX`); the array lives on the stack.
pub const SLICES_PER_WRITE: usize = 64;

/// Bytes of frames that some members of a shard's rooms have not got. Over it the shard takes no
/// more mail and does not read: its mailboxes fill, and TCP slows the publishers down.
pub const PENDING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Connections of the admin shard.
pub const ADMIN_CONNECTIONS_MAX: usize = 256;

/// A frame larger than this keeps a buffer of its own, so that a client that lags behind on it
/// does not hold the small frames of its turn, nor they it.
pub const SHARED_FRAME_BYTES_MAX: usize = 64 * 1024;

/// Batches in one mailbox, those included that wait for an earlier ticket.
pub const MAILBOX_BATCHES_MAX: usize = 128;

/// Bytes in one mailbox, likewise. An empty mailbox takes any one batch.
pub const MAILBOX_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Control messages (from handles and the main thread) that wait for one shard.
pub const CONTROL_MAILBOX_MAX: usize = 1_024;

/// Requests of back ends that wait for the thread that answers them. More are told to come again.
pub const API_QUEUE_MAX: usize = 64;

/// Connections that a shard closes or sends to in one go where a thread asks it to: a turn takes a
/// few of those.
pub const CONNECTIONS_PER_ASK: usize = 256;

/// Rooms that are looked at under one lock of the directory when rooms are listed: shards wait for
/// those locks.
pub const ROOMS_PER_LOCK: usize = 256;

/// Members of a room that are sorted, or connections that are looked at to find members, when a
/// shard is asked who is in a room: some 30 µs.
pub const MEMBERS_LOOKED_AT_PER_ASK: usize = 1_024;

/// Accepted connections that wait to be taken over by one shard.
pub const HANDOVER_MAILBOX_MAX: usize = 1_024;

/// Pongs and other control frames that wait in one outbox, in bytes. Past it only the newest pong
/// is kept (RFC 6455 §5.5.3 allows to answer only the latest ping).
pub const CONTROL_BYTES_MAX: usize = 4 * 1024;

/// Connections over the limit that are still told so (HTTP 503 or 429). Past it they are dropped.
pub const REFUSING_MAX: usize = 1_024;

/// Client addresses whose connects are counted (`limits.connects_per_ip`), about 3 MiB of them.
/// Past it those are forgotten first that connect least.
pub const CONNECT_BUCKETS_MAX: usize = 64 * 1024;

/// Bytes taken by one `recv` from a connection that is made to wait where it sends too much
/// (`rate.policy: delay`): what is not its turn yet is kept, and this bounds it.
pub const PACED_READ_BYTES_MAX: usize = 16 * 1024;

/// The longest that a connection which sends too much is left alone before it is looked at again.
pub const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Open files that are not connections: listeners, pollers, logs, the standard streams.
pub const RESERVED_FILES: usize = 128;

/// The smallest receive buffer of a shard, in bytes.
pub const READ_BUFFER_BYTES_MIN: usize = 4 * 1024;

/// The largest body of a plain HTTP request, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The longest name of a user, in bytes.
pub const USER_NAME_BYTES_MAX: usize = 256;

/// Connections that share one user's name: what is done to a user is done to each of them.
pub const CONNECTIONS_PER_USER_MAX: usize = 1_024;

/// Names of users that `/health` lists: whoever asks for it must not hold up a shard.
pub const HEALTH_USERS_MAX: usize = 1_000;

/// Pushes in one request to the push API.
pub const PUSHES_PER_BATCH_MAX: usize = 1_000;

/// Pending pushes in one answer that lists them.
pub const PENDING_PER_PAGE_MAX: usize = 1_000;

/// Requests about delayed pushes that wait for the thread that keeps them. Past it they are refused
/// (503).
pub const SCHEDULE_MAILBOX_MAX: usize = 1_024;

/// Requests about delayed pushes that are served with one write to the journal.
pub const SCHEDULE_COMMANDS_PER_ROUND: usize = 256;

/// How long a request about delayed pushes may wait for the journal.
pub const SCHEDULE_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Pushes that fell due while the relay was down are sent so long after its start, so that their
/// clients are back.
pub const OVERDUE_PUSH_GRACE: Duration = Duration::from_secs(3);

/// Answers that wait for one client that sends requests ahead, in bytes. Past it the connection is
/// not kept for another request (RFC 9112 §9.3.2 lets a server end it between two).
pub const RESPONSES_BYTES_MAX: usize = 64 * 1024;

/// The longest request target, in bytes.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// The pending connections that the kernel keeps for a listener.
pub const LISTEN_BACKLOG: i32 = 4_096;

/// The resolution of deadlines.
pub const TICK: Duration = Duration::from_millis(100);

/// Every connection's deadlines are looked at once in so many ticks.
pub const TICKS_PER_SWEEP: usize = 10;

/// Up to so many connections are looked at in every tick.
pub const SWEEP_CONNECTIONS_MIN: usize = 1_024;

/// Connections whose deadlines are looked at in one turn: some 50 µs. If a tick has to look at
/// more, the next turn goes on.
pub const SWEEP_CONNECTIONS_PER_TURN: usize = 1_024;

/// A shard's clock advances by at most this much in one turn, so that after a stall of the whole
/// process (SIGSTOP, a suspended machine) deadlines do not all expire at once.
pub const CLOCK_STEP_MAX: Duration = Duration::from_secs(1);

/// A shard whose loop has begun no turn for so long is reported by `/livez`. A healthy one begins
/// a turn every tick at the least.
pub const TURN_AGE_MAX: Duration = Duration::from_secs(5);

/// How long `--health-check` takes from the connection to the end of the answer, at the most.
pub const HEALTH_CHECK_TIME_MAX: Duration = Duration::from_secs(4);

/// How much of the answer it reads, in bytes.
pub const HEALTH_CHECK_BYTES_MAX: usize = 16 * 1024;

/// How long a stopping shard waits for the last batches of the others.
pub const STOP_MARKER_WAIT: Duration = Duration::from_secs(1);

/// How long a stopping shard waits for requests that may be under way on silent connections.
pub const STOP_REQUEST_WAIT: Duration = Duration::from_millis(300);

const _: () = {
    // A turn that took long is no reason to restart the process.
    assert!(TURN_AGE_MAX.as_millis() >= 20 * TICK.as_millis());
    assert!(SHARED_FRAME_BYTES_MAX < TURN_BYTES_MAX);
    assert!(TURN_BYTES_MAX < MAILBOX_BYTES_MAX);
    assert!(CONNECTIONS_PER_ASK <= MEMBERS_LOOKED_AT_PER_ASK);
    assert!(COMPRESSED_READ_BYTES_MAX * 1_032 < INFLATED_BYTES_MAX);
    assert!(BATCHES_PER_MAILBOX <= MAILBOX_BATCHES_MAX);
    assert!(MEMBERS_PER_PASS <= DELIVERIES_PER_PASS);
    // What one pass delivers, the same pass can flush.
    assert!(DELIVERIES_PER_PASS <= SENDS_PER_PASS);
    // The largest control frame fits many times over.
    assert!(CONTROL_BYTES_MAX >= 8 * (2 + 125));
};
