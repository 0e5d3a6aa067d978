//! A Nostr relay with a store on disk that is killed at any moment, again and again.
//!
//! Clients publish all the time, most waiting for each `OK`. After each kill the index, as the next
//! start finds it, must equal one that is built anew, and the next relay must have everything that
//! an `OK` promised.
//!
//! `CORECAST_KILLS` is the number of rounds, `CORECAST_SEED` the seed that a failure has printed.

use std::collections::{HashMap, HashSet};
use std::env;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corecast_nostr::{Draft, Event, ParsedEvent, Signer, to_hex};
use rustix::process::Signal;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::stage::{arguments, hold};
use crate::support::relay::Relay;
use crate::support::{DEADLINE, binary, polled};

/// Rounds by default, as in each run of all tests.
const ROUNDS: u64 = 5;

/// Events that each publisher sends before it waits for an `OK`.
const WINDOWS: [usize; 4] = [1, 1, 1, 32];

/// Addresses that a publisher writes versions of.
const ADDRESSES: u64 = 3;

/// Ids of one query.
const IDS: usize = 200;

/// A generator of random numbers (SplitMix64), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    /// As often below ten as between ten and a hundred, and so on.
    fn of_any_size(&mut self, end: u64) -> u64 {
        let bits = u64::from(end.ilog2()) + 1;
        let largest = 1 << (1 + self.below(bits));
        1 + self.below(largest.min(end))
    }
}

fn number_of(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number")),
    )
}

/// The effect of an event that is stored.
enum Change {
    Note,
    Version { address: u64, number: u64 },
    Deletion { target: String },
}

/// A client with a key of its own, and what it knows about its events.
struct Publisher {
    signer: Signer,
    window: usize,
    random: Random,
    /// Gives each of its events another time.
    number: u64,
    /// Ids of acknowledged notes that nothing removes.
    notes: Vec<String>,
    /// Those of acknowledged deletions, which nothing removes either (NIP-09).
    deletions: Vec<String>,
    /// The events of this round among both.
    fresh: Vec<String>,
    /// Ids that an acknowledged event deletes; those of this round begin at `gone_before`.
    gone: Vec<String>,
    gone_before: usize,
    /// The newest acknowledged version of each address.
    versions: HashMap<u64, u64>,
    in_flight: HashMap<String, Change>,
}

impl Publisher {
    fn new(secret: u8, window: usize, seed: u64) -> Publisher {
        Publisher {
            signer: Signer::new([secret; 32]).expect("a key"),
            window,
            random: Random(seed),
            number: 0,
            notes: Vec::new(),
            deletions: Vec::new(),
            fresh: Vec::new(),
            gone: Vec::new(),
            gone_before: 0,
            versions: HashMap::new(),
            in_flight: HashMap::new(),
        }
    }

    fn next(&mut self) -> (Event, Change) {
        self.number += 1;
        let (kind, tag, change) = match self.random.below(10) {
            0 | 1 => {
                let address = self.random.below(ADDRESSES);
                let number = self.number;
                let version = Change::Version { address, number };
                (30_001, ["d".to_owned(), address.to_string()], version)
            }
            2 if !self.notes.is_empty() => {
                let at = self.random.below(self.notes.len() as u64) as usize;
                // Whether it is still there is unknown until the OK has come.
                let target = self.notes.swap_remove(at);
                self.fresh.retain(|fresh| *fresh != target);
                let tag = ["e".to_owned(), target.clone()];
                (5, tag, Change::Deletion { target })
            }
            _ => (1, ["t".to_owned(), "kills".to_owned()], Change::Note),
        };
        let length = self.random.of_any_size(3_000) as usize;
        let event = self.signer.sign(Draft {
            created_at: 1_600_000_000 + self.number,
            kind,
            tags: vec![tag.to_vec()],
            content: format!("{} {}", self.number, "x".repeat(length)),
        });
        (event, change)
    }

    /// Publishes until the relay is gone.
    fn publish(&mut self, address: SocketAddr, acknowledged: &AtomicU64) {
        self.in_flight.clear();
        self.fresh.clear();
        self.gone_before = self.gone.len();
        // The others may have had enough acknowledged before it is connected.
        let Some(mut socket) = connected(address) else {
            return;
        };
        loop {
            while self.in_flight.len() < self.window {
                let (event, change) = self.next();
                let message = format!("[\"EVENT\",{}]", event.json());
                self.in_flight.insert(to_hex(event.id()), change);
                if socket.send(message.into()).is_err() {
                    return;
                }
            }
            let Ok(Message::Text(answer)) = socket.read() else {
                return;
            };
            self.acknowledge(&serde_json::from_str(&answer).expect("JSON"));
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn acknowledge(&mut self, answer: &Value) {
        assert_eq!(
            (&answer[0], &answer[2]),
            (&json!("OK"), &json!(true)),
            "{answer}"
        );
        let id = answer[1].as_str().expect("an id").to_owned();
        match self.in_flight.remove(&id).expect("an event in flight") {
            Change::Version { address, number } => {
                let newest = self.versions.entry(address).or_default();
                *newest = number.max(*newest);
                return;
            }
            Change::Deletion { target } => {
                self.gone.push(target);
                self.deletions.push(id.clone());
            }
            Change::Note => self.notes.push(id.clone()),
        }
        self.fresh.push(id);
    }

    /// Expects everything that an `OK` promised of a relay that has been started again.
    fn expect_kept(&self, reader: &mut Reader, there: &[String], gone: &[String]) {
        assert_eq!(reader.ids_of(there), there.iter().cloned().collect());
        assert_eq!(
            reader.ids_of(gone),
            HashSet::new(),
            "a deleted event is back"
        );
        let key = to_hex(&self.signer.public_key());
        let mut versions = HashMap::new();
        for event in reader.query(&json!({"authors": [key], "kinds": [30_001]})) {
            let event: Value = serde_json::from_str(&event).expect("JSON");
            let address = event["tags"][0][1].as_str().expect("an address");
            let number = event["created_at"].as_u64().expect("a time") - 1_600_000_000;
            let address: u64 = address.parse().expect("a number");
            assert_eq!(versions.insert(address, number), None, "two versions");
        }
        for (address, number) in &self.versions {
            // A later one may have been stored without an OK.
            assert!(
                versions.get(address) >= Some(number),
                "a version of {address} is lost"
            );
        }
    }
}

fn connect(address: SocketAddr) -> WebSocket<TcpStream> {
    connected(address).expect("a WebSocket")
}

/// `None`: the relay is gone.
fn connected(address: SocketAddr) -> Option<WebSocket<TcpStream>> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    let url = format!("ws://{address}/nostr");
    Some(tungstenite::client(url, stream).ok()?.0)
}

/// A client that queries.
struct Reader(WebSocket<TcpStream>);

impl Reader {
    /// The events that match, each of which is verified.
    fn query(&mut self, filter: &Value) -> Vec<String> {
        let request = json!(["REQ", "s", filter]).to_string();
        self.0.send(request.into()).expect("the relay reads");
        let mut events = Vec::new();
        loop {
            let message = self.0.read().expect("the relay answers");
            let text = message.to_text().expect("text");
            let Some(event) = text.strip_prefix("[\"EVENT\",\"s\",") else {
                assert!(text.starts_with("[\"EOSE\""), "{text}");
                return events;
            };
            let event = event.strip_suffix(']').expect("the end of an array");
            verify(event);
            events.push(event.to_owned());
        }
    }

    /// Those of these ids that are there.
    fn ids_of(&mut self, ids: &[String]) -> HashSet<String> {
        let mut found = HashSet::new();
        for ids in ids.chunks(IDS) {
            let events = self.query(&json!({"ids": ids, "limit": IDS}));
            found.extend(events.iter().map(|event| id_of(event)));
        }
        found
    }
}

/// Nothing is stored half.
fn verify(event: &str) {
    let parsed = ParsedEvent::parse(event).expect(event);
    parsed.check_id().expect(event);
    parsed.into_unverified().verify().expect(event);
}

fn id_of(event: &str) -> String {
    let parsed = ParsedEvent::parse(event).expect(event);
    to_hex(&parsed.id)
}

/// The settings of a relay at `/nostr` with this store.
pub(crate) fn settings_of(store: &Path) -> [String; 3] {
    [
        "endpoints.nostr.kind=nostr".to_owned(),
        "endpoints.nostr.path=/nostr".to_owned(),
        format!("endpoints.nostr.nostr.store={}", store.display()),
    ]
}

fn start(store: &Path) -> Relay {
    let settings = settings_of(store);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    Relay::start(&arguments(&settings))
}

fn tool(command: &str, store: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(binary("corecast"))
        .args(["nostr", command, "--store"])
        .arg(store)
        .args(arguments)
        .env_clear()
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{command}: {output:?}");
    output
}

/// Expects that the exported store contradicts itself nowhere: one version of each address, and no
/// event whose deletion is there.
fn expect_consistent(store: &Path) -> usize {
    let output = tool("export", store, &["-"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (mut ids, mut addresses, mut deleted) = (HashSet::new(), HashSet::new(), Vec::new());
    for line in text.lines() {
        verify(line);
        let event: Value = serde_json::from_str(line).expect("JSON");
        let tag = event["tags"][0][1].as_str().expect("a tag").to_owned();
        match event["kind"].as_u64() {
            Some(5) => deleted.push(tag),
            Some(30_001) => {
                let address = (event["pubkey"].to_string(), tag);
                assert!(addresses.insert(address), "two versions: {line}");
            }
            _ => {}
        }
        assert!(ids.insert(id_of(line)), "twice: {line}");
    }
    assert!(
        deleted.iter().all(|id| !ids.contains(id)),
        "a deletion is half done"
    );
    ids.len()
}

/// A start that is killed, as likely as not before it is over.
fn kill_while_it_starts(store: &Path, random: &mut Random) {
    let mut command = Command::new(binary("corecast"));
    let settings = settings_of(store);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    command
        .args(["--set", "server.host=127.0.0.1", "--set", "server.port=0"])
        .args(["--set", "metrics.port=0"])
        .args(arguments(&settings))
        .env_clear()
        .stderr(std::process::Stdio::null());
    let mut child = command.spawn().expect("it runs");
    hold(Duration::from_millis(random.below(100)));
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn kills_under_load() {
    let rounds = number_of("CORECAST_KILLS").unwrap_or(ROUNDS);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = number_of("CORECAST_SEED").unwrap_or(now.expect("a time").as_micros() as u64);
    println!("seed {seed}");
    let mut random = Random(seed);
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("store");
    let secrets = 1..=WINDOWS.len() as u8;
    let mut publishers: Vec<Publisher> = secrets
        .zip(WINDOWS)
        .map(|(secret, window)| Publisher::new(secret, window, random.below(u64::MAX)))
        .collect();
    let most = if rounds > ROUNDS { 4_000 } else { 1_000 };
    let acknowledged = AtomicU64::new(0);
    for round in 1..=rounds {
        let relay = start(&store);
        let mut reader = Reader(connect(relay.address));
        for publisher in &publishers {
            let gone = &publisher.gone[publisher.gone_before..];
            publisher.expect_kept(&mut reader, &publisher.fresh, gone);
        }
        let before = acknowledged.load(Ordering::Relaxed);
        let until = before + random.of_any_size(most);
        thread::scope(|scope| {
            for publisher in &mut publishers {
                scope.spawn(|| publisher.publish(relay.address, &acknowledged));
            }
            // A slow machine acknowledges fewer.
            polled(|| acknowledged.load(Ordering::Relaxed) >= until);
            relay.signal(Signal::KILL);
        });
        assert_eq!(relay.exit_code(), None);
        assert!(
            acknowledged.load(Ordering::Relaxed) > before,
            "nothing was acknowledged"
        );
        if random.below(4) == 0 {
            kill_while_it_starts(&store, &mut random);
        }
        tool("check", &store, &[]);
        let total = acknowledged.load(Ordering::Relaxed);
        println!("round {round} of {rounds}: {total} acknowledged");
        if round % 20 == 0 || round == rounds {
            assert!(expect_consistent(&store) > 0);
        }
    }
    let relay = start(&store);
    let mut reader = Reader(connect(relay.address));
    for publisher in &publishers {
        let all = [&*publisher.notes, &publisher.deletions].concat();
        publisher.expect_kept(&mut reader, &all, &publisher.gone);
    }
}
