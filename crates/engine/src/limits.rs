//! Every bound of the engine that cannot be configured, with its reason.

use std::time::Duration;

/// Shards and ports of one process, including the admin shard: the width of a room's bitmap.
pub const SHARDS_MAX: usize = 256;

/// Events taken from the operating system by one poll. Further events wait for the next turn.
pub const EVENTS_PER_POLL: usize = 1_024;

/// `recv` calls for one connection in one turn if no other waits to be read; otherwise it gets one.
pub const READS_PER_CONNECTION: usize = 4;

/// Bytes taken by one `recv` while others wait to be read. Clients that send without pause have a
/// lane of their own (`clients/lanes.rs`), so a client that sends little waits for one such read,
/// about 30 µs. With a smaller value, 60 publishers that send as fast as they can get a tenth less
/// through, since every read also causes a send.
pub const READ_QUANTUM_BYTES: usize = 128 * 1024;

/// Bytes taken by one `recv` from a connection that may send compressed messages. DEFLATE inflates
/// one byte to up to 1,032, and a turn should gather little more than [`TURN_BYTES_MAX`].
pub const COMPRESSED_READ_BYTES_MAX: usize = 16 * 1024;

/// Payload that one turn gathers before the seal. It keeps a batch within the second-level cache
/// while it is written to many sockets, and bounds the bytes that a turn can add to every outbox.
pub const TURN_BYTES_MAX: usize = 1024 * 1024;

/// The largest message that may be configured or published, in bytes. A longer one could not be
/// indexed with 32 bits.
pub const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// TLS handshake steps in one turn that exchange, sign or verify keys: up to a millisecond each
/// with RSA. This bounds the part of a turn that a reconnect storm gets.
pub const TLS_HANDSHAKES_PER_TURN: usize = 2;

/// `recv` calls in one turn for connections in the TLS handshake, including cheap ones.
pub const TLS_HANDSHAKE_READS_PER_TURN: usize = 64;

/// Plaintext that is encrypted for one connection at a time, in bytes: four of the largest records
/// (RFC 8446 §5.1). Encrypted bytes that a slow client has not taken are out of reach of its
/// policy.
pub const TLS_SEND_BYTES_MAX: usize = 64 * 1024;

/// Bytes that a TLS connection keeps of incomplete records and handshake messages: the largest
/// handshake message that rustls accepts (64 KiB), with the records around it.
pub const TLS_KEPT_BYTES_MAX: usize = 96 * 1024;

/// Clients of each shard that are reported as lagging behind most.
pub const LAGGING_SHOWN_MAX: usize = 10;

/// Batches taken from one mailbox in one turn.
pub const BATCHES_PER_MAILBOX: usize = 32;

/// Members of one room that get their frames before another room is served; fewer if the frames are
/// large.
pub const MEMBERS_PER_PASS: usize = 256;

/// Bytes that may wait for a connection whose socket is writable. Above this the connection is sent
/// to before it gets more, and is not read. So the memory for a client that keeps up never depends
/// on how much others publish.
pub const FLUSH_AHEAD_BYTES: usize = 256 * 1024;

/// Bytes that wait for a connection above which others are sent to before it, alternately.
pub const LARGE_OUTBOX_BYTES: usize = 64 * 1024;

/// Slices of one `writev`. Linux takes up to 1,024 (`IOV_MAX`); the array is on the stack.
pub const SLICES_PER_WRITE: usize = 64;

/// Bytes of frames that some members of a shard's rooms have not got. Above this the shard takes no
/// mail and does not read: its mailboxes fill, and TCP slows the publishers down. A member may get
/// that much in one visit, so it has to be well below the bound of an outbox.
pub const PENDING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Connections of the admin shard, if the limit on open files allows so many. A further one
/// replaces the least important one.
pub const ADMIN_CONNECTIONS_MAX: usize = 256;

/// A frame larger than this gets a buffer of its own, so that a client that lags behind on it does
/// not keep the small frames of its turn in memory, nor the reverse.
pub const SHARED_FRAME_BYTES_MAX: usize = 64 * 1024;

/// The size from which a shared body is not copied behind each head. A client that lags behind then
/// needs a second slice; for smaller bodies that takes most of the memory that sharing saves.
pub const SHARED_BODY_BYTES_MIN: usize = 256;

/// A frame of two pieces up to this size is assembled in the shard's own buffer when it is sent:
/// one `send` takes less time than a `writev`, by about a tenth at 640 bytes.
pub const ASSEMBLED_BYTES_MAX: usize = 4 * 1024;

/// Bytes of frames for single connections that a turn gathers in one buffer. For each of its own
/// frames, a client that lags behind keeps at most this much in memory.
pub const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// The same, including shared bodies: positions have 32 bits.
pub const GATHERED_WHOLE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Batches in one mailbox, including those that wait for an earlier ticket.
pub const MAILBOX_BATCHES_MAX: usize = 128;

/// Bytes in one mailbox, counted in the same way. An empty mailbox takes any single batch.
pub const MAILBOX_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Control messages (from handles and the main thread) that wait for one shard.
pub const CONTROL_MAILBOX_MAX: usize = 1_024;

/// Bytes of payload in those. A mailbox without payload takes one message of any size.
pub const CONTROL_MAILBOX_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Requests of back ends that wait for the thread that answers them. Further ones are refused
/// (503).
pub const API_QUEUE_MAX: usize = 64;

/// Connections that a shard closes or sends to in one step at the request of another thread; a turn
/// takes a few such steps.
pub const CONNECTIONS_PER_ASK: usize = 256;

/// Slots of connections that a shard visits in one step when a thread asks which connections may
/// not stay: about 50 ns each.
pub const TERMS_PER_ASK: usize = 4_096;

/// Bad credentials from one address in [`FAILED_CREDENTIALS_TIME`]. Above this, credentials that
/// are not known to be good are refused unseen (429).
pub const FAILED_CREDENTIALS_MAX: u64 = 20;

/// The time for [`FAILED_CREDENTIALS_MAX`].
pub const FAILED_CREDENTIALS_TIME: Duration = Duration::from_secs(10);

/// Good tokens that one guard remembers, in about 1 MiB. They are not verified again, and pass even
/// if their address has shown too many bad ones.
pub const KNOWN_TOKENS_MAX: usize = 16 * 1024;

/// The time to verify an ES256 signature, at 2.5 GHz.
pub const PRICE_ES256: u64 = 65_000;

/// The time to verify an EdDSA signature.
pub const PRICE_EDDSA: u64 = 58_000;

/// The time to verify an RS256 signature with a key of 2,048 bits; twice the length takes four
/// times as long.
pub const PRICE_RS256: u64 = 26_000;

/// The time to verify an HS256 signature.
pub const PRICE_HS256: u64 = 1_300;

/// Rooms that are visited under one lock of the directory when rooms are listed, since shards wait
/// for those locks.
pub const ROOMS_PER_LOCK: usize = 256;

/// Members of a room that are sorted, or connections that are searched for members, when a shard is
/// asked for the members of a room: about 30 µs.
pub const MEMBERS_LOOKED_AT_PER_ASK: usize = 1_024;

/// Accepted connections that wait to be taken over by one shard.
pub const HANDOVER_MAILBOX_MAX: usize = 1_024;

/// Control frames that wait in one outbox besides the first. Above this a pong replaces the one
/// before it (RFC 6455 §5.5.3 allows answering only the latest ping).
pub const CONTROLS_MAX: usize = 16;

/// Slices smaller than this are merged while they wait for a client that lags behind.
pub const SMALL_SLICE_BYTES: usize = 1024;

/// The largest slice that merging makes, in bytes.
pub const COALESCED_BYTES_MAX: usize = 64 * 1024;

/// Slices of lagging clients that are visited in one turn: well under a millisecond's worth.
pub const LAGGING_SLICES_PER_TURN: usize = 16 * 1024;

/// Lagging clients that are visited in one turn.
pub const LAGGING_CLIENTS_PER_TURN: usize = 1_024;

/// A client under `latest_only` is closed if more slices than this wait for it and the latest
/// frames alone come close to the bound: almost every further frame would walk over all of them.
pub const LATEST_SLICES_MIN: usize = 256;

/// Connections that are kept until they have asked and were refused because of a limit (HTTP 503 or
/// 429), or that linger after their last answer; if the limit on open files allows so many. Above
/// this the oldest refused ones are answered at once and closed, and a connection that begins to
/// linger keeps its place.
pub const REFUSING_MAX: usize = 1_024;

/// The part of these that one address may have (IPv6: one /64), so that one client cannot keep
/// others from being answered.
pub const REFUSING_PER_ADDRESS_MAX: usize = 16;

/// How long a connection over a limit has for its request, and again for the end of its stream.
pub const REFUSING_WAIT: Duration = Duration::from_secs(1);

/// A log line that clients can cause is written at once, and then at most once in this time, with
/// the number of lines that were left out.
pub const NOTICE_PAUSE: Duration = Duration::from_secs(10);

/// Client addresses whose connects are counted (`limits.connects_per_ip`), in about 3 MiB. Above
/// this the addresses that connect least are forgotten first.
pub const CONNECT_BUCKETS_MAX: usize = 64 * 1024;

/// Bytes taken by one `recv` from a connection that may be paused for sending too much
/// (`rate.policy: delay`). Bytes that may not be handled yet are kept, and this bounds them.
pub const PACED_READ_BYTES_MAX: usize = 16 * 1024;

/// The longest pause of a connection that sends too much, before it is checked again.
pub const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Open files of the process that do not belong to a shard, listener or connection, journals
/// excluded: the standard streams, the log, signals, two spare files with their patterns, sockets
/// of the service manager, and files that are read now and then.
pub const PROCESS_FILES: usize = 32;

/// The smallest receive buffer of a shard, in bytes.
pub const READ_BUFFER_BYTES_MIN: usize = 4 * 1024;

/// The largest body of a plain HTTP request, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The longest name of a user, in bytes.
pub const USER_NAME_BYTES_MAX: usize = 256;

/// Connections that share one username: an operation on a user applies to each of them.
pub const CONNECTIONS_PER_USER_MAX: usize = 1_024;

/// Usernames that `/health` lists, so that a request for it cannot hold up a shard.
pub const HEALTH_USERS_MAX: usize = 1_000;

/// Bytes of those names as a JSON list; an answer has two such lists.
pub const HEALTH_NAMES_BYTES_MAX: usize = 64 * 1024;

/// Pushes in one request to the push API.
pub const PUSHES_PER_BATCH_MAX: usize = 1_000;

/// Unknown fields that the answer to a push names, for each push.
pub const UNKNOWN_FIELDS_MAX: usize = 8;

/// Characters of each of those names.
pub const UNKNOWN_FIELD_CHARS_MAX: usize = 64;

/// Pending pushes in one answer that lists them.
pub const PENDING_PER_PAGE_MAX: usize = 1_000;

/// Requests about delayed pushes that wait for the thread that keeps them. Further ones are refused
/// (503).
pub const SCHEDULE_MAILBOX_MAX: usize = 1_024;

/// Requests about delayed pushes that are served with one write to the journal.
pub const SCHEDULE_COMMANDS_PER_ROUND: usize = 256;

/// How long a request about delayed pushes may wait for the journal.
pub const SCHEDULE_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Pushes that fell due while the relay was down are sent this long after its start, so that their
/// clients have reconnected.
pub const OVERDUE_PUSH_GRACE: Duration = Duration::from_secs(3);

/// Bytes of answers that wait for one client that pipelines requests. Above this the connection is
/// not kept for another request (RFC 9112 §9.3.2 lets a server end it between two).
pub const RESPONSES_BYTES_MAX: usize = 64 * 1024;

/// The longest request target, in bytes.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// The pending connections that the kernel keeps for a listener.
pub const LISTEN_BACKLOG: i32 = 4_096;

/// The resolution of deadlines.
pub const TICK: Duration = Duration::from_millis(100);

/// The deadlines of every connection are checked once in this many ticks.
pub const TICKS_PER_SWEEP: usize = 10;

/// Up to this many connections are checked in every tick.
pub const SWEEP_CONNECTIONS_MIN: usize = 1_024;

/// Connections whose deadlines are checked in one turn: about 50 µs. If a tick has more to check,
/// the next turn goes on.
pub const SWEEP_CONNECTIONS_PER_TURN: usize = 1_024;

/// The most by which a shard's clock advances in one turn, so that deadlines do not all expire at
/// once after a stall of the whole process (SIGSTOP, a suspended machine).
pub const CLOCK_STEP_MAX: Duration = Duration::from_secs(1);

/// `/livez` reports a shard whose loop has begun no turn for this long. A healthy one begins a turn
/// at least once a tick.
pub const TURN_AGE_MAX: Duration = Duration::from_secs(5);

/// The longest time that `--health-check` takes from the connection to the end of the answer.
pub const HEALTH_CHECK_TIME_MAX: Duration = Duration::from_secs(4);

/// Bytes of the answer that it reads.
pub const HEALTH_CHECK_BYTES_MAX: usize = 16 * 1024;

/// How long a stopping shard waits for the last batches of the others.
pub const STOP_MARKER_WAIT: Duration = Duration::from_secs(1);

/// How long a stopping shard waits for a port that takes no mail.
pub const STOP_PORT_WAIT: Duration = Duration::from_secs(1);

/// How long a stopping shard waits for requests that may be on their way on silent connections.
pub const STOP_REQUEST_WAIT: Duration = Duration::from_millis(300);

/// The work of each phase of a turn, in nanoseconds. Each phase has a share, and gets what the
/// phases before it left. So a turn ends after at most the sum of them and one more step, whatever
/// causes the work. This is the share of control messages.
pub const CONTROL_WORK_NS: u64 = 500_000;
/// For batches from other shards.
pub const MAIL_WORK_NS: u64 = 500_000;
/// For new connections.
pub const ACCEPT_WORK_NS: u64 = 500_000;
/// For data from clients.
pub const READ_WORK_NS: u64 = 1_500_000;
/// For the work of endpoints on a shard besides answering clients.
pub const ENDPOINT_WORK_NS: u64 = 500_000;
/// For visits to members. Their frames are charged with the price of sending them.
pub const DELIVER_WORK_NS: u64 = 1_500_000;
/// For sends.
pub const FLUSH_WORK_NS: u64 = 2_000_000;
/// For TLS handshakes.
pub const HANDSHAKE_WORK_NS: u64 = 1_000_000;
/// For connections that end, and leaving their rooms.
pub const CLOSE_WORK_NS: u64 = 500_000;

/// The share of one connection in the work of reading, before another one is read.
pub const READ_QUANTUM_NS: u64 = 300_000;
/// The share of one room in the work of delivering, before another one is served.
pub const DELIVER_QUANTUM_NS: u64 = 400_000;
/// The share of one connection in the work of sending, before another one is sent to.
pub const FLUSH_QUANTUM_NS: u64 = 500_000;

/// Prices of work, in nanoseconds of a core at 2.5 GHz. They need not be exact, since they only
/// decide when others are served; `cargo bench --bench prices` compares them with measurements.
/// This one is for 1,024 bytes that are received, unmasked and copied.
pub const PRICE_KIB_READ: u64 = 250;
/// A `recv`.
pub const PRICE_READ: u64 = 1_000;
/// A frame that is decoded and passed to its endpoint.
pub const PRICE_FRAME: u64 = 60;
/// A frame that is published, sent or answered.
pub const PRICE_PUBLISH: u64 = 100;
/// A request that is parsed, checked and answered.
pub const PRICE_REQUEST: u64 = 2_500;
/// 1,024 bytes that are deflated.
pub const PRICE_KIB_DEFLATED: u64 = 8_000;
/// 1,024 bytes that are inflated, counted after inflating.
pub const PRICE_KIB_INFLATED: u64 = 2_000;
/// A question of another thread, such as a page of a room's members.
pub const PRICE_ASK: u64 = 10_000;
/// A run from another shard that is accepted.
pub const PRICE_RUN: u64 = 200;
/// A connection that is accepted or taken over.
pub const PRICE_ACCEPT: u64 = 20_000;
/// A member that gets its runs.
pub const PRICE_VISIT: u64 = 200;
/// An acknowledgement that is sent at once.
pub const PRICE_ACKNOWLEDGE: u64 = 2_000;
/// A `send`.
pub const PRICE_SEND: u64 = 4_000;
/// 1,024 bytes that are sent.
pub const PRICE_KIB_SENT: u64 = 250;
/// 1,024 bytes that are encrypted.
pub const PRICE_KIB_ENCRYPTED: u64 = 700;
/// A step of a TLS handshake that exchanges, signs or verifies keys.
pub const PRICE_HANDSHAKE: u64 = 300_000;
/// A connection that is closed, or removed.
pub const PRICE_CLOSING: u64 = 10_000;
/// A room that a connection leaves.
pub const PRICE_ROOM_LEFT: u64 = 600;

const _: () = {
    // A turn that took long is not a reason to restart the process.
    assert!(TURN_AGE_MAX.as_millis() >= 20 * TICK.as_millis());
    assert!(SHARED_FRAME_BYTES_MAX < TURN_BYTES_MAX);
    assert!(TURN_BYTES_MAX < MAILBOX_BYTES_MAX);
    // Positions have 32 bits, and the last frame may be one of the largest.
    assert!(
        GATHERED_WHOLE_BYTES_MAX + GATHERED_BYTES_MAX + 2 * MESSAGE_BYTES_MAX < u32::MAX as usize
    );
    assert!(CONNECTIONS_PER_ASK <= MEMBERS_LOOKED_AT_PER_ASK);
    assert!(BATCHES_PER_MAILBOX <= MAILBOX_BATCHES_MAX);
    assert!(READ_QUANTUM_BYTES < TURN_BYTES_MAX);
    assert!(LARGE_OUTBOX_BYTES < FLUSH_AHEAD_BYTES);
    // No phase may be used up by one connection or room.
    assert!(READ_QUANTUM_NS < READ_WORK_NS);
    assert!(DELIVER_QUANTUM_NS < DELIVER_WORK_NS);
    assert!(FLUSH_QUANTUM_NS < FLUSH_WORK_NS);
    // A turn can send what it delivers.
    assert!(DELIVER_WORK_NS < FLUSH_WORK_NS);
    assert!(SMALL_SLICE_BYTES < COALESCED_BYTES_MAX);
};
