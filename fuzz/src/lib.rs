//! What peers and operators can send to Corecast, sent at random.
//!
//! A target is a function of bytes that panics where something that must hold does not. The binary
//! of this crate lets libFuzzer look for such bytes (`scripts/fuzz`); `tests/corpus.rs` gives every
//! target what is known, from `corpus/`, on every run of the tests. A new target is a module, a
//! line in [`TARGETS`], and a folder of seeds.

mod config;
mod decoder;
mod deflate;
mod handshake;
mod http_head;
mod nostr_filter;
mod nostr_message;
mod pieces;
mod proxy;
pub mod readers;
mod sizes;

use stats_alloc::{Region, StatsAlloc};

/// One thing that is fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its folder in `corpus/`, and for `scripts/fuzz`.
    pub name: &'static str,
    /// What one input may make it allocate. Nothing is subtracted for what is freed meanwhile, so
    /// it bounds the peak too.
    allocated_bytes_max: usize,
    run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 8] = [
    Target::new("decoder", MIB, decoder::decoder),
    Target::new("http_head", MIB, http_head::http_head),
    Target::new("handshake", MIB, handshake::handshake),
    // Each deflater has 300 KB.
    Target::new("deflate", 4 * MIB, deflate::deflate),
    // A short YAML text of aliases may unfold to 131,072 values.
    Target::new("config", 96 * MIB, config::config),
    Target::new("proxy", MIB, proxy::proxy),
    // Each of both reads its input several times, in several forms.
    Target::new("nostr_message", 8 * MIB, nostr_message::nostr_message),
    Target::new("nostr_filter", 8 * MIB, nostr_filter::nostr_filter),
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
    /// `heap` is the program's allocator; where other threads allocate too they are counted.
    ///
    /// # Panics
    ///
    /// Where something that must hold does not, the bound on memory included.
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
