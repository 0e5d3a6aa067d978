//! Clients that make the relay hold too much memory, on any shard.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::stage::{Stage, hold, one_at_a_time};
use crate::support::client::{BINARY, CLOSE, Client, PING, PONG, fragment, frame};
use crate::support::eventually;

/// The sizes of a socket's buffer and of one client's queue: small.
const NARROW: [&str; 5] = [
    "engine.send_buffer_bytes=16KiB",
    "limits.message_bytes=1MiB",
    "endpoints.named.limits.message_bytes=1MiB",
    "slow_client.outbox_bytes=2MiB",
    "slow_client.outbox_age=0",
];

fn narrow_stage(settings: &[&str]) -> Stage {
    Stage::start(&[&NARROW[..], settings].concat())
}

/// A client that reads nothing, with its shard.
fn open_on_a_shard(stage: &Stage, path: &str) -> (Client, usize) {
    let on_shards = || {
        let metrics = stage.metrics();
        let series = |shard| format!("corecast_shard_connections{{shard=\"{shard}\"}}");
        [0, 1].map(|shard| metrics.value(&series(shard)))
    };
    let before = on_shards();
    let client = Client::connect_narrow(stage.address(), 4_096).upgraded(path);
    let after = on_shards();
    (client, usize::from(after[1] > before[1]))
}

/// Two clients: the first on the shard, the second on the other.
fn open_on_both(stage: &Stage, shard: usize) -> (Client, Client) {
    let (mut first, mut second) = (None, None);
    let mut others = Vec::new();
    while first.is_none() || second.is_none() {
        assert!(others.len() < 20, "connections are not spread");
        let place = if first.is_none() { "/hog" } else { "/small" };
        let (client, found) = open_on_a_shard(stage, place);
        let is_first = first.is_none();
        match found == shard {
            true if is_first => first = Some(client),
            false if !is_first => second = Some(client),
            _ => others.push(client),
        }
    }
    others.into_iter().for_each(|other| stage.leave(other));
    (first.expect("one"), second.expect("another"))
}

/// Publishes to a room through a client that reads its own messages.
fn publish(sender: &mut Client, payload: &[u8]) {
    sender.send(&frame(BINARY, payload));
    assert_eq!(sender.frame().payload.len(), payload.len());
}

fn resident_bytes(stage: &Stage) -> usize {
    let pages = fs::read_to_string(format!("/proc/{}/statm", stage.relay.id()));
    let pages = pages.expect("the relay lives");
    let resident = pages.split(' ').nth(1).expect("a number");
    resident.parse::<usize>().expect("a number") * rustix::param::page_size()
}

/// CPU time of the relay so far, in hundredths of a second.
fn cpu_ticks(stage: &Stage) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", stage.relay.id()));
    let stat = stat.expect("the relay lives");
    let behind_name = stat.rsplit(')').next().expect("numbers");
    let numbers = behind_name.split_ascii_whitespace().skip(11).take(2);
    numbers
        .map(|number| number.parse::<u64>().expect("a number"))
        .sum()
}

#[test]
fn empty_pings_without_pause() {
    const PINGS: usize = 10_000;
    let stage = Stage::start(&[]);
    let mut client = stage.open("/");
    // All of them have arrived when the relay continues.
    stage.relay.signal(Signal::STOP);
    let pings: Vec<u8> = (0..PINGS).flat_map(|_| frame(PING, b"")).collect();
    client.send(&pings);
    client.send(&frame(PING, b"last"));
    stage.relay.signal(Signal::CONT);
    let mut pongs = 0;
    loop {
        let pong = client.frame();
        assert_eq!(pong.opcode, PONG);
        if pong.payload == b"last" {
            break;
        }
        pongs += 1;
    }
    // Only the newest is required (RFC 6455 §5.5.3); a few more are sent.
    assert!(pongs < PINGS / 20, "{pongs} pongs waited");
    stage.leave(client);
    stage.end(&[]);
}

#[test]
fn tiny_messages_for_many_that_read_nothing() {
    const STALLED: usize = 40;
    const MESSAGES: usize = 12_000;
    let _turn = one_at_a_time();
    let stage = narrow_stage(&["slow_client.outbox_bytes=8MiB"]);
    let narrow = || Client::connect_narrow(stage.address(), 4_096).upgraded("/room");
    let stalled: Vec<Client> = (0..STALLED).map(|_| narrow()).collect();
    let mut sender = stage.open("/room");
    for _ in 0..4 {
        publish(&mut sender, &[b'y'; 200_000]);
    }
    let before = resident_bytes(&stage);
    for _ in 0..MESSAGES {
        publish(&mut sender, b"tiny");
    }
    // A slice for each of them would be 11 MiB and more, and a buffer for each 2 MiB.
    let more = resident_bytes(&stage).saturating_sub(before);
    assert!(more < 8 << 20, "{more} bytes for {MESSAGES} messages");
    stalled.into_iter().for_each(drop);
    stage.wait_for("closed client_gone", STALLED as u64);
    stage.leave(sender);
    stage.end(&[("closed client_gone", STALLED as u64)]);
}

#[test]
fn many_begin_messages_at_once_past_the_bound() {
    const SMALL: usize = 100;
    let _turn = one_at_a_time();
    let stage = Stage::start(&[
        "limits.inbound_bytes=4MiB",
        "limits.message_bytes=1MiB",
        "endpoints.named.limits.message_bytes=1MiB",
    ]);
    let held = || stage.metrics().value("corecast_inbound_bytes");
    let mut large: Vec<Client> = (0..4).map(|_| stage.open("/large")).collect();
    for client in &mut large {
        client.send(&fragment(BINARY, &[0; 1_000_000]));
    }
    eventually("all of it is held", || held() >= 4e6);
    let mut small: Vec<Client> = (0..SMALL).map(|_| stage.open("/small")).collect();
    stage.relay.signal(Signal::STOP);
    for client in &mut small {
        client.send(&fragment(BINARY, &[0; 5_000]));
    }
    stage.relay.signal(Signal::CONT);
    for client in &mut small {
        client.round_trip();
    }
    // One of the large ones is enough.
    assert!(held() > 3e6);
    drop((large, small));
    stage.wait_for("closed client_gone", SMALL as u64 + 3);
    stage.end(&[
        ("closed client_gone", SMALL as u64 + 3),
        ("closed inbound_budget", 1),
    ]);
}

/// The client that holds most of the partial messages is on one shard, and the limit is exceeded on
/// the other.
#[test]
fn a_hog_of_partial_messages_on_either_shard() {
    for shard in [0, 1] {
        let stage = Stage::start(&[
            "limits.inbound_bytes=1MiB",
            "limits.message_bytes=1MiB",
            "endpoints.named.limits.message_bytes=1MiB",
        ]);
        let (mut hog, mut small) = open_on_both(&stage, shard);
        hog.send(&fragment(BINARY, &[0; 1_000_000]));
        eventually("it is held", || {
            stage.metrics().value("corecast_inbound_bytes") >= 1e6
        });
        small.send(&fragment(BINARY, &[0; 60_000]));
        hog.expect_close(1009);
        small.round_trip();
        small.send(&fragment(0x80, b""));
        assert_eq!(small.frame().payload.len(), 60_000);
        stage.leave(small);
        drop(hog);
        stage.end(&[("closed inbound_budget", 1)]);
    }
}

/// The same for waiting output.
#[test]
fn a_hog_of_what_waits_on_either_shard() {
    for shard in [0, 1] {
        let settings = [
            "slow_client.outbox_bytes=8MiB",
            "slow_client.process_bytes=8MiB",
        ];
        let stage = narrow_stage(&settings);
        let (mut hog, mut small) = open_on_both(&stage, shard);
        let (mut to_hog, mut to_small) = (stage.open("/hog"), stage.open("/small"));
        // The small one's waiting messages are the oldest.
        publish(&mut to_small, &[b's'; 500_000]);
        for _ in 0..7 {
            publish(&mut to_hog, &[b'h'; 1_000_000]);
        }
        assert_eq!(stage.count("slow_client_actions disconnect"), 0);
        for _ in 0..4 {
            publish(&mut to_small, &[b's'; 500_000]);
        }
        stage.wait_for("closed slow_memory", 1);
        for _ in 0..5 {
            assert_eq!(small.frame().payload.len(), 500_000);
        }
        while hog.try_frame().is_some_and(|frame| frame.opcode != CLOSE) {}
        drop(hog);
        for client in [small, to_hog, to_small] {
            stage.leave(client);
        }
        let dropped = stage.count("dropped_frames");
        let copied = stage.count("slow_client_actions copy_out");
        assert!(dropped > 0);
        let mut expected = vec![
            ("closed slow_memory", 1),
            ("dropped_frames", dropped),
            ("slow_client_actions disconnect", 1),
        ];
        if copied > 0 {
            expected.push(("slow_client_actions copy_out", copied));
        }
        stage.end(&expected);
    }
}

#[test]
fn clients_that_do_not_read_answers() {
    const ASKERS: usize = 32;
    const PROCESS_BYTES: f64 = (1 << 20) as f64;
    let _turn = one_at_a_time();
    let stage = Stage::start(&[
        "engine.send_buffer_bytes=16KiB",
        "limits.message_bytes=16KiB",
        "endpoints.named.limits.message_bytes=16KiB",
        "slow_client.outbox_bytes=64KiB",
        "slow_client.process_bytes=1MiB",
    ]);
    let names = (0..64).map(|number| format!("/ws/{}{number}", "n".repeat(240)));
    let users: Vec<Client> = names.map(|name| stage.open(&name)).collect();
    let request = b"GET /health HTTP/1.1\r\nHost: relay\r\n\r\n".repeat(8);
    let askers: Vec<Client> = (0..ASKERS)
        .map(|_| {
            let mut client = Client::connect_narrow(stage.address(), 4_096);
            client.send(&request);
            client
        })
        .collect();
    stage.wait_for("slow_client_actions disconnect", 1);
    eventually("what waits is within its bound", || {
        stage.metrics().value("corecast_process_bytes") <= PROCESS_BYTES
    });
    let gone = stage.count("slow_client_actions disconnect");
    assert!(gone < ASKERS as u64, "each is counted once, and not all go");
    drop(askers);
    users.into_iter().for_each(|user| stage.leave(user));
    let copied = stage.count("slow_client_actions copy_out");
    let expected = [
        ("slow_client_actions copy_out", copied),
        ("slow_client_actions disconnect", gone),
    ];
    let expected = expected.into_iter().filter(|(_, count)| *count > 0);
    stage.end(&expected.collect::<Vec<_>>());
}

#[test]
fn the_latest_of_very_many_rooms_for_one_that_reads_nothing() {
    const ROOMS: usize = 10_000;
    let _turn = one_at_a_time();
    let stage = Stage::start(&[
        "engine.send_buffer_bytes=16KiB",
        "endpoints.pubsub.kind=pubsub",
        "endpoints.pubsub.path=/pubsub",
        "limits.rooms_per_connection=100000",
        "slow_client.policy=latest_only",
        "slow_client.outbox_age=1s",
    ]);
    let mut stalled = Client::connect_narrow(stage.address(), 4_096).upgraded("/pubsub");
    for room in 0..ROOMS {
        stalled.text(&format!("{{\"type\":\"subscribe\",\"room\":\"{room}\"}}"));
    }
    stalled.text("{\"type\":\"ping\",\"id\":1}");
    while !stalled.expect_text().contains("\"id\":1") {}
    let mut sender = stage.open("/pubsub");
    let large = "y".repeat(60_000);
    for _ in 0..20 {
        let publish = format!("{{\"type\":\"publish\",\"room\":\"1\",\"data\":\"{large}\"}}");
        sender.text(&publish);
    }
    for room in 0..ROOMS {
        let publish = format!("{{\"type\":\"publish\",\"room\":\"{room}\",\"data\":1}}");
        sender.text(&publish);
    }
    stage.wait_for("slow_client_actions latest_only", 1);
    // Nothing is published any more, and only the latest messages wait: there is nothing to do.
    let before = cpu_ticks(&stage);
    hold(Duration::from_secs(2));
    let busy = cpu_ticks(&stage) - before;
    assert!(busy < 100, "{busy} hundredths of a second in two seconds");
    let (dropped, actions) = (
        stage.count("dropped_frames"),
        stage.count("slow_client_actions latest_only"),
    );
    drop(stalled);
    stage.wait_for("closed client_gone", 1);
    stage.leave(sender);
    stage.end(&[
        ("closed client_gone", 1),
        ("dropped_frames", dropped),
        ("slow_client_actions latest_only", actions),
    ]);
}

#[test]
fn a_close_is_counted_once_however_long_it_takes() {
    const STALLED: usize = 24;
    let settings = [
        "slow_client.outbox_bytes=4MiB",
        "slow_client.process_bytes=4MiB",
    ];
    let stage = narrow_stage(&settings);
    let mut stalled = Vec::new();
    let mut senders = Vec::new();
    for number in 0..STALLED {
        let path = format!("/{number}");
        stalled.push(Client::connect_narrow(stage.address(), 4_096).upgraded(&path));
        senders.push(stage.open(&path));
    }
    for _ in 0..10 {
        for sender in &mut senders {
            publish(sender, &[b'x'; 60_000]);
        }
    }
    // Each of them would hold 600 KB.
    stage.wait_for("closed slow_memory", 14);
    drop(stalled);
    senders.into_iter().for_each(|sender| stage.leave(sender));
    eventually("all are gone", || {
        stage.metrics().connections("closing") == 0.0
    });
    let counts = ["closed slow_memory", "closed client_gone", "dropped_frames"];
    let [closed, gone, dropped] = counts.map(|fault| stage.count(fault));
    assert_eq!(closed + gone, STALLED as u64);
    let copied = stage.count("slow_client_actions copy_out");
    let expected = [
        ("closed slow_memory", closed),
        ("closed client_gone", gone),
        ("dropped_frames", dropped),
        ("slow_client_actions disconnect", closed),
        ("slow_client_actions copy_out", copied),
    ];
    let expected = expected.into_iter().filter(|(_, count)| *count > 0);
    stage.end(&expected.collect::<Vec<_>>());
}
