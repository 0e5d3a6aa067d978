//! Everything that the seed decides: keys, subscriptions, and the content of events.

use corecast_nostr::{Draft, Signer, to_hex};
use serde_json::json;

use crate::plan::{Filters, Nostr};
use crate::stamp::SplitMix;

/// Kinds of the events: all are stored, and none replaces another (NIP-01).
const KINDS: [u16; 4] = [1, 6, 7, 1111];
/// For queries the seed takes four of these regular kinds, which no NIP uses: nothing else that the
/// relay has stored matches.
const QUERY_KINDS: std::ops::Range<u16> = 3_000..4_000;
/// Topics of the events, as values of `t` tags.
const TOPICS: u64 = 64;
/// Arbitrary constant that keeps the draws for keys and filters apart from others.
const KEYS: u64 = 0x6b65_7973;
const FILTERS: u64 = 0x6669_6c74;
const QUERIES: u64 = 0x7175_6572;

/// Draws by the run's seed.
pub(super) struct Draws {
    seed: u64,
    nostr: Nostr,
    keys: Vec<Signer>,
    /// By key: the sum of 1/rank up to it.
    harmonic: Vec<f64>,
    /// Bytes needed to fill the content up to the size.
    fill_bytes: usize,
    created_at: u64,
    /// Events are created up to this many seconds earlier.
    spread_s: u64,
    run: String,
    kinds: [u16; 4],
    /// For queries, part of each topic.
    mark: String,
}

impl std::fmt::Debug for Draws {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Draws")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// The filter of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wish {
    All,
    Kinds(Vec<u16>),
    /// Numbers of keys.
    Authors(Vec<u32>),
    Topic(u64),
    /// Numbers of events.
    Ids(Vec<u32>),
}

/// The properties that filters match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    pub(super) key: u32,
    pub(super) kind: u16,
    pub(super) topic: u64,
}

impl Draws {
    /// For events of `size` bytes created at `created_at`; `run` identifies the run.
    pub(super) fn new(nostr: Nostr, seed: u64, size: usize, created_at: u64, run: &str) -> Self {
        let mut sum = 0.0;
        let harmonic = (1..=nostr.keys).map(|rank| {
            sum += 1.0 / f64::from(rank);
            sum
        });
        let mut draws = Self {
            seed,
            nostr,
            keys: Vec::new(),
            harmonic: harmonic.collect(),
            fill_bytes: 0,
            created_at,
            spread_s: 0,
            run: run.to_owned(),
            kinds: KINDS,
            mark: String::new(),
        };
        let random = &mut SplitMix(seed ^ KEYS);
        if nostr.query.is_some() {
            let mark = SplitMix(seed ^ QUERIES).next();
            let first = QUERY_KINDS.start + 4 * (mark % (QUERY_KINDS.len() as u64 / 4)) as u16;
            draws.kinds = [0, 1, 2, 3].map(|number| first + number);
            draws.mark = format!("-{mark:08x}");
        }
        let secrets: Vec<[u8; 32]> = (0..nostr.keys).map(|_| secret(random)).collect();
        // A drawn secret is invalid once in 2^128 draws.
        draws.keys = in_parallel(&secrets, |secret| Signer::new(*secret))
            .into_iter()
            .flatten()
            .collect();
        let bare = draws.sign(0).json().len();
        let kind_bytes = draws.traits(0).kind.to_string().len();
        draws.fill_bytes = size.saturating_sub(bare - kind_bytes);
        draws
    }

    /// Spreads the events over this many seconds.
    pub(super) fn spread_over(mut self, seconds: u64) -> Self {
        self.spread_s = seconds;
        self
    }

    /// The properties of an event.
    pub(super) fn traits(&self, number: u32) -> Traits {
        let mut random = self.random(number);
        let below = |bound: u64, random: &mut SplitMix| random.next() % bound;
        Traits {
            key: below(self.harmonic.len() as u64, &mut random) as u32,
            kind: self.kinds[below(KINDS.len() as u64, &mut random) as usize],
            topic: below(TOPICS, &mut random),
        }
    }

    fn random(&self, number: u32) -> SplitMix {
        let mut seeds = SplitMix(self.seed ^ u64::from(number) << 20);
        SplitMix(seeds.next())
    }

    /// Makes and signs an event.
    pub(super) fn sign(&self, number: u32) -> corecast_nostr::Event {
        let traits = self.traits(number);
        let kind = traits.kind.to_string();
        let fill = self.fill_bytes.saturating_sub(kind.len());
        let tag = |name: &str, value: String| vec![name.to_owned(), value];
        let key = &self.keys[traits.key as usize % self.keys.len()];
        key.sign(Draft {
            created_at: self.created_at(number),
            kind: traits.kind,
            tags: vec![
                tag("t", self.topic(traits.topic)),
                tag("t", self.run.clone()),
                tag("loadgen", format!("{number:08}")),
            ],
            content: text(&mut self.random(!number), fill),
        })
    }

    /// When an event was created, in seconds since 1970.
    pub(super) fn created_at(&self, number: u32) -> u64 {
        match self.nostr.query {
            Some(query) => self.created_at + u64::from(number / query.same_second),
            None => {
                let earlier_s = self.random(!number).next().checked_rem(self.spread_s);
                self.created_at - earlier_s.unwrap_or(0)
            }
        }
    }

    fn topic(&self, number: u64) -> String {
        format!("topic-{number:02}{}", self.mark)
    }

    /// Draws what each of `count` subscriptions asks for.
    pub(super) fn wishes(&self, count: u32) -> Vec<Wish> {
        let random = &mut SplitMix(self.seed ^ FILTERS);
        (0..count).map(|_| self.wish(random)).collect()
    }

    fn wish(&self, random: &mut SplitMix) -> Wish {
        let kinds = [Filters::Kinds, Filters::Authors, Filters::Tags];
        let of = match self.nostr.filters {
            Filters::Mixed => kinds[(random.next() % 3) as usize],
            other => other,
        };
        self.wish_of(of, random)
    }

    fn wish_of(&self, of: Filters, random: &mut SplitMix) -> Wish {
        match of {
            Filters::Kinds => {
                let first = (random.next() % KINDS.len() as u64) as usize;
                let count = 1 + (random.next() % 2) as usize;
                let kinds = self.kinds.iter().cycle().skip(first).take(count);
                Wish::Kinds(kinds.copied().collect())
            }
            Filters::Authors => Wish::Authors(self.authors(random)),
            Filters::Tags => Wish::Topic(random.next() % TOPICS),
            Filters::All | Filters::Mixed | Filters::Ids => Wish::All,
        }
    }

    /// Draws `count` queries for `events` stored events; those by id have up to `rows` ids.
    pub(super) fn queries(&self, count: u32, events: u32, rows: u32) -> Vec<Wish> {
        const KINDS: [Filters; 4] = [
            Filters::Kinds,
            Filters::Authors,
            Filters::Tags,
            Filters::Ids,
        ];
        let random = &mut SplitMix(self.seed ^ QUERIES);
        let wishes = (0..count).map(|number| {
            let of = match self.nostr.filters {
                Filters::Mixed => KINDS[number as usize % KINDS.len()],
                other => other,
            };
            match of {
                Filters::Ids => Wish::Ids(distinct(random, events, rows)),
                other => self.wish_of(other, random),
            }
        });
        wishes.collect()
    }

    /// The filter of a query for stored events, whose ids are given by number.
    pub(super) fn query(&self, wish: &Wish, rows: u32, ids: &[&str]) -> String {
        match wish {
            Wish::Ids(numbers) => {
                let ids: Vec<_> = numbers.iter().map(|number| ids[*number as usize]).collect();
                json!({"ids": ids, "limit": rows}).to_string()
            }
            wish => self.filter(wish, rows),
        }
    }

    /// Distinct keys, by Zipf's law with exponent 1.
    fn authors(&self, random: &mut SplitMix) -> Vec<u32> {
        let keys = self.harmonic.len();
        let count = (self.nostr.authors as usize).min(keys);
        let sum = self.harmonic.last().copied().unwrap_or(0.0);
        let mut chosen = std::collections::BTreeSet::new();
        // If nearly all are to be chosen, do not wait for the rare ones.
        for _ in 0..20 * count {
            let at = (random.next() >> 11) as f64 / (1_u64 << 53) as f64 * sum;
            let key = self.harmonic.partition_point(|upto| *upto <= at);
            chosen.insert(key.min(keys - 1) as u32);
            if chosen.len() == count {
                break;
            }
        }
        let rest = (0..keys as u32).filter(|key| !chosen.contains(key));
        let rest: Vec<_> = rest.take(count - chosen.len()).collect();
        chosen.extend(rest);
        chosen.into_iter().collect()
    }

    /// The filter of a REQ: with limit 0 for nothing that is already stored, only new events.
    pub(super) fn filter(&self, wish: &Wish, limit: u32) -> String {
        let filter = match wish {
            Wish::All | Wish::Ids(_) => json!({"kinds": self.kinds, "limit": limit}),
            Wish::Kinds(kinds) => json!({"kinds": kinds, "limit": limit}),
            Wish::Authors(keys) => {
                let keys = keys
                    .iter()
                    .map(|key| &self.keys[*key as usize % self.keys.len()]);
                let keys: Vec<_> = keys.map(|key| to_hex(&key.public_key())).collect();
                json!({"authors": keys, "limit": limit})
            }
            Wish::Topic(number) => json!({"#t": [self.topic(*number)], "limit": limit}),
        };
        filter.to_string()
    }
}

/// Up to `count` distinct numbers below `end`.
fn distinct(random: &mut SplitMix, end: u32, count: u32) -> Vec<u32> {
    let mut chosen = std::collections::BTreeSet::new();
    // One number twice makes the list shorter, which only matters if it is nearly all of them.
    for _ in 0..2 * count {
        chosen.insert((random.next() % u64::from(end)) as u32);
        if chosen.len() == count as usize {
            break;
        }
    }
    chosen.into_iter().collect()
}

fn secret(random: &mut SplitMix) -> [u8; 32] {
    let mut bytes = [0; 32];
    for word in bytes.chunks_exact_mut(8) {
        word.copy_from_slice(&random.next().to_le_bytes());
    }
    bytes
}

/// Letters and digits, which need no escape.
fn text(random: &mut SplitMix, count: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz012345";
    let mut text = String::with_capacity(count + 12);
    while text.len() < count {
        let word = random.next();
        for shift in (0..60).step_by(5) {
            text.push(char::from(
                LETTERS[(word >> shift) as usize % LETTERS.len()],
            ));
        }
    }
    text.truncate(count);
    text
}

/// Maps each element, with as many threads as cores: signing is slow.
pub(super) fn in_parallel<T: Sync, U: Send>(all: &[T], of: impl Fn(&T) -> U + Sync) -> Vec<U> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let each = all.len().div_ceil(threads).max(1);
    let of = &of;
    std::thread::scope(|scope| {
        let parts = all.chunks(each);
        let parts: Vec<_> = parts
            .map(|part| scope.spawn(move || part.iter().map(of).collect::<Vec<_>>()))
            .collect();
        let parts = parts.into_iter().map(std::thread::ScopedJoinHandle::join);
        parts
            .flat_map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::nostr) const NOSTR: Nostr = Nostr {
        subscriptions: 1,
        filters: Filters::Mixed,
        keys: 40,
        authors: 5,
        events: 100,
        sync: None,
        query: None,
    };

    fn draws(seed: u64) -> Draws {
        Draws::new(NOSTR, seed, 600, 1_700_000_000, "loadgen-7")
    }

    #[test]
    fn the_seed_decides_keys_filters_and_events() {
        let (one, same, other) = (draws(1), draws(1), draws(2));
        let filters = |draws: &Draws| {
            let wishes = draws.wishes(60);
            let filters = wishes.iter().map(|wish| draws.filter(wish, 0));
            filters.collect::<Vec<_>>()
        };
        assert_eq!(filters(&one), filters(&same));
        assert_ne!(filters(&one), filters(&other));
        assert_eq!(one.sign(9).json(), same.sign(9).json());
        assert_ne!(one.sign(9).json(), other.sign(9).json());
        let kinds = filters(&one).concat();
        for key in ["\"kinds\"", "\"authors\"", "\"#t\""] {
            assert!(kinds.contains(key), "{key}");
        }
    }

    #[test]
    fn every_event_has_the_size_that_was_asked_for() {
        let draws = draws(3);
        for number in 0..40 {
            assert_eq!(draws.sign(number).json().len(), 600, "{number}");
        }
    }

    #[test]
    fn authors_differ_and_the_first_keys_are_chosen_most() {
        let draws = draws(4);
        let random = &mut SplitMix(5);
        let mut chosen = [0; 40];
        for _ in 0..200 {
            let authors = draws.authors(random);
            assert_eq!(authors.len(), 5);
            assert!(authors.is_sorted_by(|one, next| one < next));
            authors.iter().for_each(|key| chosen[*key as usize] += 1);
        }
        assert!(chosen[0] > 3 * chosen[39].max(1), "{chosen:?}");
    }
}
