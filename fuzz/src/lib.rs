//! Fuzz targets for the input of peers and operators.
//!
//! A target is a function of bytes that panics if an invariant does not hold. The binary of this
//! crate lets libFuzzer look for such bytes (`scripts/fuzz`); `tests/corpus.rs` runs every target
//! on the known inputs in `corpus/` in every test run. A new target is a module, a line in
//! [`TARGETS`], and a folder of seeds.

mod config;
mod decoder;
mod deflate;
mod handshake;
mod http_head;
mod nostr_auth_header;
mod nostr_filter;
mod nostr_message;
mod nostr_neg;
mod pieces;
mod proxy;
pub mod readers;
mod sizes;

use stats_alloc::{Region, StatsAlloc};

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its folder in `corpus/`, and for `scripts/fuzz`.
    pub name: &'static str,
    /// The most bytes that one input may make it allocate. Frees are not subtracted, so it bounds
    /// the peak too.
    allocated_bytes_max: usize,
    run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 10] = [
    Target::new("decoder", MIB, decoder::decoder),
    Target::new("http_head", MIB, http_head::http_head),
    Target::new("handshake", MIB, handshake::handshake),
    // Each deflater has 300 KB.
    Target::new("deflate", 4 * MIB, deflate::deflate),
    // A short YAML text of aliases may unfold to 131,072 values.
    Target::new("config", 96 * MIB, config::config),
    Target::new("proxy", MIB, proxy::proxy),
    // Both read their input several times, in several forms.
    Target::new("nostr_message", 8 * MIB, nostr_message::nostr_message),
    Target::new("nostr_filter", 8 * MIB, nostr_filter::nostr_filter),
    // An answer has 60,000 bytes at most, and is compared in several forms.
    Target::new("nostr_neg", 8 * MIB, nostr_neg::nostr_neg),
    Target::new(
        "nostr_auth_header",
        8 * MIB,
        nostr_auth_header::nostr_auth_header,
    ),
];

const MIB: usize = 1 << 20;

impl Target {
    const fn new(name: &'static str, allocated_bytes_max: usize, run: fn(&[u8])) -> Target {
        Target {
            name,
            allocated_bytes_max,
            run,
        }
    }

    /// Runs the target on one input.
    ///
    /// `heap` is the program's allocator; allocations of other threads are counted, too.
    ///
    /// # Panics
    ///
    /// If an invariant does not hold, including the bound on memory.
    pub fn run<A: std::alloc::GlobalAlloc>(&self, input: &[u8], heap: &StatsAlloc<A>) {
        let region = Region::new(heap);
        (self.run)(input);
        let allocated_bytes = region.change().bytes_allocated;
        assert!(
            allocated_bytes <= self.allocated_bytes_max,
            "{allocated_bytes} bytes were allocated for {} bytes",
            input.len()
        );
    }
}
