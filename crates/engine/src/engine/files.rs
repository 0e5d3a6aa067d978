//! How the limit on open files is divided: plain arithmetic, for the start and for `doctor`.
//!
//! A process needs files of its own (each shard has some), and one for each connection. Of those
//! that are left for connections, small parts are reserved for connections that are refused and for
//! the admin listener, so that a full relay can still say that it is full, and can be inspected.

use crate::limits::{ADMIN_CONNECTIONS_MAX, PROCESS_FILES, REFUSING_MAX};

/// A shard's poll and its waker.
const FILES_PER_SHARD: usize = 2;

/// One in so many connections that the files allow is reserved for refusals, and one for the admin
/// listener.
const PART: usize = 20;

/// The files that a process needs besides those of its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileNeeds {
    /// Relaying shards.
    pub shards: usize,
    /// Listeners that every shard has a socket of, which are those of TCP.
    pub shared_listeners: usize,
    /// Listeners with a single socket.
    pub single_listeners: usize,
    /// Listeners of the admin shard; 0: it has none.
    pub admin_listeners: usize,
    /// Files of journals and stores.
    pub journals: usize,
}

impl FileNeeds {
    /// The number of files that are not connections.
    pub fn own(&self) -> usize {
        let admin_shard = match self.admin_listeners {
            0 => 0,
            listeners => FILES_PER_SHARD + listeners,
        };
        let of_shards = self.shards * (FILES_PER_SHARD + self.shared_listeners);
        PROCESS_FILES + of_shards + admin_shard + self.single_listeners + self.journals
    }
}

/// The number of connections of each kind that a limit on open files allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FileBudget {
    /// Client connections that are served; 0: the limit is too small for the process itself.
    pub connections_max: usize,
    /// Connections that are refused and have yet to be told so, or that linger.
    pub refusing_max: usize,
    /// Connections of the admin shard.
    pub admin_connections_max: usize,
}

impl FileBudget {
    /// Divides a limit of `files_max` open files.
    pub fn of(files_max: usize, needs: &FileNeeds) -> FileBudget {
        let left = files_max.saturating_sub(needs.own());
        let refusing_max = (left / PART).clamp(1, REFUSING_MAX);
        // Half a part out of step, so that one file more never makes the other parts smaller.
        let admin_connections_max = match needs.admin_listeners {
            0 => 0,
            _ => ((left + PART / 2) / PART).clamp(1, ADMIN_CONNECTIONS_MAX),
        };
        FileBudget {
            connections_max: left.saturating_sub(refusing_max + admin_connections_max),
            refusing_max,
            admin_connections_max,
        }
    }

    /// The smallest limit on open files that allows this many connections.
    pub fn files_for(connections: usize, needs: &FileNeeds) -> usize {
        let least = needs.own().saturating_add(connections);
        let set_aside = (REFUSING_MAX + ADMIN_CONNECTIONS_MAX).min(2 + connections);
        let (mut too_few, mut enough) = (least, least.saturating_add(set_aside));
        while too_few + 1 < enough {
            let files_max = too_few + (enough - too_few) / 2;
            match FileBudget::of(files_max, needs).connections_max >= connections {
                true => enough = files_max,
                false => too_few = files_max,
            }
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn relay(shards: usize) -> FileNeeds {
        FileNeeds {
            shards,
            shared_listeners: 1,
            single_listeners: 0,
            admin_listeners: 1,
            journals: 1,
        }
    }

    #[test]
    fn with_1024_files_at_least_700_clients_are_served() {
        for shards in 1..=64 {
            let budget = FileBudget::of(1_024, &relay(shards));
            assert!(budget.connections_max >= 700, "{shards}: {budget:?}");
        }
        // Two hundred shards need 600 files for themselves.
        let budget = FileBudget::of(1_024, &relay(200));
        assert!((300..400).contains(&budget.connections_max), "{budget:?}");
    }

    #[test]
    fn with_many_files_the_bounds_are_those_of_the_limits() {
        let budget = FileBudget::of(1 << 20, &relay(64));
        assert_eq!(budget.refusing_max, REFUSING_MAX);
        assert_eq!(budget.admin_connections_max, ADMIN_CONNECTIONS_MAX);
        let unlimited = FileBudget::of(usize::MAX, &relay(1));
        assert!(unlimited.connections_max > 1 << 60);
    }

    #[test]
    fn without_an_admin_listener_nothing_is_set_aside_for_it() {
        let needs = FileNeeds {
            admin_listeners: 0,
            ..relay(1)
        };
        assert_eq!(needs.own(), relay(1).own() - 3);
        let budget = FileBudget::of(1_024, &needs);
        assert_eq!(budget.admin_connections_max, 0);
        assert!(budget.connections_max > FileBudget::of(1_024, &relay(1)).connections_max);
    }

    #[test]
    fn a_limit_too_small_for_the_process_allows_no_connections() {
        for shards in [1, 64, 255] {
            let own = relay(shards).own();
            for files_max in [0, own, own + 2] {
                let budget = FileBudget::of(files_max, &relay(shards));
                assert_eq!(budget.connections_max, 0, "{shards} {files_max}");
            }
            assert_eq!(FileBudget::of(own + 3, &relay(shards)).connections_max, 1);
        }
    }

    fn needs() -> impl Strategy<Value = FileNeeds> {
        (1..256_usize, 0..8_usize, 0..8_usize, 0..3_usize, 0..4_usize).prop_map(
            |(shards, shared_listeners, single_listeners, admin_listeners, journals)| FileNeeds {
                shards,
                shared_listeners,
                single_listeners,
                admin_listeners,
                journals,
            },
        )
    }

    proptest! {
        #[test]
        fn the_parts_fit_the_limit_and_the_reserves_are_small(
            needs in needs(),
            files_max in 16..200_000_usize,
        ) {
            let budget = FileBudget::of(files_max, &needs);
            let FileBudget { connections_max, refusing_max, admin_connections_max } = budget;
            if connections_max > 0 {
                let all = needs.own() + connections_max + refusing_max + admin_connections_max;
                prop_assert_eq!(all, files_max);
            }
            prop_assert!(refusing_max <= (files_max / 16).min(REFUSING_MAX));
            prop_assert!(admin_connections_max <= (files_max / 16).min(ADMIN_CONNECTIONS_MAX));
            prop_assert!(refusing_max >= 1);
            prop_assert_eq!(admin_connections_max == 0, needs.admin_listeners == 0);
            let more = FileBudget::of(files_max + 1, &needs);
            prop_assert!(more.connections_max >= connections_max);
        }

        #[test]
        fn the_files_for_so_many_connections_are_just_enough(
            needs in needs(),
            connections in 1..200_000_usize,
        ) {
            let files_max = FileBudget::files_for(connections, &needs);
            let enough = FileBudget::of(files_max, &needs);
            prop_assert!(enough.connections_max >= connections, "{files_max}: {enough:?}");
            let too_few = FileBudget::of(files_max - 1, &needs);
            prop_assert!(too_few.connections_max < connections, "{files_max}: {too_few:?}");
        }
    }
}
