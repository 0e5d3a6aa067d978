//! Runs every stored input through its target: seeds, and earlier findings.

use std::alloc::System;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fuzz::TARGETS;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CORPUS_BYTES_MAX: u64 = 200 << 10;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder that can be read");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

// One test for all, because allocations of other threads would be counted too.
#[test]
fn whatever_is_kept_passes_its_target() {
    let mut failed = Vec::new();
    for target in TARGETS {
        let inputs = entries(&corpus().join(target.name));
        assert!(
            inputs.len() >= 10,
            "{} has {} seeds",
            target.name,
            inputs.len()
        );
        for path in inputs {
            let input = fs::read(&path).expect("a file that can be read");
            let run = AssertUnwindSafe(|| target.run(&input, HEAP));
            if catch_unwind(run).is_err() {
                failed.push(path);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_folder_has_its_target_and_all_are_small() {
    let folders = entries(&corpus());
    let mut names: Vec<_> = TARGETS.map(|target| target.name).to_vec();
    names.sort_unstable();
    let found: Vec<_> = folders
        .iter()
        .filter_map(|folder| folder.file_name())
        .collect();
    assert_eq!(found, names);
    let files = folders.iter().flat_map(|folder| entries(folder));
    let total: u64 = files
        .map(|path| fs::metadata(path).expect("a file").len())
        .sum();
    assert!(total <= CORPUS_BYTES_MAX, "{total} bytes of seeds");
}
