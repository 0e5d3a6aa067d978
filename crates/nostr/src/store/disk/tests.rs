use std::cell::RefCell;
use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::filter::Filter;
use crate::hex::{Bytes32, to_hex};
use crate::query::QueryLimits;
use crate::store::rules::{self, Step};
use crate::store::{MemoryStore, Nip09};
use crate::visibility::{PrivateKinds, Viewer};

/// The time of all queries and removals of the rules.
const NOW: u64 = 100;

/// Options of a small store that makes a checkpoint only when it is told to.
fn options() -> DiskOptions {
    DiskOptions {
        cache_bytes: 1 << 20,
        log_bytes: 64 << 10,
        idle: Duration::from_secs(3_600),
        ..DiskOptions::default()
    }
}

fn open(folder: &Path) -> DiskStore {
    DiskStore::open(folder, &options()).expect("a store")
}

/// In memory if possible: these tests open stores hundreds of times, and none of them cuts power.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    folder.expect("a folder")
}

/// A copy of a store's files, as a kill would leave them.
fn killed(folder: &Path) -> TempDir {
    let copy = self::folder();
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("a file");
        fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("a copy");
    }
    copy
}

/// The file of the log that is written.
fn last_log(folder: &Path) -> PathBuf {
    let files = log::files(folder).expect("a folder");
    files.last().expect("a log").1.clone()
}

fn note(at: u64) -> Arc<Event> {
    rules::event(1, 1, at, &[["t", "x"]])
}

fn query(json: &str, snapshot: Seq) -> Query {
    let limits = QueryLimits {
        limit_max: 20,
        limit_default: 20,
        second_max: 5,
    };
    let filters = json
        .split('|')
        .map(|json| Arc::new(Filter::parse(json).expect(json)));
    let viewer = Viewer {
        keys: vec![crate::hex::parse(&rules::key(2)).expect("a key")],
    };
    let private: PrivateKinds = [1_059].into_iter().collect();
    Query::new(filters, &limits, snapshot, viewer, Arc::new(private))
}

/// All ids of an answer, and whether there are more: first by pages, then by items.
fn answers(store: &dyn Store, json: &str, snapshot: Seq, rows: usize) -> [(Vec<Bytes32>, bool); 2] {
    let mut by_pages = (query(json, snapshot), Vec::new());
    for _ in 0..1_000 {
        let page = store
            .page(&mut by_pages.0, rows, 2_000, NOW)
            .expect("a page");
        by_pages.1.extend(page.rows.iter().map(|event| *event.id()));
        if page.is_last {
            break;
        }
    }
    let mut by_items = (query(json, snapshot), Vec::new());
    for _ in 0..1_000 {
        let items = store.items(&mut by_items.0, rows, NOW).expect("items");
        by_items.1.extend(items.items.iter().map(|item| item.id));
        if items.is_last {
            break;
        }
    }
    [by_pages, by_items].map(|(query, ids)| (ids, query.has_more()))
}

fn filters(given: &[Arc<Event>]) -> Vec<String> {
    let [one, two] = [1, 2].map(rules::key);
    let ids: Vec<String> = given
        .iter()
        .map(|event| format!("{:?}", to_hex(event.id())))
        .collect();
    let ids = ids.join(",");
    vec![
        "{}".to_owned(),
        r#"{"limit":2}"#.to_owned(),
        format!(r#"{{"ids":[{ids}]}}"#),
        format!(r#"{{"ids":[{ids}],"kinds":[1,0],"limit":3}}"#),
        format!(r#"{{"authors":["{one}","{two}"]}}"#),
        format!(r#"{{"authors":["{one}"],"kinds":[1,5,30000]}}"#),
        r#"{"kinds":[0,1,5,62,1059]}"#.to_owned(),
        r#"{"kinds":[1,30000],"since":2,"until":5}"#.to_owned(),
        r##"{"#d":["","x"]}"##.to_owned(),
        r##"{"#d":["x"],"kinds":[30000]}"##.to_owned(),
        format!(r##"{{"#p":["{two}"],"limit":1}}|{{"kinds":[1],"limit":1}}|{{"since":6}}"##),
        format!(r##"{{"authors":["{one}"],"#d":["x"],"until":4}}"##),
    ]
}

/// Events in the life of a store that must not change its answers.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Nothing,
    Checkpoint,
    Reopen,
    Kill,
    LoseIndex,
    TearIndex,
}

const MISHAPS: [Mishap; 6] = [
    Mishap::Nothing,
    Mishap::Checkpoint,
    Mishap::Reopen,
    Mishap::Kill,
    Mishap::LoseIndex,
    Mishap::TearIndex,
];

/// A store, and its folder.
struct Held {
    store: Option<DiskStore>,
    folder: TempDir,
}

impl Held {
    fn new() -> Held {
        let folder = folder();
        Held {
            store: Some(open(folder.path())),
            folder,
        }
    }

    fn store(&self) -> &DiskStore {
        self.store.as_ref().expect("an open store")
    }

    fn suffer(&mut self, mishap: Mishap) {
        let index = |folder: &TempDir| folder.path().join("index.redb");
        match mishap {
            Mishap::Nothing => return,
            Mishap::Checkpoint => return self.store().checkpoint().expect("a checkpoint"),
            Mishap::Kill => {
                let copy = killed(self.folder.path());
                self.store = None;
                self.folder = copy;
            }
            Mishap::Reopen => self.store = None,
            Mishap::LoseIndex => {
                self.store = None;
                fs::remove_file(index(&self.folder)).expect("an index");
            }
            Mishap::TearIndex => {
                self.store = None;
                fs::write(index(&self.folder), vec![0xa5; 10_000]).expect("an index");
            }
        }
        self.store = Some(open(self.folder.path()));
    }
}

fn compare(disk: &DiskStore, memory: &MemoryStore, given: &[Arc<Event>]) {
    let end = memory.last_seq();
    assert_eq!(disk.last_seq(), end);
    assert_eq!(disk.size().0, memory.size().0);
    for json in filters(given) {
        for (snapshot, rows) in [(end, 3), (end / 2, 100)] {
            let due = answers(memory, &json, snapshot, rows);
            assert_eq!(answers(disk, &json, snapshot, rows), due, "{json}");
            assert_eq!(due[0], due[1], "{json}");
        }
    }
    for (after, rows) in [(0, 100), (0, 2), (end / 2, 3)] {
        let numbers = |store: &dyn Store| {
            let (found, end) = store.since(after, rows).expect("changes");
            (
                found
                    .iter()
                    .map(|(seq, event)| (*seq, *event.id()))
                    .collect::<Vec<_>>(),
                end,
            )
        };
        assert_eq!(numbers(disk), numbers(memory));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn it_answers_as_the_memory_store_does(
        steps in rules::any_history(),
        mishaps in vec(proptest::sample::select(&MISHAPS[..]), 24),
    ) {
        let memory = MemoryStore::new(10_000);
        let mut disk = Held::new();
        let mut given = Vec::new();
        for (step, mishap) in steps.iter().zip(mishaps) {
            match step {
                Step::Commit(batch) => {
                    given.extend_from_slice(batch);
                    let due = memory.commit(batch, &Nip09);
                    prop_assert_eq!(disk.store().commit(batch, &Nip09), due);
                }
                Step::Tidy => {
                    let due = memory.tidy(NOW);
                    prop_assert_eq!(disk.store().tidy(NOW), due);
                }
            }
            disk.suffer(mishap);
            compare(disk.store(), &memory, &given);
        }
        let report = disk.store().check(&mut |_, _| {}).expect("a check");
        prop_assert!(report.is_ok(), "{:?}", report);
    }

    #[test]
    fn a_query_has_what_the_filters_say(case in rules::answers::any_case()) {
        rules::answers::a_query_has_what_the_filters_say(&fresh, &case);
    }

    #[test]
    fn a_bulk_load_ends_in_the_same_state(steps in rules::any_history(), split in 0..15_usize) {
        let given = steps.iter().flat_map(|step| match step {
            Step::Commit(batch) => batch.clone(),
            Step::Tidy => Vec::new(),
        });
        let given: Vec<_> = given.collect();
        let memory = MemoryStore::new(10_000);
        memory.commit(&given, &Nip09).expect("memory");
        rules::tidy(&memory);
        let folder = folder();
        let (first, then) = given.split_at(split.min(given.len()));
        open(folder.path()).commit(first, &Nip09).expect("room");
        let mut loader = BulkLoader::open(folder.path(), &options()).expect("a loader");
        then.iter().for_each(|event| loader.add(event).expect("room"));
        let report = loader.finish().expect("room");
        prop_assert_eq!(report.given, then.len() as u64);
        let disk = open(folder.path());
        rules::tidy(&disk);
        prop_assert_eq!(rules::served(&disk), rules::served(&memory));
        let report = disk.check(&mut |_, _| {}).expect("a check");
        prop_assert!(report.is_ok(), "{:?}", report);
        // Events that must not come back do not, and the rest is there already.
        let again = |store: &dyn Store| {
            let outcomes = store.commit(&given, &Nip09).expect("room").into_iter();
            let without_number = outcomes.map(|outcome| match outcome {
                Outcome::Stored(_) => Outcome::Stored(0),
                outcome => outcome,
            });
            without_number.collect::<Vec<_>>()
        };
        prop_assert_eq!(again(&disk), again(&memory));
    }
}

thread_local! {
    /// Folders of the stores that rules ask for, until the test ends.
    static FOLDERS: RefCell<Vec<TempDir>> = const { RefCell::new(Vec::new()) };
}

fn fresh() -> Box<dyn Store> {
    let folder = folder();
    let store = open(folder.path());
    FOLDERS.with_borrow_mut(|folders| folders.push(folder));
    Box::new(store)
}

#[test]
fn events_that_are_gone_are_refused_by_name() {
    rules::events_that_are_gone_are_refused_by_name(&fresh);
}

#[test]
fn the_events_of_others_are_left_alone() {
    rules::others_are_left_alone(&fresh);
}

#[test]
fn the_rule_of_deletion_decides_on_each_target() {
    rules::the_rule_decides_on_each_target(&fresh);
}

#[test]
fn a_key_vanishes_at_once_and_its_events_go_in_batches() {
    rules::many_events_vanish_at_once(&fresh);
}

/// Some of all orders: the memory store is held to each.
#[test]
fn deletions_and_vanishing_do_not_depend_on_the_order() {
    for (number, mut history) in rules::histories().into_iter().enumerate() {
        if number % 8 == 0 {
            history.rotate_left(number / 8 % 5);
            rules::run(&*fresh(), &history);
        }
    }
}

/// The log is cut at every byte of its last batch.
#[test]
fn a_torn_end_of_the_log_loses_only_what_is_torn() {
    let original = folder();
    let store = open(original.path());
    let mut ends = Vec::new();
    for at in 1..=4 {
        store.commit(&[note(at)], &Nip09).expect("room");
        let bytes = fs::read(last_log(original.path())).expect("a log");
        ends.push(bytes.iter().rposition(|byte| *byte != 0).expect("a batch") + 1);
    }
    let copy = killed(original.path());
    for cut in ends[2]..=ends[3] {
        let torn = killed(copy.path());
        let path = last_log(torn.path());
        let mut bytes = fs::read(&path).expect("a log");
        bytes[cut..].fill(0);
        fs::write(path, bytes).expect("a log");
        let store = open(torn.path());
        let whole = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(rules::served(&store).len(), whole, "cut at {cut}");
        if cut % 16 != 0 {
            continue;
        }
        let next = store.commit(&[note(9)], &Nip09).expect("room");
        assert_eq!(next, [Outcome::Stored(whole as u64 + 1)]);
        drop(store);
        assert_eq!(open(torn.path()).size().0, whole + 1);
    }
}

#[test]
fn a_log_that_is_damaged_in_between_is_refused() {
    let original = folder();
    let store = open(original.path());
    for at in 1..=3 {
        store.commit(&[note(at)], &Nip09).expect("room");
    }
    let copy = killed(original.path());
    let path = last_log(copy.path());
    let mut bytes = fs::read(&path).expect("a log");
    bytes[200] ^= 1;
    fs::write(&path, bytes).expect("a log");
    let error = DiskStore::open(copy.path(), &options())
        .err()
        .expect("damage")
        .to_string();
    let due = format!(
        "{}: batch 1 is damaged. The events in this folder",
        path.display()
    );
    assert!(error.starts_with(&due), "{error}");
}

#[test]
fn damaged_records_are_refused_with_path_and_advice() {
    let folder = folder();
    open(folder.path())
        .commit(&[note(1)], &Nip09)
        .expect("room");
    let path = folder.path().join("records.redb");
    fs::write(&path, vec![0xa5; 100_000]).expect("a file");
    let error = DiskStore::open(folder.path(), &options())
        .err()
        .expect("damage")
        .to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    assert!(error.contains("restore it from a backup"), "{error}");
    fs::remove_file(path).expect("a file");
    let error = DiskStore::open(folder.path(), &options())
        .err()
        .expect("damage")
        .to_string();
    assert!(
        error.contains("there is a log, but records.redb is missing"),
        "{error}"
    );
}

#[test]
fn a_store_is_open_only_once() {
    let folder = folder();
    let store = open(folder.path());
    let error = DiskStore::open(folder.path(), &options())
        .err()
        .expect("a refusal");
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    drop(store);
    open(folder.path());
}

#[test]
fn notes_last() {
    let mut disk = Held::new();
    disk.store().set_note("banned", Some(b"a")).expect("room");
    disk.store().set_note("other", Some(b"b")).expect("room");
    disk.suffer(Mishap::Kill);
    disk.store().set_note("other", None).expect("room");
    let due = vec![("banned".to_owned(), b"a".to_vec())];
    for mishap in [Mishap::Nothing, Mishap::Kill, Mishap::LoseIndex] {
        disk.suffer(mishap);
        assert_eq!(disk.store().notes(), Ok(due.clone()));
    }
}

#[test]
fn many_checkpoints_lose_nothing() {
    let folder = folder();
    let options = DiskOptions {
        checkpoint_changes: 7,
        ..options()
    };
    let store = DiskStore::open(folder.path(), &options).expect("a store");
    for at in 0..300 {
        store
            .commit(&[note(at), rules::event(1, 0, at, &[])], &Nip09)
            .expect("room");
        let rows = answers(&store, r#"{"limit":1}"#, store.last_seq(), 10)[0]
            .0
            .len();
        assert_eq!((rows, store.size().0 as u64), (1, at + 2));
    }
    assert!(store.take_checkpoints().len() > 3);
    let logs = log::files(folder.path()).expect("a folder").len();
    assert!(logs < 10, "{logs} files of the log");
    let report = store.check(&mut |_, _| {}).expect("a check");
    assert!(report.is_ok() && report.events == 301, "{report:?}");
}

#[test]
fn a_bulk_load_that_is_not_finished_leaves_nothing() {
    let folder = folder();
    open(folder.path())
        .commit(&[note(1)], &Nip09)
        .expect("room");
    let mut loader = BulkLoader::open(folder.path(), &options()).expect("a loader");
    // So many that some are written before the end.
    let notes: Vec<_> = (0..100).map(note).collect();
    for note in notes.iter().cycle().take(20_000) {
        loader.add(note).expect("room");
    }
    drop(loader);
    let store = open(folder.path());
    assert_eq!((store.size().0, rules::served(&store).len()), (1, 1));
    assert!(store.check(&mut |_, _| {}).expect("a check").is_ok());
}
