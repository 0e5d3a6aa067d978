//! Everything that endpoints do on their shards, at once and in random order: they pause and resume
//! clients, send pages at low water, work turn by turn, and send mail, while clients read slowly,
//! come and go. Each seed has its own script; the shards are not synchronised.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corecast::engine::{EndpointSettings, Settings, Shutdown};

use self::endpoint::{CLOSED_BY_US, CODE_BASE, Happened, Note, ROOMS, Seams, Shared};
use self::random::Random;
use crate::support::client::{CLOSE, Client, Frame, TEXT, close_payload, frame};
use crate::support::{DEADLINE, Server, eventually, settings};

mod endpoint;
mod random;

/// Clients besides the clocks.
const VISITORS: usize = 4;
const STEPS: usize = 250;
/// Their socket buffers, small so that much waits soon.
const SOCKET_BYTES: usize = 32 * 1024;
/// More than a shard completes before the deadline, if it wakes only for its clock.
const PIECES_ALONE: &str = "20000";
/// Messages of 3,000 bytes.
const SAID_WHILE_HELD: usize = 50;
/// More than came with the message that paused a client.
const KEPT_BYTES: usize = 16 * 1024;
const DRIVER: usize = 0;
const POSTMAN: usize = 1;

/// How a client ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Stays,
    /// By its own Close.
    Leaves,
    /// By ours.
    IsClosed,
}

struct Visitor {
    client: Client,
    id: String,
    shard: usize,
    is_clock: bool,
    end: End,
    /// Bytes that it still has to send.
    unsent: Vec<u8>,
    /// The number of messages that it has sent.
    said: u32,
    /// Its messages that were not answered yet.
    unanswered: BTreeSet<u32>,
    /// Of those, the ones published to a room.
    published: BTreeMap<u32, usize>,
    /// Messages to this client only.
    direct: u64,
    /// Frames of floods.
    pages: BTreeMap<String, u64>,
    /// Messages published to each room.
    rooms: [Vec<String>; ROOMS],
    closed: Option<u16>,
}

impl Visitor {
    fn open(server: &Server) -> Visitor {
        let client = Client::connect_narrow(server.address, SOCKET_BYTES).upgraded("/");
        let mut visitor = Visitor {
            client,
            id: String::new(),
            shard: 0,
            is_clock: false,
            end: End::Stays,
            unsent: Vec::new(),
            said: 0,
            unanswered: BTreeSet::new(),
            published: BTreeMap::new(),
            direct: 0,
            pages: BTreeMap::new(),
            rooms: Default::default(),
            closed: None,
        };
        visitor.read_until(|visitor| !visitor.id.is_empty());
        visitor
    }

    /// Adds a message to the bytes to be sent.
    fn say(&mut self, verb: &str, argument: &str, fill_bytes: u64) {
        let fill = "x".repeat(fill_bytes as usize);
        let text = format!("{} {verb} {argument} {fill}", self.said);
        self.unsent.extend(frame(TEXT, text.as_bytes()));
        self.unanswered.insert(self.said);
        if verb == "publish" {
            let room = argument.parse().expect("a room");
            self.published.insert(self.said, room);
        }
        self.said += 1;
    }

    fn leave(&mut self) {
        self.end = End::Leaves;
        let code = CODE_BASE + self.said as u16;
        self.unsent.extend(frame(CLOSE, &close_payload(code, "")));
    }

    /// Sends some of its bytes.
    fn send(&mut self, bytes: usize) {
        let rest = self.unsent.split_off(bytes);
        let bytes = std::mem::replace(&mut self.unsent, rest);
        let sent = self.client.try_send(&bytes);
        assert!(
            sent.is_ok() || self.end == End::IsClosed,
            "it is read: {sent:?}"
        );
    }

    fn send_all(&mut self) {
        self.send(self.unsent.len());
    }

    /// Sends as much as its socket accepts at once.
    fn send_without_waiting(&mut self) {
        let stream = &mut self.client.stream;
        stream.set_nonblocking(true).expect("a socket");
        while let Ok(count) = stream.write(&self.unsent)
            && count > 0
        {
            self.unsent.drain(..count);
        }
        stream.set_nonblocking(false).expect("a socket");
    }

    fn read_some(&mut self, reads: usize) {
        for frame in self.client.arrived_by(reads) {
            self.take(&frame);
        }
    }

    fn read_until(&mut self, is_enough: impl Fn(&Visitor) -> bool) {
        while !is_enough(self) {
            let frame = self.client.frame();
            self.take(&frame);
        }
    }

    fn take(&mut self, frame: &Frame) {
        assert_eq!(self.closed, None, "a frame behind the Close");
        let text = match frame.opcode {
            TEXT => std::str::from_utf8(&frame.payload).expect("UTF-8"),
            CLOSE => {
                let code = frame.payload.first_chunk().expect("a code");
                self.closed = Some(u16::from_be_bytes(*code));
                return;
            }
            other => panic!("opcode {other}"),
        };
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["r", room, ..] => {
                self.rooms[room.parse::<usize>().expect("a room")].push(text.to_owned());
            }
            ["d", number, ref words @ ..] => {
                assert_eq!(number, self.direct.to_string(), "in the order of sending");
                self.direct += 1;
                self.take_direct(words);
            }
            _ => panic!("{text}"),
        }
    }

    fn take_direct(&mut self, words: &[&str]) {
        match *words {
            ["welcome", id, is_clock] => {
                self.id = id.to_owned();
                let shard = id.split('-').next().expect("a shard");
                self.shard = shard.parse().expect("a number");
                self.is_clock = is_clock == "true";
            }
            ["page", flood, _, _] => *self.pages.entry(flood.to_owned()).or_default() += 1,
            ["done", number, ref frames @ ..] => {
                if let [frames] = frames {
                    let got = self.pages.remove(number).unwrap_or(0);
                    assert_eq!(frames.to_string(), got.to_string(), "whole pages");
                }
                let number: u32 = number.parse().expect("a number");
                assert!(self.unanswered.remove(&number), "answered twice");
                if let Some(room) = self.published.remove(&number) {
                    let own = format!("r {room} {} {number}", self.id);
                    // A leaving client gets no more messages of its rooms, and may miss waiting
                    // answers.
                    let comes = self.end != End::Stays || self.rooms[room].contains(&own);
                    assert!(comes, "the answer to {number} comes after it");
                }
            }
            _ => panic!("{words:?}"),
        }
    }

    /// Reads all messages that it should get, and its end if it has one.
    fn settle(&mut self) {
        self.send_all();
        let end = self.end;
        self.read_until(|visitor| match end {
            End::Stays => visitor.unanswered.is_empty(),
            End::Leaves | End::IsClosed => visitor.closed.is_some(),
        });
        match end {
            End::Stays => {}
            End::Leaves => {
                assert_eq!(self.closed, Some(CODE_BASE + self.said as u16));
                self.client.expect_end();
            }
            End::IsClosed => self.end_by(CLOSED_BY_US),
        }
    }

    /// Reads up to the Close of the server and answers it.
    fn end_by(&mut self, code: u16) {
        self.read_until(|visitor| visitor.closed.is_some());
        assert_eq!(self.closed, Some(code));
        self.send_all();
        self.client.close(code);
        self.client.expect_end();
    }
}

/// A run of one seed.
struct Run {
    random: Random,
    server: Server,
    shared: Arc<Shared>,
    began: Instant,
    visitors: Vec<Visitor>,
    /// The room messages of clients that have left.
    gone: Vec<[Vec<String>; ROOMS]>,
}

impl Run {
    fn new(seed: u64, shards: usize, happened: &Arc<Happened>) -> Run {
        let began = Instant::now();
        let shared = Arc::new(Shared::new(seed, shards, happened));
        let mut settings = Settings {
            shards,
            send_buffer_bytes: Some(SOCKET_BYTES),
            shutdown: Shutdown {
                timeout: DEADLINE,
                ..Shutdown::default()
            },
            ..settings()
        };
        settings.timeouts.close = DEADLINE;
        let mut of_endpoint = EndpointSettings::default();
        of_endpoint.slow_client.outbox_age = Duration::ZERO;
        // Messages would make a wait for one that never comes last for ever.
        of_endpoint.keepalive.ping = Duration::ZERO;
        let endpoint = Seams(Arc::clone(&shared));
        let server = Server::start(settings, |builder| {
            let id = builder.endpoint(of_endpoint, endpoint);
            builder.route("/", id).expect("a path");
        });
        let mut visitors: Vec<Visitor> = Vec::new();
        let clocks = |visitors: &[Visitor]| visitors.iter().filter(|each| each.is_clock).count();
        while clocks(&visitors) < shards || visitors.len() < shards + VISITORS {
            assert!(visitors.len() < 100, "a shard gets no clients");
            visitors.push(Visitor::open(&server));
        }
        Run {
            random: Random(seed),
            server,
            shared,
            began,
            visitors,
            gone: Vec::new(),
        }
    }

    fn script(&mut self) {
        for _ in 0..STEPS {
            self.step();
            self.expect_no_panic();
        }
    }

    fn expect_no_panic(&self) {
        let panics = self.server.sum(|stats| stats.endpoint_panics.get());
        assert_eq!(panics, 0, "a callback has found a fault: see above");
    }

    fn step(&mut self) {
        let random = &mut self.random;
        if random.one_in(12) {
            let notes = [Note::Nothing, Note::Ask, Note::Publish, Note::ReleaseAll];
            let (note, shard) = (
                random.any_of(&notes),
                random.below(self.shared.shards as u64),
            );
            let to = (!random.one_in(2)).then_some(shard as usize);
            return self.shared.mail(DRIVER, to, note);
        }
        let chosen = random.below(self.visitors.len() as u64) as usize;
        let visitor = &mut self.visitors[chosen];
        if random.one_in(3) {
            return visitor.read_some(1 + random.below(20) as usize);
        }
        if random.one_in(3) {
            let bytes = random.below(visitor.unsent.len() as u64 + 1) as usize;
            return visitor.send(bytes);
        }
        if visitor.end != End::Stays {
            return;
        }
        if visitor.is_clock {
            let verb = random.any_of(&["say", "enough", "mail", "publish"]);
            return visitor.say(verb, "1", 0);
        }
        if random.one_in(20) {
            return self.go(chosen);
        }
        let several = random.below(4);
        for _ in 0..=several {
            say_something(visitor, random);
            if visitor.end != End::Stays {
                return;
            }
        }
    }

    /// A client leaves, and another one comes.
    fn go(&mut self, chosen: usize) {
        if self.random.one_in(2) {
            self.visitors[chosen].leave();
        } else {
            let mut visitor = self.visitors.swap_remove(chosen);
            visitor.read_some(self.random.below(3) as usize);
            self.gone.push(visitor.rooms);
        }
        self.visitors.push(Visitor::open(&self.server));
    }

    /// Waits until everything that was begun is done.
    fn settle(&mut self) {
        for visitor in &mut self.visitors {
            visitor.send_all();
        }
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.mail(DRIVER, None, Note::ReleaseAll);
        for visitor in self.visitors.iter_mut().filter(|each| each.is_clock) {
            visitor.say("enough", "-", 0);
            visitor.send_all();
        }
        for visitor in &mut self.visitors {
            visitor.settle();
        }
        let shared = &self.shared;
        eventually("all mail has come", || shared.has_all_mail());
        self.expect_no_panic();
        let stay = self
            .visitors
            .iter()
            .filter(|each| each.end == End::Stays)
            .count();
        eventually("those who left are gone", || {
            shared.open.lock().expect("no panic").len() == stay
        });
    }

    /// Every member of a room got a contiguous piece of one order, up to the end if it is still
    /// there.
    fn check_rooms(&mut self) {
        for room in 0..ROOMS {
            self.visitors[0].say("publish", &room.to_string(), 0);
        }
        self.visitors[0].send_all();
        let id = self.visitors[0].id.clone();
        let last = |room: usize| format!("r {room} {id} ");
        for room in 0..ROOMS {
            let number = self.visitors[0].said as usize - ROOMS + room;
            let last = last(room) + &number.to_string();
            let stay = self
                .visitors
                .iter_mut()
                .filter(|each| each.end == End::Stays);
            for visitor in stay {
                visitor.read_until(|visitor| visitor.rooms[room].last() == Some(&last));
            }
            let all = &self.visitors[0].rooms[room];
            let published = &self.shared.published[room];
            assert_eq!(all.len() as u64, published.load(Ordering::SeqCst));
            let places: BTreeMap<&String, usize> = all
                .iter()
                .enumerate()
                .map(|(place, text)| (text, place))
                .collect();
            let got = self.visitors.iter().map(|visitor| &visitor.rooms[room]);
            let got = got.chain(self.gone.iter().map(|rooms| &rooms[room]));
            for got in got {
                let begin = got.first().map_or(0, |first| places[first]);
                let expected = all.get(begin..begin + got.len());
                assert!(expected == Some(&got[..]), "one order for everybody");
            }
            for visitor in self.visitors.iter().filter(|each| each.is_clock) {
                assert_eq!(visitor.rooms[room].len(), all.len(), "all of it");
            }
        }
    }

    /// Makes every shard work while nothing else happens there: it must not sleep meanwhile.
    fn work_alone(&mut self) {
        for clock in self.visitors.iter_mut().filter(|each| each.is_clock) {
            clock.say("work", PIECES_ALONE, 0);
            clock.send_all();
            clock.read_until(|clock| clock.unanswered.is_empty());
        }
    }

    /// Ticks came on every shard, each at least a second after the last one.
    fn check_ticks(&self, count: usize) {
        for ticks in &self.shared.ticks {
            eventually("ticks", || ticks.lock().expect("no panic").len() >= count);
            let ticks = ticks.lock().expect("no panic");
            for (number, at) in ticks.iter().enumerate() {
                let earliest = self.began + Duration::from_secs(number as u64);
                assert!(*at >= earliest, "tick {number} comes too early");
            }
        }
    }

    /// Pauses some clients for good, which send more than the engine may read meanwhile.
    fn hold_for_good(&mut self) {
        self.visitors.retain(|each| each.end == End::Stays);
        let mut held = 0;
        for visitor in &mut self.visitors {
            if !visitor.is_clock && self.random.one_in(2) {
                held += 1;
                visitor.say("hold", "forever", 0);
                let hold = visitor.said - 1;
                if self.random.one_in(2) {
                    visitor.say("say", "-", 0);
                }
                visitor.send_all();
                visitor.read_until(|visitor| !visitor.unanswered.contains(&hold));
                (0..SAID_WHILE_HELD).for_each(|_| visitor.say("say", "-", 3_000));
                visitor.send_without_waiting();
            }
        }
        // Everything sent earlier is read in a turn that begins before this comes.
        for clock in self.visitors.iter_mut().filter(|each| each.is_clock) {
            for _ in 0..SAID_WHILE_HELD {
                clock.say("say", "-", 0);
                clock.send_all();
                clock.read_until(|clock| clock.unanswered.is_empty());
            }
        }
        let bytes = self.server.view.inbound_bytes();
        assert!(
            bytes <= held * KEPT_BYTES,
            "{bytes} bytes of {held} clients that are held"
        );
    }

    /// Stops the engine.
    fn stop(self) {
        self.expect_no_panic();
        let Run {
            server,
            shared,
            visitors,
            ..
        } = self;
        let view = server.view.clone();
        thread::scope(|scope| {
            let stopped = scope.spawn(|| server.stop());
            for mut visitor in visitors {
                visitor.end_by(1001);
            }
            assert!(stopped.join().expect("no panic"), "everybody goes in time");
        });
        assert!(
            shared.open.lock().expect("no panic").is_empty(),
            "closed once"
        );
        let panics: u64 = view.shards().map(|stats| stats.endpoint_panics.get()).sum();
        assert_eq!(panics, 0, "a callback has found a fault: see above");
    }
}

/// Makes a client send something random.
fn say_something(visitor: &mut Visitor, random: &mut Random) {
    let fill_bytes = if random.one_in(8) {
        random.below(3_000)
    } else {
        0
    };
    let count = (1 + random.below(4)).to_string();
    let room = random.below(ROOMS as u64).to_string();
    match random.below(16) {
        0..4 => visitor.say("say", "-", fill_bytes),
        4..7 => visitor.say("publish", &room, fill_bytes),
        7..10 => {
            let how = random.any_of(&["turns", "mail", "low", "told"]);
            visitor.say("hold", how, fill_bytes);
        }
        10..12 => visitor.say("flood", &count, fill_bytes),
        12 => visitor.say("work", &(1 + random.below(300)).to_string(), fill_bytes),
        13 => visitor.say("endless", "1", fill_bytes),
        14 => visitor.say("mail", &count, fill_bytes),
        _ if random.one_in(3) => {
            match random.one_in(3) {
                true => visitor.say("close", "-", fill_bytes),
                false => visitor.say("hold", "close", fill_bytes),
            }
            // This message may not be read.
            visitor.say("say", "-", 0);
            visitor.end = End::IsClosed;
        }
        _ => visitor.say("enough", "-", fill_bytes),
    }
}

/// Mail of another thread, to all shards, while the script runs.
fn send_letters(shared: &Shared, seed: u64) {
    let mut random = Random(!seed);
    for _ in 0..400 {
        let shard = random.below(shared.shards as u64) as usize;
        let to = (!random.one_in(4)).then_some(shard);
        let note = random.any_of(&[Note::Nothing, Note::Ask]);
        shared.mail(POSTMAN, to, note);
    }
}

/// The most ticks to wait for, with the first seed only, because it takes that long.
const TICKS: usize = 2;

fn run_all(shards: usize, seeds: std::ops::Range<u64>) {
    let happened = Arc::<Happened>::default();
    for seed in seeds.clone() {
        println!("{shards} shards, seed {seed}");
        let mut run = Run::new(seed, shards, &happened);
        let shared = Arc::clone(&run.shared);
        let postman = thread::spawn(move || send_letters(&shared, seed));
        run.script();
        postman.join().expect("no panic");
        run.settle();
        run.check_rooms();
        if seed == seeds.start {
            run.work_alone();
        }
        run.check_ticks(if seed == seeds.start { TICKS } else { 1 });
        run.hold_for_good();
        run.stop();
    }
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    let counts = [
        &happened.held_back,
        &happened.drained,
        &happened.turns,
        &happened.spent,
        &happened.letters,
    ];
    let counts = counts.map(count);
    println!("{counts:?}");
    assert!(counts.iter().all(|each| *each >= 10), "{counts:?}");
}

#[test]
fn random_runs_keep_all_promises_on_one_shard() {
    run_all(1, 0..6);
}

#[test]
fn random_runs_keep_all_promises_on_two_shards() {
    run_all(2, 100..106);
}

#[test]
fn random_runs_keep_all_promises_on_three_shards() {
    run_all(3, 200..206);
}
