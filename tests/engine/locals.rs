//! Endpoints' work on a shard besides answering clients: mail, incremental work, ticks; and how
//! they pause a client.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use corecast::engine::{
    Endpoint, EndpointSettings, Local, Mailer, OnShard, Request, Session, ShardStats, TurnPhase,
};
use corecast::fanout::{ConnectionId, Recipients};
use corecast::wire::decoder::Message;
use corecast::wire::deflate::Deflater;
use corecast::wire::frame::MessageKind;

use crate::support::client::{Client, TEXT, frame};
use crate::support::{Server, eventually, settings};

/// A client's requests to the endpoint.
struct Desk {
    mailer: Arc<OnceLock<Mailer<Note>>>,
    /// Ticks of each shard.
    ticks: Arc<[AtomicU32; 2]>,
}

enum Note {
    Number(u32),
    Panic,
}

/// The endpoint's state on a shard.
#[derive(Default)]
struct Ledger {
    seen: Vec<u32>,
    /// Pieces of work, and the client to notify when they are done.
    left: u32,
    turns: u32,
    asked_by: Option<ConnectionId>,
    ticks: Option<Arc<[AtomicU32; 2]>>,
}

impl Local for Ledger {
    type Mail = Note;

    fn mail(&mut self, _shard: &mut OnShard<'_, Ledger>, mail: &Arc<Note>) {
        match **mail {
            Note::Number(number) => self.seen.push(number),
            Note::Panic => panic!("as asked"),
        }
    }

    fn turn(&mut self, shard: &mut OnShard<'_, Ledger>) -> bool {
        self.turns += 1;
        while self.left > 0 && !shard.is_spent() {
            self.left -= 1;
            shard.spend(100_000);
        }
        if self.left == 0 {
            let text = format!("done in {} turns", self.turns);
            shard.publish("desk", Recipients::All, MessageKind::Text, b"done");
            let asked_by = self.asked_by.take().expect("somebody asked");
            let mut client = shard.client(asked_by).expect("it is there");
            client.send(MessageKind::Text, text.as_bytes());
        }
        self.left > 0
    }

    fn tick(&mut self, shard: &mut OnShard<'_, Ledger>) {
        let ticks = self.ticks.as_ref().expect("begun");
        ticks[usize::from(shard.shard())].fetch_add(1, Ordering::Relaxed);
    }
}

type Visit<'c> = Session<'c, (), Ledger>;

impl Endpoint for Desk {
    type State = ();
    type Local = Ledger;

    fn mailer(&self, mailer: Mailer<Note>) {
        assert!(self.mailer.set(mailer).is_ok(), "once");
    }

    fn started_on(&self, shard: &mut OnShard<'_, Ledger>, local: &mut Ledger) {
        assert_eq!(shard.shards(), 2);
        local.ticks = Some(Arc::clone(&self.ticks));
    }

    fn opened(&self, session: &mut Visit<'_>, _request: &Request<'_>) {
        session.join("desk").expect("a room");
    }

    fn message(&self, session: &mut Visit<'_>, message: Message<'_>) {
        let text = std::str::from_utf8(message.payload).expect("text");
        let answer = match text.split_once(' ') {
            Some(("tell", number)) => {
                let number = number.parse().expect("a number");
                return session.mail_all(&Arc::new(Note::Number(number)));
            }
            Some(("work", pieces)) => {
                let id = session.id();
                let ledger = session.local();
                ledger.left = pieces.parse().expect("a number");
                ledger.asked_by = Some(id);
                return session.ask_for_turn();
            }
            _ if text == "seen" => format!("{:?}", session.local().seen),
            _ => session.id().shard.to_string(),
        };
        session.send(MessageKind::Text, answer.as_bytes());
    }
}

struct Office {
    server: Server,
    mailer: Mailer<Note>,
    ticks: Arc<[AtomicU32; 2]>,
}

impl Office {
    fn open() -> Office {
        let mut settings = settings();
        settings.shards = 2;
        let (mailer, ticks) = (Arc::<OnceLock<_>>::default(), Arc::default());
        let desk = Desk {
            mailer: Arc::clone(&mailer),
            ticks: Arc::clone(&ticks),
        };
        let server = Server::start(settings, |builder| {
            let id = builder.endpoint(EndpointSettings::default(), desk);
            builder.route("/", id).expect("a path");
        });
        let mailer = mailer.get().expect("before the start").clone();
        Office {
            server,
            mailer,
            ticks,
        }
    }

    /// A client on each shard.
    fn visitors(&self) -> [Client; 2] {
        let mut visitors = [(); 2].map(|()| self.server.open("/"));
        if ask(&mut visitors[0], "shard") == "1" {
            visitors.reverse();
        }
        assert_eq!(ask(&mut visitors[1], "shard"), "1");
        visitors
    }
}

fn ask(client: &mut Client, question: &str) -> String {
    client.text(question);
    client.expect_text()
}

#[test]
fn bodies_made_by_a_thread_count_while_they_are_held() {
    let office = Office::open();
    let before = office.server.view.live_bytes();
    let payload = "all the same ".repeat(1_000);
    let mut deflater = Deflater::default();
    let plain = office.mailer.shared_body(payload.as_bytes(), None);
    let deflater = Some((&mut deflater, 6));
    let both = office.mailer.shared_body(payload.as_bytes(), deflater);
    assert!(!plain.is_deflated() && both.is_deflated());
    assert!(plain.bytes() == payload.as_bytes() && both.bytes() == payload.as_bytes());
    let held = office.server.view.live_bytes() - before;
    assert!(
        (2 * payload.len()..3 * payload.len()).contains(&held),
        "{held}"
    );
    let clones = [plain.clone(), both.clone()];
    assert_eq!(office.server.view.live_bytes() - before, held);
    drop((plain, both, clones));
    assert_eq!(office.server.view.live_bytes(), before);
}

#[test]
fn mail_of_a_thread_reaches_every_shard_in_order() {
    let office = Office::open();
    let count = 20_000;
    for number in 0..count {
        let sent = office.mailer.send_all(&Arc::new(Note::Number(number)));
        sent.expect("shards that run");
    }
    let all = format!("{:?}", (0..count).collect::<Vec<_>>());
    for visitor in &mut office.visitors() {
        eventually("all of it has come", || ask(visitor, "seen") == all);
    }
    let mailer = office.mailer.clone();
    assert!(
        mailer.send(2, Arc::new(Note::Number(0))).is_err(),
        "no such shard"
    );
    assert!(office.server.stop());
    assert!(
        mailer.send(0, Arc::new(Note::Number(0))).is_err(),
        "it has ended"
    );
}

#[test]
fn mail_of_a_callback_reaches_its_own_shard_and_the_others() {
    let office = Office::open();
    let mut visitors = office.visitors();
    for number in 0..1_000 {
        visitors[0].text(&format!("tell {number}"));
    }
    let all = format!("{:?}", (0..1_000).collect::<Vec<_>>());
    for visitor in &mut visitors {
        eventually("all of it has come", || ask(visitor, "seen") == all);
    }
}

#[test]
fn a_panic_over_mail_is_counted_and_the_next_mail_is_handed_out() {
    let office = Office::open();
    for note in [Note::Number(1), Note::Panic, Note::Number(2)] {
        office
            .mailer
            .send(1, Arc::new(note))
            .expect("a shard that runs");
    }
    let [mut other, mut visitor] = office.visitors();
    eventually("both have come", || ask(&mut visitor, "seen") == "[1, 2]");
    assert_eq!(ask(&mut other, "seen"), "[]");
    let panics = office.server.sum(|stats| stats.endpoint_panics.get());
    assert_eq!(panics, 1);
}

#[test]
fn work_is_done_bit_by_bit_and_others_are_served_meanwhile() {
    let office = Office::open();
    let [mut worker, _other] = office.visitors();
    // Each turn has time for some pieces: the answer to a later request comes before they are done.
    worker.send(&[frame(TEXT, b"work 1000"), frame(TEXT, b"shard")].concat());
    assert_eq!(worker.expect_text(), "0");
    let answers = [worker.expect_text(), worker.expect_text()];
    let turns = answers
        .iter()
        .find_map(|answer| answer.strip_prefix("done in "));
    let turns = turns.and_then(|turns| turns.strip_suffix(" turns"));
    let turns: u32 = turns.expect("the count").parse().expect("a number");
    assert!((10..=1_000).contains(&turns), "{turns}");
    assert!(
        answers.contains(&"done".to_owned()),
        "what it publishes: {answers:?}"
    );
    let cuts = |stats: &ShardStats| stats.turn_cut[TurnPhase::Endpoint as usize].get();
    assert!(office.server.sum(cuts) >= 9);
}

#[test]
fn every_shard_has_its_tick() {
    let office = Office::open();
    eventually("two seconds are over on both", || {
        let ticks = office.ticks.iter();
        ticks.map(|ticks| ticks.load(Ordering::Relaxed)).min() >= Some(2)
    });
}

/// Pauses a client while much waits for it.
struct Slow;

/// More than a socket takes at once.
const MUCH: usize = 8 * 1024 * 1024;
const LITTLE: usize = 64 * 1024;

impl Endpoint for Slow {
    type State = ();
    type Local = ();

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        if message.payload == b"much" {
            session.send(MessageKind::Binary, &vec![0; MUCH]);
            assert!(session.outbox_bytes() > MUCH);
            session.await_low_water(LITTLE);
            session.hold();
        }
        session.send(message.kind, message.payload);
    }

    fn drained(&self, session: &mut Session<'_>) {
        assert!(session.outbox_bytes() <= LITTLE);
        session.send(MessageKind::Text, b"drained");
        session.release();
    }
}

#[test]
fn a_client_is_held_until_little_waits_for_it_and_loses_nothing() {
    let server = Server::start(settings(), |builder| {
        let id = builder.endpoint(EndpointSettings::default(), Slow);
        builder.route("/", id).expect("a path");
    });
    let mut client = server.open("/");
    let mut other = server.open("/");
    for round in 0..3 {
        // In one piece, so that the rest comes with the message that pauses the client; half a
        // frame comes later.
        let half = frame(TEXT, b"last");
        let words = [
            frame(TEXT, b"much"),
            frame(TEXT, b"one"),
            frame(TEXT, b"two"),
        ]
        .concat();
        client.send(&[&words, &half[..4]].concat());
        other.round_trip();
        client.send(&half[4..]);
        other.round_trip();
        assert_eq!(client.frame().payload.len(), MUCH, "round {round}");
        let heard: Vec<String> = (0..5).map(|_| client.expect_text()).collect();
        assert_eq!(heard, ["much", "drained", "one", "two", "last"]);
    }
}

#[test]
fn low_water_without_waiting_output_comes_at_once() {
    /// Closes clients on request, paused or not.
    struct Closing;

    impl Endpoint for Closing {
        type State = bool;
        type Local = ();

        fn opened(&self, session: &mut Session<'_, bool>, _request: &Request<'_>) {
            session.await_low_water(0);
            session.hold();
        }

        fn message(&self, session: &mut Session<'_, bool>, _message: Message<'_>) {
            session.close(4000, "it was released");
        }

        fn drained(&self, session: &mut Session<'_, bool>) {
            match std::mem::replace(session.state(), true) {
                false => session.await_low_water(0),
                true => session.close(4001, "it was held"),
            }
        }
    }

    let server = Server::start(settings(), |builder| {
        let id = builder.endpoint(EndpointSettings::default(), Closing);
        builder.route("/", id).expect("a path");
    });
    let mut client = server.open("/");
    client.text("what a held client says");
    assert_eq!(client.expect_close(4001), "it was held");
    client.close(4001);
    client.expect_end();
    server.expect_empty();
}

#[test]
fn low_water_is_called_once_if_little_waits_after_the_flush() {
    /// Requests a low-water call before more than that waits, in addition to a room's messages.
    struct Hasty;

    impl Endpoint for Hasty {
        type State = u32;
        type Local = ();

        fn opened(&self, session: &mut Session<'_, u32>, _request: &Request<'_>) {
            session.join("room").expect("a room");
        }

        fn message(&self, session: &mut Session<'_, u32>, message: Message<'_>) {
            if message.payload == b"much" {
                session.await_low_water(MUCH);
                session.await_low_water(LITTLE);
                session.publish_to("room", Recipients::All, message.kind, b"published");
                session.send(MessageKind::Binary, &vec![0; MUCH]);
                assert!(session.outbox_bytes() > MUCH);
            }
            let calls = session.state().to_string();
            session.send(message.kind, calls.as_bytes());
        }

        fn drained(&self, session: &mut Session<'_, u32>) {
            *session.state() += 1;
            let bytes = session.outbox_bytes();
            assert!(bytes <= LITTLE, "{bytes}");
        }
    }

    let server = Server::start(settings(), |builder| {
        let id = builder.endpoint(EndpointSettings::default(), Hasty);
        builder.route("/", id).expect("a path");
    });
    let mut client = server.open("/");
    assert_eq!(ask(&mut client, "much"), "published");
    assert_eq!(client.frame().payload.len(), MUCH);
    assert_eq!(client.expect_text(), "0");
    eventually("it is called", || ask(&mut client, "calls") != "0");
    assert_eq!(ask(&mut client, "calls"), "1");
}

/// Publishes messages and acknowledges them; only acknowledges those that begin with `-`.
struct Acknowledging;

impl Endpoint for Acknowledging {
    type State = ();
    type Local = ();

    fn opened(&self, session: &mut Session<'_>, _request: &Request<'_>) {
        session.join("one").expect("a room");
        session.join("two").expect("a room");
    }

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        if !message.payload.starts_with(b"-") {
            for room in ["one", "two"] {
                session.publish_to(room, Recipients::All, message.kind, message.payload);
            }
        }
        let ack = [b"ack ", message.payload].concat();
        session.send(message.kind, &ack);
    }
}

#[test]
fn a_direct_message_follows_earlier_published_ones() {
    const ROUNDS: usize = 200;
    let mut settings = settings();
    settings.shards = 2;
    let server = Server::start(settings, |builder| {
        let id = builder.endpoint(EndpointSettings::default(), Acknowledging);
        builder.route("/", id).expect("a path");
    });
    // Both shards publish to the same rooms all the time, so they wait for tickets.
    let clients: Vec<Client> = (0..4).map(|_| server.open("/")).collect();
    let clients = clients.into_iter().enumerate();
    let threads: Vec<_> = clients
        .map(|(number, mut client)| {
            std::thread::spawn(move || {
                let own = |round: usize| format!("{number} {round}");
                for round in 0..ROUNDS {
                    client.text(&own(round));
                    client.text(&format!("-{round}"));
                }
                let (mut acks, mut seen) = (Vec::new(), Vec::new());
                while acks.len() < 2 * ROUNDS {
                    let text = client.expect_text();
                    let Some(acknowledged) = text.strip_prefix("ack ") else {
                        seen.push(text);
                        continue;
                    };
                    if !acknowledged.starts_with('-') {
                        let copies = seen.iter().filter(|each| *each == acknowledged);
                        assert_eq!(
                            copies.count(),
                            2,
                            "{acknowledged} was acknowledged too early"
                        );
                    }
                    acks.push(acknowledged.to_owned());
                }
                let sent = (0..ROUNDS).flat_map(|round| [own(round), format!("-{round}")]);
                assert!(acks.iter().eq(&sent.collect::<Vec<_>>()), "{acks:?}");
                client
            })
        })
        .collect();
    let clients: Vec<Client> = threads
        .into_iter()
        .map(|each| each.join().unwrap())
        .collect();
    drop(clients);
    server.expect_empty();
}
