//! The cost of a synchronization (NIP-77) of many events with few differences: processor time of
//! the relay, by a client over a real socket, and of the answers alone beside the reference's own
//! storage.
//!
//! `cargo bench --bench nostr_sync -- 1000000 1000`: the number of events and of differences.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corecast::engine::{EndpointSettings, Settings};
use corecast::relay::nostr::{Nostr, NostrSettings};
use corecast_nostr::{
    Draft, Event, Item, MemoryStore, Nip09, Signer, Store, SyncMemory, SyncSet, to_hex,
};
use corecast_test::client::Client;
use corecast_test::{Server, settings};
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use rustix::time::{ClockId, clock_gettime};

/// Seconds over which the events are spread.
const SECONDS: u64 = 10_000_000;

/// Limit for one message of the client.
const CLIENT_BYTES_MAX: u64 = 60_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_test = arguments.iter().any(|argument| argument == "--test");
    let mut numbers = arguments
        .iter()
        .filter_map(|argument| argument.parse().ok());
    let mut number = |small, full| numbers.next().unwrap_or(if is_test { small } else { full });
    let (count, differences) = (number(5_000, 1_000_000), number(100, 1_000));
    println!("{count} events, {differences} differences");
    let began = Instant::now();
    let events = signed(count);
    println!("signed in {:.1} s", began.elapsed().as_secs_f64());
    // Of the differences the relay lacks one half, and the client the other.
    let every = count / differences.max(1);
    let is_of =
        |index: usize, half: usize| index.is_multiple_of(every) && index / every % 2 == half;
    let of = |half: usize| {
        let all = events.iter().enumerate();
        all.filter(move |(index, _)| !is_of(*index, half))
            .map(|(_, event)| event)
    };
    let (theirs, mine): (Vec<&Arc<Event>>, Vec<&Arc<Event>>) = (of(0).collect(), of(1).collect());
    let only = |half: usize| -> BTreeSet<Id> {
        let all = events.iter().enumerate();
        let these = all.filter(|(index, _)| is_of(*index, half));
        these.map(|(_, event)| id(event)).collect()
    };
    let wanted = (only(0), only(1));
    answers_alone(&theirs, &mine, &wanted);
    let store = MemoryStore::new(count);
    for some in theirs.chunks(1_000) {
        let some: Vec<Arc<Event>> = some.iter().map(|event| Arc::clone(event)).collect();
        store.commit(&some, &Nip09).expect("memory");
    }
    over_a_socket(store, &mine, &wanted);
}

fn id(event: &Event) -> Id {
    Id::from_byte_array(*event.id())
}

fn signed(count: usize) -> Vec<Arc<Event>> {
    let signer = Signer::new([1; 32]).expect("a key");
    let sign = |number: usize| {
        let draft = Draft {
            created_at: 1_700_000_000 + number as u64 * 7_919 % SECONDS,
            kind: 1,
            content: number.to_string(),
            ..Draft::default()
        };
        Arc::new(signer.sign(draft))
    };
    let half = count / 2;
    std::thread::scope(|scope| {
        let later = scope.spawn(|| (half..count).map(sign).collect::<Vec<_>>());
        let mut all: Vec<_> = (0..half).map(sign).collect();
        all.extend(later.join().expect("signed"));
        all
    })
}

fn storage(events: &[&Arc<Event>]) -> NegentropyStorageVector {
    let mut storage = NegentropyStorageVector::with_capacity(events.len());
    for event in events {
        storage.insert(event.created_at(), id(event)).expect("open");
    }
    storage.seal().expect("open");
    storage
}

/// Ids that only the client has, and those that only the relay has.
type Differences = (BTreeSet<Id>, BTreeSet<Id>);

/// Reconciles, and returns what was found, the rounds and the bytes of both sides.
fn reconcile(
    mine: &NegentropyStorageVector,
    mut ask: impl FnMut(&[u8]) -> Vec<u8>,
) -> (Differences, usize, usize) {
    let mut client = Negentropy::borrowed(mine, CLIENT_BYTES_MAX).expect("a limit");
    let mut message = client.initiate().expect("a message");
    let (mut have, mut need) = (Vec::new(), Vec::new());
    let (mut rounds, mut bytes) = (0, 0);
    loop {
        let answer = ask(&message);
        rounds += 1;
        bytes += message.len() + answer.len();
        let next = client.reconcile_with_ids(&answer, &mut have, &mut need);
        match next.expect("the protocol") {
            Some(next) => message = next,
            None => {
                return (
                    (have.into_iter().collect(), need.into_iter().collect()),
                    rounds,
                    bytes,
                );
            }
        }
    }
}

fn answers_alone(theirs: &[&Arc<Event>], mine: &[&Arc<Event>], wanted: &Differences) {
    let (mine, reference) = (storage(mine), storage(theirs));
    let mut newest_first = theirs.to_vec();
    newest_first.sort_by_key(|event| (std::cmp::Reverse(event.created_at()), *event.id()));
    let began = Instant::now();
    let memory = SyncMemory::new(theirs.len());
    let mut collector = SyncSet::collect(theirs.len(), &memory);
    for some in newest_first.chunks(4_096) {
        let item = |event: &&Arc<Event>| Item {
            created_at: event.created_at(),
            id: *event.id(),
        };
        let items: Vec<Item> = some.iter().map(item).collect();
        collector.add(&items).expect("room");
    }
    let set = collector.finish();
    let collected = began.elapsed();
    let mut longest = Duration::ZERO;
    let mut timed = |of: &mut dyn FnMut(&[u8]) -> Vec<u8>| {
        let mut sum = Duration::ZERO;
        longest = Duration::ZERO;
        let found = reconcile(&mine, |message| {
            let began = Instant::now();
            let answer = of(message);
            let took = began.elapsed();
            sum += took;
            longest = longest.max(took);
            answer
        });
        assert!(found.0 == *wanted, "the wrong differences");
        (sum, longest)
    };
    let ours = timed(&mut |message| set.answer(message).expect("an answer"));
    let limit = corecast_nostr::SYNC_ANSWER_BYTES_MAX as u64;
    let reference = timed(&mut |message| {
        let mut relay = Negentropy::borrowed(&reference, limit).expect("a limit");
        relay.reconcile(message).expect("an answer")
    });
    println!("collected from a list in {collected:.1?}");
    println!("answers alone: {:.1?}, the longest {:.1?}", ours.0, ours.1);
    println!(
        "by the reference's storage: {:.1?}, the longest {:.1?}",
        reference.0, reference.1
    );
}

fn over_a_socket(store: MemoryStore, mine: &[&Arc<Event>], wanted: &Differences) {
    let nostr = Nostr::with_store(NostrSettings::default(), Arc::new(store));
    let one = Settings {
        shards: 1,
        ..settings()
    };
    let server = Server::start(one, |builder| {
        let id = builder.endpoint(EndpointSettings::default(), nostr);
        builder.route("/nostr", id).expect("a path");
    });
    let mine = storage(mine);
    for _ in 0..3 {
        let mut client = server.open("/nostr");
        let before = others_cpu();
        let began = Instant::now();
        let mut first = true;
        let (found, rounds, bytes) = reconcile(&mine, |message| {
            ask(&mut client, message, std::mem::take(&mut first))
        });
        let (wall, cpu) = (began.elapsed(), others_cpu() - before);
        assert!(found == *wanted, "the wrong differences");
        println!(
            "over a socket: relay {cpu:.0?} of CPU, {wall:.0?}, {rounds} rounds, {bytes} bytes"
        );
    }
}

fn ask(client: &mut Client, message: &[u8], is_first: bool) -> Vec<u8> {
    let hex = to_hex(message);
    match is_first {
        true => client.text(&format!("[\"NEG-OPEN\",\"s\",{{}},\"{hex}\"]")),
        false => client.text(&format!("[\"NEG-MSG\",\"s\",\"{hex}\"]")),
    }
    let answer = client.expect_text();
    let hex = answer
        .strip_prefix("[\"NEG-MSG\",\"s\",\"")
        .and_then(|rest| rest.strip_suffix("\"]"))
        .unwrap_or_else(|| panic!("{answer}"));
    let digit = |byte: u8| (byte as char).to_digit(16).expect("hex") as u8;
    let pairs = hex.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// Processor time of all threads but this one.
fn others_cpu() -> Duration {
    let of = |clock| {
        let time = clock_gettime(clock);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    of(ClockId::ProcessCPUTime).saturating_sub(of(ClockId::ThreadCPUTime))
}
