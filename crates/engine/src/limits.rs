//! Every bound of the engine that is not in the configuration, with its reason.

use std::time::Duration;

/// Shards and ports of one process, the admin shard included: the width of a room's bitmap.
pub const SHARDS_MAX: usize = 256;

/// Events taken from the operating system by one poll. More only wait for the next turn.
pub const EVENTS_PER_POLL: usize = 1_024;

/// `recv` calls for one connection in one turn if nobody else waits to be read; else it gets one.
pub const READS_PER_CONNECTION: usize = 4;

/// Bytes taken by one `recv` while others wait to be read. Those that send without pause have a
/// lane of their own (`clients/lanes.rs`), so whoever sends little waits for one such read: some
/// 30 µs. With less, 60 publishers that send all they can get a tenth less through, since every
/// read is also a send.
pub const READ_QUANTUM_BYTES: usize = 128 * 1024;

/// Bytes taken by one `recv` from a connection that may send compressed messages: DEFLATE makes up
/// to 1,032 bytes of one, and a turn is to gather little more than [`TURN_BYTES_MAX`].
pub const COMPRESSED_READ_BYTES_MAX: usize = 16 * 1024;

/// Payload that one turn gathers before it is sealed. It keeps a batch within the second-level
/// cache while it is written to many sockets, and bounds what a turn can add to every outbox.
pub const TURN_BYTES_MAX: usize = 1024 * 1024;

/// The largest message that may be configured or published, in bytes: what is longer could not be
/// indexed with 32 bits.
pub const MESSAGE_BYTES_MAX: usize = 1 << 30;

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

/// Most members of one room that get their frames before another room has its turn: fewer if what
/// they get is large.
pub const MEMBERS_PER_PASS: usize = 256;

/// What may wait for a connection whose socket still takes what it is given, in bytes. Past it the
/// connection is sent to before it gets more, and not read: so what waits for a client that keeps
/// up never depends on how much others publish.
pub const FLUSH_AHEAD_BYTES: usize = 256 * 1024;

/// Bytes that wait for a connection from which on others are sent to before it, turn by turn.
pub const LARGE_OUTBOX_BYTES: usize = 64 * 1024;

/// Slices of one `writev`. Linux takes up to 1,024 (`IOV_MAX`); the array lives on the stack.
pub const SLICES_PER_WRITE: usize = 64;

/// Bytes of frames that some members of a shard's rooms have not got. Over it the shard takes no
/// more mail and does not read: its mailboxes fill, and TCP slows the publishers down. A member may
/// get that much in one visit, so it has to be well below what an outbox holds.
pub const PENDING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Connections of the admin shard, if the limit on open files allows so many. One more takes the
/// place of the one that is missed least.
pub const ADMIN_CONNECTIONS_MAX: usize = 256;

/// A frame larger than this keeps a buffer of its own, so that a client that lags behind on it
/// does not hold the small frames of its turn, nor they it.
pub const SHARED_FRAME_BYTES_MAX: usize = 64 * 1024;

/// A body that clients share from this size on is not copied behind their heads: a client that lags
/// behind waits for two pieces. With less, the place of the second one is most of what that saves.
pub const SHARED_BODY_BYTES_MIN: usize = 256;

/// A frame of two slices up to this size is put together in the shard's own buffer when it is sent:
/// one `send` of both takes less than a `writev`, by about a tenth at 640 bytes.
pub const ASSEMBLED_BYTES_MAX: usize = 4 * 1024;

/// Bytes of frames to single connections that a turn gathers in one buffer. A client that lags
/// behind holds no more of others' than that with each of its own.
pub const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// The same with the bodies that the frames share: what it takes to go on is indexed with 32 bits.
pub const GATHERED_WHOLE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Batches in one mailbox, those included that wait for an earlier ticket.
pub const MAILBOX_BATCHES_MAX: usize = 128;

/// Bytes in one mailbox, likewise. An empty mailbox takes any one batch.
pub const MAILBOX_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Control messages (from handles and the main thread) that wait for one shard.
pub const CONTROL_MAILBOX_MAX: usize = 1_024;

/// Bytes of payload in those. A mailbox without any takes one message of any size.
pub const CONTROL_MAILBOX_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Requests of back ends that wait for the thread that answers them. More are told to come again.
pub const API_QUEUE_MAX: usize = 64;

/// Connections that a shard closes or sends to in one go where a thread asks it to: a turn takes a
/// few of those.
pub const CONNECTIONS_PER_ASK: usize = 256;

/// Places of connections that a shard looks at in one go where a thread has it look for those that
/// may not stay: about 50 ns each.
pub const TERMS_PER_ASK: usize = 4_096;

/// Credentials that are no good, of one address in [`FAILED_CREDENTIALS_TIME`]: past it those that
/// are not known to be good are refused unseen (429).
pub const FAILED_CREDENTIALS_MAX: u64 = 20;

/// The time for [`FAILED_CREDENTIALS_MAX`].
pub const FAILED_CREDENTIALS_TIME: Duration = Duration::from_secs(10);

/// Tokens of one guard that are remembered because they were good, about 1 MiB of them: those are
/// not verified again, and pass where their address has shown too many bad ones.
pub const KNOWN_TOKENS_MAX: usize = 16 * 1024;

/// What it takes to verify a signature by ES256, at 2.5 GHz.
pub const PRICE_ES256: u64 = 65_000;

/// The same by EdDSA.
pub const PRICE_EDDSA: u64 = 58_000;

/// The same by RS256 with a key of 2,048 bits; one of twice the length takes four times as long.
pub const PRICE_RS256: u64 = 26_000;

/// The same by HS256.
pub const PRICE_HS256: u64 = 1_300;

/// Rooms that are looked at under one lock of the directory when rooms are listed: shards wait for
/// those locks.
pub const ROOMS_PER_LOCK: usize = 256;

/// Members of a room that are sorted, or connections that are looked at to find members, when a
/// shard is asked who is in a room: some 30 µs.
pub const MEMBERS_LOOKED_AT_PER_ASK: usize = 1_024;

/// Accepted connections that wait to be taken over by one shard.
pub const HANDOVER_MAILBOX_MAX: usize = 1_024;

/// Control frames that wait in one outbox beside the first. Past it a pong replaces the one before
/// it (RFC 6455 §5.5.3 allows to answer only the latest ping).
pub const CONTROLS_MAX: usize = 16;

/// What waits for a client that lags behind, in pieces smaller than this, is merged.
pub const SMALL_SLICE_BYTES: usize = 1024;

/// The largest piece that comes of it, in bytes.
pub const COALESCED_BYTES_MAX: usize = 64 * 1024;

/// Pieces that wait for clients that lag behind, and are looked at in one turn: well under a
/// millisecond's worth.
pub const LAGGING_SLICES_PER_TURN: usize = 16 * 1024;

/// Clients that lag behind, and are looked at in one turn.
pub const LAGGING_CLIENTS_PER_TURN: usize = 1_024;

/// With more pieces than this waiting under `latest_only`, and the latest frames alone close to the
/// bound, a client is closed: all of them would be walked for almost every frame that follows.
pub const LATEST_SLICES_MIN: usize = 256;

/// Connections over a limit that are kept until they have asked and were told so (HTTP 503 or 429),
/// and such as linger, having been told all; if the limit on open files allows so many. Past it
/// those that came first are told at once, and closed, and one that begins to linger keeps its
/// place.
pub const REFUSING_MAX: usize = 1_024;

/// Of these, those of one address (IPv6: of one /64): one client must not keep the others from
/// being told.
pub const REFUSING_PER_ADDRESS_MAX: usize = 16;

/// How long a connection over a limit has for its request, and again for its end of the stream.
pub const REFUSING_WAIT: Duration = Duration::from_secs(1);

/// A line of the log that clients bring about is written at once, and then at most once in this
/// time, with how often it was left out.
pub const NOTICE_PAUSE: Duration = Duration::from_secs(10);

/// Client addresses whose connects are counted (`limits.connects_per_ip`), about 3 MiB of them.
/// Past it those are forgotten first that connect least.
pub const CONNECT_BUCKETS_MAX: usize = 64 * 1024;

/// Bytes taken by one `recv` from a connection that is made to wait where it sends too much
/// (`rate.policy: delay`): what is not its turn yet is kept, and this bounds it.
pub const PACED_READ_BYTES_MAX: usize = 16 * 1024;

/// The longest that a connection which sends too much is left alone before it is looked at again.
pub const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Open files of the process that belong to no shard, listener or connection, journals aside: the
/// standard streams, the log, signals, two spare files with their patterns, sockets of the service
/// manager, and what is read now and then.
pub const PROCESS_FILES: usize = 32;

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

/// Bytes of those names as a JSON list, of which there are two in an answer.
pub const HEALTH_NAMES_BYTES_MAX: usize = 64 * 1024;

/// Pushes in one request to the push API.
pub const PUSHES_PER_BATCH_MAX: usize = 1_000;

/// Fields without a meaning that the answer to a push names, of each push.
pub const UNKNOWN_FIELDS_MAX: usize = 8;

/// So much of each of their names.
pub const UNKNOWN_FIELD_CHARS_MAX: usize = 64;

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

/// How long shards that stop wait for a port that takes no mail.
pub const STOP_PORT_WAIT: Duration = Duration::from_secs(1);

/// How long a stopping shard waits for requests that may be under way on silent connections.
pub const STOP_REQUEST_WAIT: Duration = Duration::from_millis(300);

/// Work that the phases of one turn may do, in nanoseconds: each has a share, and what one leaves
/// is the next one's. So a turn ends after the sum of them and one step more, whoever causes the
/// work. This is the share of control messages.
pub const CONTROL_WORK_NS: u64 = 500_000;
/// For batches of other shards.
pub const MAIL_WORK_NS: u64 = 500_000;
/// For new connections.
pub const ACCEPT_WORK_NS: u64 = 500_000;
/// For what clients sent.
pub const READ_WORK_NS: u64 = 1_500_000;
/// For what endpoints do on a shard besides answering clients.
pub const ENDPOINT_WORK_NS: u64 = 500_000;
/// For visits to members. What they get is counted with what sending it will take.
pub const DELIVER_WORK_NS: u64 = 1_500_000;
/// For sends.
pub const FLUSH_WORK_NS: u64 = 2_000_000;
/// For TLS handshakes.
pub const HANDSHAKE_WORK_NS: u64 = 1_000_000;
/// For connections that end, and the rooms that they leave.
pub const CLOSE_WORK_NS: u64 = 500_000;

/// What one connection may have of the work of reading before another one has its turn.
pub const READ_QUANTUM_NS: u64 = 300_000;
/// What one room may have of the work of delivering before another one has its turn.
pub const DELIVER_QUANTUM_NS: u64 = 400_000;
/// What one connection may have of the work of sending before another one has its turn.
pub const FLUSH_QUANTUM_NS: u64 = 500_000;

/// Prices of work, in nanoseconds of a core of 2.5 GHz. They need not be exact, since they only
/// decide when others have their turn; `cargo bench --bench prices` compares them with what is
/// measured. This one is for 1,024 bytes that are received, unmasked and copied.
pub const PRICE_KIB_READ: u64 = 250;
/// A `recv`.
pub const PRICE_READ: u64 = 1_000;
/// A frame that is decoded and given to its endpoint.
pub const PRICE_FRAME: u64 = 60;
/// A frame that is published, sent or answered.
pub const PRICE_PUBLISH: u64 = 100;
/// A request that is parsed, judged and answered.
pub const PRICE_REQUEST: u64 = 2_500;
/// 1,024 bytes that are deflated.
pub const PRICE_KIB_DEFLATED: u64 = 8_000;
/// 1,024 bytes that are inflated, by the size that they come to.
pub const PRICE_KIB_INFLATED: u64 = 2_000;
/// A question of another thread, such as a page of a room's members.
pub const PRICE_ASK: u64 = 10_000;
/// A run of another shard that is accepted.
pub const PRICE_RUN: u64 = 200;
/// A connection that is accepted or taken over.
pub const PRICE_ACCEPT: u64 = 20_000;
/// A member that gets its runs.
pub const PRICE_VISIT: u64 = 200;
/// An acknowledgement that is sent at once.
pub const PRICE_ACKNOWLEDGE: u64 = 2_000;
/// A `send`.
pub const PRICE_SEND: u64 = 4_000;
/// 1,024 bytes of it.
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
    // A turn that took long is no reason to restart the process.
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
    // No phase is one connection's, or one room's, alone.
    assert!(READ_QUANTUM_NS < READ_WORK_NS);
    assert!(DELIVER_QUANTUM_NS < DELIVER_WORK_NS);
    assert!(FLUSH_QUANTUM_NS < FLUSH_WORK_NS);
    // What a turn delivers it can send.
    assert!(DELIVER_WORK_NS < FLUSH_WORK_NS);
    assert!(SMALL_SLICE_BYTES < COALESCED_BYTES_MAX);
};
