//! The store on disk: `cargo bench -p corecast-nostr --bench store -- FOLDER [EVENTS]`.
//!
//! Single commits and batches beside `pwrite` and `fdatasync` of the same bytes at the end of a
//! file, a bulk load, restarts after a close and after a kill, queries, memory. FOLDER is emptied
//! first, and removed at the end.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corecast_nostr::{
    BulkLoader, DiskOptions, DiskStore, Event, Filter, Nip09, ParsedEvent, PrivateKinds, Query,
    QueryLimits, Store, Viewer, to_hex,
};

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|it| !it.starts_with("--"))
        .collect();
    let Some(folder) = arguments.first().map(Path::new) else {
        return println!("nothing is measured without a folder to measure in");
    };
    let events = arguments
        .get(1)
        .and_then(|count| count.parse().ok())
        .unwrap_or(1_000_000);
    if arguments.get(2).is_some() {
        return fill_and_die(folder);
    }
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).expect("a folder");
    commits(&folder.join("commits"));
    bulk(&folder.join("bulk"), events);
    fs::remove_dir_all(folder).expect("a folder");
}

/// Pseudo-random numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes
            .chunks_mut(8)
            .for_each(|chunk| chunk.copy_from_slice(&self.next().to_be_bytes()));
        bytes
    }
}

fn author(number: u64) -> String {
    to_hex(&Random(number * 2 + 1).bytes())
}

/// An event of about 500 bytes by one of 20,000 authors, of the usual kinds, with an `e` and a `p`.
/// Its signature is made up.
fn event(random: &mut Random, number: u64) -> Event {
    let kind = [1, 1, 1, 1, 7, 7, 7, 6, 0, 30_023][random.below(10) as usize];
    let author = author(random.below(20_000) * random.below(20_000) / 20_000);
    let (id, other) = (to_hex(&random.bytes()), to_hex(&random.bytes()));
    let p = self::author(random.below(20_000));
    let (at, sig) = (1_700_000_000 + number / 10, "0".repeat(128));
    let content = "x".repeat(60);
    let tags = format!(r#"[["d","{number}"],["e","{other}"],["p","{p}"]]"#);
    let rest = format!(r#""tags":{tags},"content":"{content}","sig":"{sig}""#);
    let json =
        format!(r#"{{"id":"{id}","pubkey":"{author}","created_at":{at},"kind":{kind},{rest}}}"#);
    ParsedEvent::parse(&json)
        .expect("an event")
        .into_unverified()
        .trust()
}

fn show(name: &str, mut took: Vec<Duration>) -> [f64; 2] {
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    let (p50, p99) = (at(0.5), at(0.99));
    println!(
        "{name}: p50 {p50:.0} µs, p99 {p99:.0} µs, most {:.0} µs",
        at(1.0)
    );
    [p50, p99]
}

fn commits(folder: &Path) {
    let mut random = Random(7);
    let store = DiskStore::open(folder, &DiskOptions::default()).expect("a store");
    let file = File::create(folder.with_extension("raw")).expect("a file");
    let (mut end, mut number) = (0, 0);
    for (batch, count) in [(1, 25_000), (100, 400), (1_000, 60)] {
        let (mut raw, mut commits) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let events: Vec<_> = (0..batch)
                .map(|_| {
                    number += 1;
                    Arc::new(event(&mut random, number))
                })
                .collect();
            let bytes: Vec<u8> = events.iter().flat_map(|it| it.json().bytes()).collect();
            let begin = Instant::now();
            file.write_all_at(&bytes, end).expect("space");
            file.sync_data().expect("space");
            raw.push(begin.elapsed());
            end += bytes.len() as u64;
            let begin = Instant::now();
            store.commit(&events, &Nip09).expect("space");
            commits.push(begin.elapsed());
        }
        let checkpoints = store.take_checkpoints();
        let all: Duration = commits.iter().sum();
        let [raw_p50, raw_p99] = show(&format!("pwrite + fdatasync, {batch} events"), raw);
        let [p50, p99] = show(&format!("commit, {batch} events"), commits);
        println!(
            "  {:.2} and {:.2} times as long; {:.0} events/s; checkpoints {checkpoints:.1?}",
            p50 / raw_p50,
            p99 / raw_p99,
            f64::from(batch) * f64::from(count) / all.as_secs_f64()
        );
    }
}

fn fill_and_die(folder: &Path) {
    let store = DiskStore::open(folder, &DiskOptions::default()).expect("a store");
    let mut random = Random(99);
    for batch in 0..9 {
        let events: Vec<_> = (0..1_000)
            .map(|number| Arc::new(event(&mut random, 1 << 40 | batch * 1_000 + number)))
            .collect();
        store.commit(&events, &Nip09).expect("space");
    }
    std::process::abort();
}

fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rss = status
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    rss.collect::<Vec<_>>().join(", ").replace('\t', " ")
}

fn bulk(folder: &Path, count: u64) {
    let options = DiskOptions::default();
    let mut random = Random(3);
    let mut made = Duration::ZERO;
    let begin = Instant::now();
    let mut loader = BulkLoader::open(folder, &options).expect("a store");
    for number in 0..count {
        let begin = Instant::now();
        let event = event(&mut random, number);
        made += begin.elapsed();
        loader.add(&event).expect("space");
    }
    let added = begin.elapsed();
    let report = loader.finish().expect("space");
    let took = (begin.elapsed() - made).as_secs_f64();
    println!("bulk load: {report:?}");
    println!(
        "  {:.0} events/s in {took:.1} s, of which the index {:.1} s; {}",
        count as f64 / took,
        (begin.elapsed() - added).as_secs_f64(),
        memory()
    );
    for file in fs::read_dir(folder).expect("a folder").flatten() {
        let bytes = file.metadata().map_or(0, |it| it.len());
        println!(
            "  {:?}: {:.0} bytes an event",
            file.file_name(),
            bytes as f64 / count as f64
        );
    }
    let begin = Instant::now();
    let store = DiskStore::open(folder, &options).expect("a store");
    println!("start, index whole: {:.0?}", begin.elapsed());
    drop(store);
    let own = std::env::current_exe().expect("a program");
    let died = Command::new(own)
        .args([folder.as_os_str(), "0".as_ref(), "die".as_ref()])
        .status();
    let begin = Instant::now();
    let store = DiskStore::open(folder, &options).expect("a store");
    println!(
        "start after {died:?} with 9,000 events to replay: {:.0?}",
        begin.elapsed()
    );
    queries(&store, &mut random);
    println!("{}", memory());
}

fn queries(store: &DiskStore, random: &mut Random) {
    let query = |json: &str, limit_max| {
        let limits = QueryLimits {
            limit_max,
            limit_default: limit_max,
            second_max: 0,
        };
        let filter = Arc::new(Filter::parse(json).expect(json));
        let private = Arc::new(PrivateKinds::from_iter([4, 1_059]));
        Query::new(
            [filter],
            &limits,
            store.last_seq(),
            Viewer::default(),
            private,
        )
    };
    let mut read = |name: &str, json: &mut dyn FnMut(&mut Random) -> String| {
        let (mut took, mut rows) = (Vec::new(), 0);
        for _ in 0..200 {
            let mut query = query(&json(random), 500);
            let begin = Instant::now();
            loop {
                let page = store
                    .page(&mut query, 64, 64 << 10, 1_800_000_000)
                    .expect("a page");
                rows += page.rows.len();
                if page.is_last {
                    break;
                }
            }
            took.push(begin.elapsed());
        }
        show(&format!("{name}, {} rows on average", rows / 200), took);
    };
    read("500 of an author", &mut |random| {
        format!(
            r#"{{"authors":["{}"],"limit":500}}"#,
            author(random.below(2_000))
        )
    });
    read("500 of a kind, at some time", &mut |random| {
        let until = 1_700_000_000 + random.below(50_000);
        format!(r#"{{"kinds":[1],"until":{until},"limit":500}}"#)
    });
    read("500 of 300 authors and two kinds", &mut |random| {
        let authors: Vec<_> = (0..300)
            .map(|_| format!("\"{}\"", author(random.below(20_000))))
            .collect();
        format!(
            r#"{{"authors":[{}],"kinds":[1,6],"limit":500}}"#,
            authors.join(",")
        )
    });
    let (mut all, mut count) = (query("{}", u64::MAX), 0);
    let begin = Instant::now();
    loop {
        let items = store.items(&mut all, 65_536, 1_800_000_000).expect("items");
        count += items.items.len();
        if items.is_last {
            break;
        }
    }
    println!("{count} items of all events: {:.0?}", begin.elapsed());
}
