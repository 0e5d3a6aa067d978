//! An endpoint that does everything an endpoint may do on its shards, as its clients request and at
//! random. Each callback checks the engine's promises.
//!
//! Messages to one client are numbered: `d` for direct, the number, and the subject. Published
//! messages begin with `r` for room, and each text is unique.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, ThreadId};
use std::time::Instant;

use corecast::engine::{Client, CloseReason, Endpoint, Local, Mailer, OnShard, Request, Session};
use corecast::fanout::{ConnectionId, Recipients};
use corecast::limits::{
    ACCEPT_WORK_NS, CONTROL_WORK_NS, ENDPOINT_WORK_NS, MAIL_WORK_NS, READ_WORK_NS,
};
use corecast::wire::decoder::Message;
use corecast::wire::frame::MessageKind::Text;

use super::random::Random;

pub(super) const ROOMS: usize = 2;
/// The endpoint's close code.
pub(super) const CLOSED_BY_US: u16 = 4000;
/// A client that closes adds the number of its messages to this code.
pub(super) const CODE_BASE: u16 = 3000;
/// Threads that send mail through the mailer.
const MAILERS: usize = 2;
const PAGE_BYTES_MAX: u64 = 256 * 1024;
const MARKS: [usize; 4] = [0, 1_000, 16 * 1024, 64 * 1024];
/// More than all short messages of a run that may wait for a client besides its pages.
const SHORT_BYTES: usize = 64 * 1024;
const PIECE_NS: u64 = 100_000;
/// The most work of a turn for endpoints, including the piece that was begun last.
const PIECES_MAX: u64 =
    (CONTROL_WORK_NS + MAIL_WORK_NS + ACCEPT_WORK_NS + READ_WORK_NS + ENDPOINT_WORK_NS) / PIECE_NS
        + 1;

/// Actions on a paused client.
#[derive(Clone, Copy)]
pub(super) enum Act {
    Release,
    Close,
}

#[derive(Clone, Copy)]
pub(super) enum Note {
    Nothing,
    Ask,
    Publish,
    /// Makes the client's own shard act, by mail.
    Bounce(ConnectionId, Act),
    Act(ConnectionId, Act),
    ReleaseAll,
}

/// Mail with its number among all mail of its sender to the same receiver.
pub(super) struct Letter {
    from: usize,
    numbers: Vec<u64>,
    note: Note,
}

/// The receiver of a letter; all shards if `None`.
type To = Option<usize>;

/// Events of a run, to show that it has exercised the engine.
#[derive(Default)]
pub(super) struct Happened {
    /// Messages that came right after a release.
    pub(super) held_back: AtomicU64,
    /// Low-water calls that were awaited.
    pub(super) drained: AtomicU64,
    /// Turns of a shard in which remaining work was called.
    pub(super) turns: AtomicU64,
    /// Calls with more work than fits in a turn.
    pub(super) spent: AtomicU64,
    pub(super) letters: AtomicU64,
}

/// State shared by the endpoint and the test.
pub(super) struct Shared {
    seed: u64,
    pub(super) shards: usize,
    mailer: OnceLock<Mailer<Letter>>,
    pub(super) open: Mutex<HashSet<ConnectionId>>,
    /// Letters of each sender to each shard.
    sent: Vec<AtomicU64>,
    got: Vec<AtomicU64>,
    /// Of each shard.
    pub(super) ticks: Vec<Mutex<Vec<Instant>>>,
    /// The number for each room.
    pub(super) published: [AtomicU64; ROOMS],
    /// From now on all work ends, and every paused client is resumed.
    pub(super) is_over: AtomicBool,
    pub(super) happened: Arc<Happened>,
}

impl Shared {
    pub(super) fn new(seed: u64, shards: usize, happened: &Arc<Happened>) -> Shared {
        let counts = || (0..(shards + MAILERS) * shards).map(|_| AtomicU64::new(0));
        Shared {
            seed,
            shards,
            mailer: OnceLock::new(),
            open: Mutex::default(),
            sent: counts().collect(),
            got: counts().collect(),
            ticks: (0..shards).map(|_| Mutex::default()).collect(),
            published: Default::default(),
            is_over: AtomicBool::new(false),
            happened: Arc::clone(happened),
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// The next letter of a sender.
    fn letter(&self, from: usize, to: To, note: Note) -> Arc<Letter> {
        let number = |shard: usize| match to.is_none_or(|to| to == shard) {
            true => self.sent[from * self.shards + shard].fetch_add(1, Ordering::SeqCst),
            false => 0,
        };
        let numbers = (0..self.shards).map(number).collect();
        Arc::new(Letter {
            from,
            numbers,
            note,
        })
    }

    /// Sends a letter from a thread that is not a shard.
    pub(super) fn mail(&self, thread: usize, to: To, note: Note) {
        let letter = self.letter(self.shards + thread, to, note);
        let mailer = self.mailer.get().expect("before the start");
        let sent = match to {
            Some(shard) => mailer.send(shard as u16, letter),
            None => mailer.send_all(&letter),
        };
        sent.expect("a shard that runs");
    }

    pub(super) fn has_all_mail(&self) -> bool {
        let count = |of: &[AtomicU64]| -> Vec<u64> {
            of.iter().map(|each| each.load(Ordering::SeqCst)).collect()
        };
        // First the received count, which can only grow while the other is read.
        let got = count(&self.got);
        got == count(&self.sent)
    }
}

/// Pages to be sent one after the other.
struct Flood {
    /// The message that requested it; none if the pause of the client did.
    number: Option<u32>,
    pages_left: u64,
    frames: u64,
}

/// The state of a client.
#[derive(Default)]
struct Seat {
    sent: u64,
    is_held: bool,
    was_released: bool,
    is_closing: bool,
    /// Awaits low water, with this mark.
    awaits: Option<usize>,
    /// The mark at which it was last called.
    mark: usize,
    floods: VecDeque<Flood>,
    /// The limit on its waiting bytes.
    bytes_max: usize,
}

/// Work that is done piece by piece.
struct Job {
    id: ConnectionId,
    number: u32,
    pieces_left: u64,
    has_end: bool,
}

/// Distinguishes turns of the shard: a client that awaits low water, and never has too much
/// waiting, is called once in each.
#[derive(Default)]
struct Clock {
    client: Option<ConnectionId>,
    is_running: bool,
    /// Whether a turn was requested when the last one ended.
    was_asked: bool,
    calls: u32,
}

/// The endpoint's state on a shard. It is not `Send`.
#[derive(Default)]
pub(super) struct Keeper(Rc<RefCell<Option<Kept>>>);

struct Kept {
    shared: Arc<Shared>,
    thread: ThreadId,
    shard: usize,
    random: Random,
    seats: HashMap<ConnectionId, Seat>,
    jobs: VecDeque<Job>,
    /// Clients whose next page is sent in the next turn.
    due: Vec<ConnectionId>,
    /// Delayed actions, their clients and the number of turns.
    acts: Vec<(u64, ConnectionId, Act)>,
    published: u64,
    clock: Clock,
    /// A turn was requested, and has not come.
    is_asked: bool,
    /// Requests to make at the end of the callback.
    asks: bool,
    letters: Vec<(To, Note)>,
}

/// Operations that sessions and shards have in common.
trait Desk {
    fn mail(&mut self, shard: u16, letter: Arc<Letter>);
    fn mail_all(&mut self, letter: &Arc<Letter>);
    fn ask(&mut self);
}

impl Desk for Visit<'_> {
    fn mail(&mut self, shard: u16, letter: Arc<Letter>) {
        Session::mail(self, shard, letter);
    }

    fn mail_all(&mut self, letter: &Arc<Letter>) {
        Session::mail_all(self, letter);
    }

    fn ask(&mut self) {
        self.ask_for_turn();
    }
}

impl Desk for OnShard<'_, Keeper> {
    fn mail(&mut self, shard: u16, letter: Arc<Letter>) {
        OnShard::mail(self, shard, letter);
    }

    fn mail_all(&mut self, letter: &Arc<Letter>) {
        OnShard::mail_all(self, letter);
    }

    fn ask(&mut self) {
        self.ask_for_turn();
    }
}

impl Kept {
    fn new(shared: &Arc<Shared>, shard: usize) -> Kept {
        Kept {
            shared: Arc::clone(shared),
            thread: thread::current().id(),
            shard,
            random: Random(shared.seed ^ (shard as u64 + 1) << 32),
            seats: HashMap::new(),
            jobs: VecDeque::new(),
            due: Vec::new(),
            acts: Vec::new(),
            published: 0,
            clock: Clock::default(),
            is_asked: false,
            asks: false,
            letters: Vec::new(),
        }
    }

    fn seat(&mut self, id: ConnectionId) -> &mut Seat {
        self.seats.get_mut(&id).expect("a client that is open")
    }

    fn ask(&mut self) {
        self.is_asked = true;
        self.asks = true;
    }

    /// Ends a callback.
    fn post(&mut self, desk: &mut impl Desk) {
        if std::mem::take(&mut self.asks) {
            desk.ask();
        }
        for (to, note) in std::mem::take(&mut self.letters) {
            let letter = self.shared.letter(self.shard, to, note);
            match to {
                Some(to) => desk.mail(to as u16, letter),
                None => desk.mail_all(&letter),
            }
        }
    }

    fn any_shard(&mut self) -> To {
        Some(self.random.below(self.shared.shards as u64) as usize)
    }

    /// Sends a client its next message.
    fn say(&mut self, client: &mut Client<'_>, text: &str) {
        let seat = self.seat(client.id());
        let text = format!("d {} {text}", seat.sent);
        seat.sent += 1;
        client.send(Text, text.as_bytes());
    }

    /// Sends the next page of a flood, and awaits its end.
    fn send_page(&mut self, client: &mut Client<'_>) {
        let id = client.id();
        let frames = 1 + self.random.below(40);
        let bytes = 1 + self.random.below(PAGE_BYTES_MAX / frames);
        let mark = self.random.any_of(&MARKS);
        let page_bytes = (frames * (bytes + 64)) as usize;
        let (awaits_first, awaits_twice) = (self.random.one_in(3), self.random.one_in(3));
        let seat = self.seat(id);
        assert_eq!(seat.awaits, None, "one page after the other");
        seat.awaits = Some(mark);
        seat.bytes_max = seat.mark + page_bytes + SHORT_BYTES;
        let flood = seat.floods.front_mut().expect("a flood");
        flood.pages_left -= 1;
        flood.frames += frames;
        let number = flood.number;
        if awaits_twice {
            // The last request counts.
            client.await_low_water(2 * mark + 1);
        }
        if awaits_first {
            client.await_low_water(mark);
        }
        let number = number.map_or("none".to_owned(), |number| number.to_string());
        let fill = "x".repeat(bytes as usize);
        for frame in 0..frames {
            self.say(client, &format!("page {number} {frame} {fill}"));
        }
        if !awaits_first {
            client.await_low_water(mark);
        }
        if client.outbox_bytes() > mark {
            self.shared.happened.drained.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flood(&mut self, client: &mut Client<'_>, number: Option<u32>, pages: u64) {
        let floods = &mut self.seat(client.id()).floods;
        floods.push_back(Flood {
            number,
            pages_left: pages,
            frames: 0,
        });
        if floods.len() == 1 {
            self.send_page(client);
        }
    }

    /// Continues a flood once little waits.
    fn go_on(&mut self, client: &mut Client<'_>) {
        let id = client.id();
        let seat = self.seat(id);
        let flood = seat.floods.front().expect("a flood");
        if flood.pages_left == 0 {
            let Flood { number, frames, .. } = seat.floods.pop_front().expect("a flood");
            match number {
                Some(number) => self.say(client, &format!("done {number} {frames}")),
                None => self.act(client, Act::Release),
            }
        }
        if self.seat(id).floods.is_empty() {
            return;
        }
        if self.random.one_in(3) {
            self.due.push(id);
            self.ask();
        } else {
            self.send_page(client);
        }
    }

    fn act(&mut self, client: &mut Client<'_>, act: Act) {
        let seat = self.seat(client.id());
        match act {
            Act::Release => {
                seat.was_released |= std::mem::take(&mut seat.is_held);
                client.release();
            }
            Act::Close => {
                seat.is_closing = true;
                client.close(CLOSED_BY_US, "as asked");
            }
        }
    }

    fn hold(&mut self, client: &mut Client<'_>, how: &str) {
        let id = client.id();
        if how != "told" || !self.shared.is_over() {
            self.seat(id).is_held = true;
            client.hold();
        }
        let (turns, shard) = (1 + self.random.below(20), self.any_shard());
        match how {
            "turns" => self.acts.push((turns, id, Act::Release)),
            "close" if turns % 2 == 0 => self.acts.push((turns, id, Act::Close)),
            "close" => self.letters.push((shard, Note::Bounce(id, Act::Close))),
            "mail" => self.letters.push((shard, Note::Bounce(id, Act::Release))),
            "low" => self.flood(client, None, 1),
            "told" | "forever" => return,
            other => panic!("{other}"),
        }
        self.ask();
    }

    /// Acts on a client's message.
    fn obey(&mut self, session: &mut Visit<'_>, number: u32, verb: &str, argument: &str) {
        let id = session.id();
        let done = format!("done {number}");
        let count = || argument.parse().expect("a number");
        match verb {
            "say" => self.say(session, &done),
            "publish" => {
                let text = format!("r {argument} {id} {number}");
                let room = &self.shared.published[count() as usize];
                room.fetch_add(1, Ordering::SeqCst);
                let is_there = session.publish_to(argument, Recipients::All, Text, text.as_bytes());
                assert!(is_there, "it is a member itself");
                self.say(session, &done);
            }
            "hold" => {
                self.say(session, &done);
                self.hold(session, argument);
            }
            "flood" => self.flood(session, Some(number), count()),
            "work" | "endless" => {
                self.jobs.push_back(Job {
                    id,
                    number,
                    pieces_left: count(),
                    has_end: verb == "work" || self.shared.is_over(),
                });
                self.ask();
            }
            "enough" => {
                self.jobs.iter_mut().for_each(|job| job.has_end = true);
                self.say(session, &done);
            }
            "mail" => {
                for _ in 0..count() {
                    let note = self
                        .random
                        .any_of(&[Note::Nothing, Note::Ask, Note::Publish]);
                    let to = self.any_shard().filter(|_| self.random.one_in(2));
                    self.letters.push((to, note));
                }
                self.say(session, &done);
            }
            "close" => self.act(session, Act::Close),
            other => panic!("{other}"),
        }
    }

    /// The clock is called: a turn of the shard is over.
    fn turn_is_over(&mut self, client: &mut Client<'_>) {
        let clock = &mut self.clock;
        assert!(clock.is_running, "one call at low water too many");
        if clock.was_asked {
            assert_eq!(clock.calls, 1, "one call in each turn of the shard");
            self.shared.happened.turns.fetch_add(1, Ordering::Relaxed);
        }
        clock.calls = 0;
        clock.was_asked = self.is_asked;
        clock.is_running = self.is_asked;
        if clock.is_running {
            client.await_low_water(usize::MAX);
        }
    }

    /// Takes part in a turn of the shard. Returns whether more is left.
    fn turn(&mut self, shard: &mut OnShard<'_, Keeper>) -> bool {
        let is_asked = std::mem::take(&mut self.is_asked);
        assert!(is_asked, "a turn that nobody has asked for");
        assert!(!shard.is_spent(), "a turn without time for anything");
        self.clock.calls += 1;
        assert!(
            self.clock.calls == 1 || !self.clock.is_running,
            "two calls in a turn of the shard"
        );
        // It keeps the shard awake, so that work has to do without it in the end.
        if !self.clock.is_running
            && !self.shared.is_over()
            && let Some(mut client) = self.clock.client.and_then(|id| shard.client(id))
        {
            (self.clock.is_running, self.clock.was_asked) = (true, false);
            self.clock.calls = 1;
            client.await_low_water(usize::MAX);
        }
        self.check_outboxes(shard);
        for (turns, id, act) in std::mem::take(&mut self.acts) {
            match shard.client(id) {
                Some(_) if turns > 0 => self.acts.push((turns - 1, id, act)),
                Some(mut client) => self.act(&mut client, act),
                None => {}
            }
        }
        for id in std::mem::take(&mut self.due) {
            if let Some(mut client) = shard.client(id) {
                self.send_page(&mut client);
            }
        }
        self.work(shard);
        let is_more = !(self.jobs.is_empty() && self.acts.is_empty());
        // Requesting another turn is equivalent to reporting remaining work.
        if is_more && self.random.one_in(3) {
            self.ask();
            return false;
        }
        self.is_asked |= is_more;
        is_more
    }

    /// Does as many pieces of work as there is time for.
    fn work(&mut self, shard: &mut OnShard<'_, Keeper>) {
        let mut pieces = 0;
        while !shard.is_spent()
            && let Some(mut job) = self.jobs.pop_front()
        {
            shard.spend(PIECE_NS);
            pieces += 1;
            job.pieces_left = job.pieces_left.saturating_sub(1);
            let client = shard.client(job.id);
            match client {
                None => {}
                Some(mut client) if job.pieces_left == 0 && job.has_end => {
                    self.say(&mut client, &format!("done {}", job.number));
                }
                Some(_) => self.jobs.push_back(job),
            }
        }
        assert!(pieces <= PIECES_MAX, "{pieces} pieces in a turn");
        let is_spent = u64::from(!self.jobs.is_empty());
        self.shared
            .happened
            .spent
            .fetch_add(is_spent, Ordering::Relaxed);
    }

    fn check_outboxes(&self, shard: &mut OnShard<'_, Keeper>) {
        for (id, seat) in &self.seats {
            if let Some(client) = shard.client(*id) {
                seat.check_outbox(&client);
            }
        }
    }

    fn take_letter(&mut self, shard: &mut OnShard<'_, Keeper>, letter: &Letter) {
        let Letter {
            from,
            numbers,
            note,
        } = letter;
        let got = &self.shared.got[from * self.shared.shards + self.shard];
        let before = got.load(Ordering::SeqCst);
        assert_eq!(
            numbers[self.shard], before,
            "mail once, in the sender's order"
        );
        match *note {
            Note::Nothing => {}
            Note::Ask => self.ask(),
            Note::Publish => {
                let room = self.random.below(ROOMS as u64) as usize;
                let text = format!("r {room} shard {} {}", self.shard, self.published);
                self.published += 1;
                let name = room.to_string();
                if shard.publish(&name, Recipients::All, Text, text.as_bytes()) {
                    self.shared.published[room].fetch_add(1, Ordering::SeqCst);
                }
            }
            Note::Bounce(id, act) => {
                self.letters
                    .push((Some(usize::from(id.shard)), Note::Act(id, act)));
            }
            Note::Act(id, act) => {
                if let Some(mut client) = shard.client(id) {
                    self.act(&mut client, act);
                }
            }
            Note::ReleaseAll => {
                for id in self.seats.keys().copied().collect::<Vec<_>>() {
                    if let Some(mut client) = shard.client(id) {
                        self.act(&mut client, Act::Release);
                    }
                }
            }
        }
        self.check_outboxes(shard);
        self.shared.happened.letters.fetch_add(1, Ordering::Relaxed);
        // Last: the test continues when all of it has come.
        self.post(shard);
        self.shared.got[from * self.shared.shards + self.shard].fetch_add(1, Ordering::SeqCst);
    }
}

impl Seat {
    fn check_outbox(&self, client: &Client<'_>) {
        let (bytes, bytes_max) = (client.outbox_bytes(), self.bytes_max.max(SHORT_BYTES));
        assert!(
            bytes <= bytes_max,
            "{bytes} bytes wait, more than {bytes_max}"
        );
    }
}

impl Keeper {
    /// Calls `take` with the state, on the thread that created it.
    fn with<T>(this: &Rc<RefCell<Option<Kept>>>, take: impl FnOnce(&mut Kept) -> T) -> T {
        let mut kept = this.borrow_mut();
        let kept = kept.as_mut().expect("the shard has begun");
        assert_eq!(kept.thread, thread::current().id());
        take(kept)
    }
}

impl Local for Keeper {
    type Mail = Letter;

    fn mail(&mut self, shard: &mut OnShard<'_, Keeper>, letter: &Arc<Letter>) {
        Keeper::with(&self.0, |kept| kept.take_letter(shard, letter));
    }

    fn turn(&mut self, shard: &mut OnShard<'_, Keeper>) -> bool {
        Keeper::with(&self.0, |kept| {
            let is_more = kept.turn(shard);
            kept.post(shard);
            is_more
        })
    }

    fn tick(&mut self, shard: &mut OnShard<'_, Keeper>) {
        Keeper::with(&self.0, |kept| {
            assert_eq!(kept.shard, usize::from(shard.shard()));
            let ticks = &kept.shared.ticks[kept.shard];
            ticks.lock().expect("no panic").push(Instant::now());
            if kept.random.one_in(2) {
                kept.ask();
            }
            kept.post(shard);
        });
    }
}

/// Messages received from a client.
#[derive(Default)]
pub(super) struct Heard(u32);

type Visit<'c> = Session<'c, Heard, Keeper>;

pub(super) struct Seams(pub(super) Arc<Shared>);

impl Endpoint for Seams {
    type State = Heard;
    type Local = Keeper;

    fn mailer(&self, mailer: Mailer<Letter>) {
        assert!(self.0.mailer.set(mailer).is_ok(), "once");
    }

    fn started_on(&self, shard: &mut OnShard<'_, Keeper>, local: &mut Keeper) {
        let kept = Kept::new(&self.0, usize::from(shard.shard()));
        assert!(local.0.replace(Some(kept)).is_none(), "once");
    }

    fn opened(&self, session: &mut Visit<'_>, _request: &Request<'_>) {
        let id = session.id();
        assert!(self.0.open.lock().expect("no panic").insert(id), "once");
        for room in 0..ROOMS {
            session.join(&room.to_string()).expect("a room");
        }
        let keeper = Rc::clone(&session.local().0);
        Keeper::with(&keeper, |kept| {
            kept.seats.insert(id, Seat::default());
            let is_clock = kept.clock.client.is_none();
            if is_clock {
                kept.clock.client = Some(id);
            }
            kept.say(session, &format!("welcome {id} {is_clock}"));
        });
    }

    fn message(&self, session: &mut Visit<'_>, message: Message<'_>) {
        let text = std::str::from_utf8(message.payload).expect("text");
        let words: Vec<&str> = text.split(' ').collect();
        let &[number, verb, argument, _] = &words[..] else {
            panic!("{text}");
        };
        let number = number.parse().expect("a number");
        let Heard(heard) = session.state();
        assert_eq!(number, *heard, "messages once and in order");
        *heard += 1;
        let keeper = Rc::clone(&session.local().0);
        Keeper::with(&keeper, |kept| {
            let seat = kept.seat(session.id());
            assert!(!seat.is_held, "a message of a client that is held");
            assert!(!seat.is_closing, "a message of a client that is closed");
            seat.check_outbox(session);
            let was_released = u64::from(std::mem::take(&mut seat.was_released));
            self.0
                .happened
                .held_back
                .fetch_add(was_released, Ordering::Relaxed);
            kept.obey(session, number, verb, argument);
            kept.post(session);
        });
    }

    fn drained(&self, session: &mut Visit<'_>) {
        let keeper = Rc::clone(&session.local().0);
        Keeper::with(&keeper, |kept| {
            let id = session.id();
            if kept.clock.client == Some(id) {
                return kept.turn_is_over(session);
            }
            let bytes = session.outbox_bytes();
            let seat = kept.seat(id);
            assert!(!seat.is_closing, "low water of a client that is closed");
            let mark = seat.awaits.take().expect("one call at low water too many");
            assert!(bytes <= mark, "{bytes} bytes wait at low water of {mark}");
            seat.mark = mark;
            kept.go_on(session);
            kept.post(session);
        });
    }

    fn closed(&self, session: &mut Visit<'_>, reason: &CloseReason) {
        let id = session.id();
        let was_open = self.0.open.lock().expect("no panic").remove(&id);
        assert!(was_open, "closed twice, or never opened");
        let keeper = Rc::clone(&session.local().0);
        let seat = Keeper::with(&keeper, |kept| {
            kept.clock.client = kept.clock.client.filter(|clock| *clock != id);
            kept.seats.remove(&id).expect("it was open")
        });
        let Heard(heard) = *session.state();
        match reason {
            CloseReason::ClientClosed(Some(code)) => {
                assert_eq!(u32::from(code - CODE_BASE), heard, "all that came before");
                assert!(!seat.is_held, "a client that is held is not heard");
            }
            CloseReason::Endpoint { code, .. } => {
                assert!(seat.is_closing && *code == CLOSED_BY_US);
            }
            CloseReason::ClientGone | CloseReason::Shutdown | CloseReason::EndpointPanic => {}
            other => panic!("{other:?}"),
        }
    }
}
