//! One order for everybody, on real sockets: many publishers, several shards, members that come and
//! go.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use corecast::engine::{Endpoint, EndpointSettings, Engine, Request, Session, Settings};
use corecast::fanout::Recipients;
use corecast::wire::decoder::Message;
use tungstenite::protocol::WebSocket;

const DEADLINE: Duration = Duration::from_secs(60);
/// How long a client waits for a message before it looks at the clock.
const LOOK: Duration = Duration::from_millis(50);
const ROOMS: [&str; 2] = ["/red", "/blue"];
const PUBLISHERS: usize = 4;
const VISITORS: usize = 3;
/// Messages of one publisher.
const MESSAGES: usize = 500;
/// Messages of one publisher that are under way at most.
const WINDOW: usize = 32;
const ALL_MESSAGES: usize = PUBLISHERS * MESSAGES;

/// The room is the path. A member says `join` and `leave`; anything else goes to the room,
/// also from who is not in it.
struct Rooms;

impl Endpoint for Rooms {
    fn opened(&self, session: &mut Session<'_>, request: &Request<'_>) {
        session.set_state(request.head.path.to_owned());
    }

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        let Some(room) = session.state::<String>().cloned() else {
            return;
        };
        match message.payload {
            b"join" => {
                if session.join(&room).is_ok() {
                    session.send(message.kind, b"joined");
                }
            }
            b"leave" => {
                let rooms: Vec<_> = session.rooms().collect();
                rooms.into_iter().for_each(|room| session.leave(room));
                session.send(message.kind, b"left");
            }
            payload => {
                session.publish_to(&room, Recipients::All, message.kind, payload);
            }
        }
    }
}

/// A client of one room.
struct Client {
    socket: WebSocket<TcpStream>,
    deadline: Instant,
}

impl Client {
    fn connect(address: SocketAddr, room: &str) -> Client {
        let stream = TcpStream::connect(address).expect("the relay listens");
        let url = format!("ws://{address}{room}");
        let (socket, _) = tungstenite::client(url, stream).expect("a handshake");
        let stream = socket.get_ref();
        stream.set_read_timeout(Some(LOOK)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        let deadline = Instant::now() + DEADLINE;
        Client { socket, deadline }
    }

    fn say(&mut self, text: &str) {
        self.socket.send(text.into()).expect("the relay reads");
    }

    /// The next message; `None` where there was none for a while.
    fn hear(&mut self) -> Option<String> {
        assert!(Instant::now() < self.deadline, "the deadline is over");
        match self.socket.read() {
            Ok(message) => Some(message.into_text().expect("text").to_string()),
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
            {
                None
            }
            Err(error) => panic!("the connection ended: {error}"),
        }
    }

    fn join(&mut self) {
        self.say("join");
        while self.hear().is_none_or(|text| text != "joined") {}
    }

    /// Leaves, and returns what came before it was out.
    fn leave(&mut self) -> Vec<String> {
        self.say("leave");
        let mut heard = Vec::new();
        loop {
            match self.hear() {
                Some(text) if text == "left" => return heard,
                more => heard.extend(more),
            }
        }
    }

    /// Hears so many messages.
    fn witness(&mut self, messages: usize) -> Vec<String> {
        let mut heard = Vec::new();
        while heard.len() < messages {
            heard.extend(self.hear());
        }
        heard
    }

    /// Publishes all its messages, and returns what it heard meanwhile as a member.
    fn publish(&mut self, publisher: usize) -> Vec<String> {
        self.join();
        let own = format!("{publisher}:");
        let mut heard = Vec::new();
        let mut own_heard = 0;
        let mut published = 0;
        while own_heard < MESSAGES {
            while published < MESSAGES && published < own_heard + WINDOW {
                self.say(&format!("{own}{published}"));
                published += 1;
            }
            if let Some(text) = self.hear() {
                own_heard += usize::from(text.starts_with(&own));
                heard.push(text);
            }
        }
        heard
    }

    /// Comes and goes while others publish. Returns what it heard in each stay.
    fn visit(&mut self, publishing: &AtomicUsize) -> Vec<Vec<String>> {
        let mut stays = Vec::new();
        while publishing.load(Ordering::Acquire) > 0 {
            self.join();
            let most = 1 + stays.len() % 40;
            let mut heard = Vec::new();
            while heard.len() < most && publishing.load(Ordering::Acquire) > 0 {
                heard.extend(self.hear());
            }
            heard.extend(self.leave());
            stays.push(heard);
        }
        stays
    }
}

/// Whether `heard` is one piece of `order`, without gaps or repeats.
fn assert_piece(order: &[String], places: &HashMap<&str, usize>, heard: &[String]) {
    let Some(first) = heard.first() else {
        return;
    };
    let start = places[first.as_str()];
    let piece = &order[start..order.len().min(start + heard.len())];
    assert!(
        piece == heard,
        "heard {heard:?}\nwhere the order is {piece:?}"
    );
}

/// The clients of a room at work: a witness, who hears everything, and the others.
struct Room {
    witness: JoinHandle<Vec<String>>,
    publishers: Vec<JoinHandle<Vec<String>>>,
    visitors: Vec<JoinHandle<Vec<Vec<String>>>>,
}

impl Room {
    fn open(address: SocketAddr, name: &str) -> Room {
        let mut witness = Client::connect(address, name);
        witness.join();
        let mut others = (0..PUBLISHERS + VISITORS)
            .map(|_| Client::connect(address, name))
            .collect::<Vec<_>>()
            .into_iter();
        let publishing = Arc::new(AtomicUsize::new(PUBLISHERS));
        let publish = |(number, mut client): (usize, Client)| {
            let publishing = Arc::clone(&publishing);
            thread::spawn(move || {
                let heard = client.publish(number);
                publishing.fetch_sub(1, Ordering::Release);
                heard
            })
        };
        let publishers = others
            .by_ref()
            .take(PUBLISHERS)
            .enumerate()
            .map(publish)
            .collect();
        let visit = |mut client: Client| {
            let publishing = Arc::clone(&publishing);
            thread::spawn(move || client.visit(&publishing))
        };
        Room {
            witness: thread::spawn(move || witness.witness(ALL_MESSAGES)),
            publishers,
            visitors: others.map(visit).collect(),
        }
    }

    fn check(self) {
        let order = self.witness.join().expect("the witness heard everything");
        let places: HashMap<_, _> = order
            .iter()
            .enumerate()
            .map(|(place, text)| (text.as_str(), place))
            .collect();
        assert_eq!(places.len(), ALL_MESSAGES, "something was repeated");
        for publisher in 0..PUBLISHERS {
            let sent = (0..MESSAGES).map(|number| places[format!("{publisher}:{number}").as_str()]);
            assert!(sent.is_sorted(), "publisher {publisher} was reordered");
        }
        for publisher in self.publishers {
            assert_piece(&order, &places, &publisher.join().expect("a publisher"));
        }
        let visits = self
            .visitors
            .into_iter()
            .flat_map(|each| each.join().expect("a visitor"));
        let stays: Vec<_> = visits.filter(|heard| !heard.is_empty()).collect();
        assert!(
            stays.len() > VISITORS,
            "nobody came and went while there was something to hear"
        );
        stays
            .iter()
            .for_each(|heard| assert_piece(&order, &places, heard));
    }
}

fn every_member_hears_one_piece_of_one_order(shards: usize) {
    let mut builder = Engine::builder().settings(Settings {
        shards,
        ..Settings::default()
    });
    let id = builder.endpoint(EndpointSettings::default(), Rooms);
    builder.route("/**", id).expect("a good pattern");
    let engine = builder.start().expect("an engine");
    let rooms = ROOMS.map(|name| Room::open(engine.addresses()[0], name));
    let view = engine.view();
    assert!(
        (0..shards).all(|shard| view.shard_connections(shard) > 0),
        "a shard has nobody"
    );
    rooms.into_iter().for_each(Room::check);
    assert!(engine.stop());
}

#[test]
fn two_shards_have_one_order() {
    every_member_hears_one_piece_of_one_order(2);
}

#[test]
fn four_shards_have_one_order() {
    every_member_hears_one_piece_of_one_order(4);
}
