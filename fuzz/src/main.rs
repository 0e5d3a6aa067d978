//! libFuzzer's side: its own `main` calls one target, named by the environment.
//!
//! `scripts/fuzz` builds and runs it; the command line is libFuzzer's.

#![no_main]

use std::alloc::System;
use std::sync::OnceLock;

use fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static TARGET: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.into_iter().find(|target| target.name == name);
    found.unwrap_or_else(|| {
        let known = TARGETS.map(|target| target.name).join(", ");
        eprintln!("FUZZ_TARGET must be one of {known}");
        std::process::exit(64);
    })
}

fuzz_target!(|input: &[u8]| TARGET.get_or_init(chosen).run(input, HEAP));
