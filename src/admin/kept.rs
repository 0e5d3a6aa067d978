//! What is made for one who asks is kept for others: however often somebody asks, a shard that
//! relays makes it once a second.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long it is told again: so old it can be.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// A value and when it was made.
pub(super) struct Kept<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Kept<T> {
    fn default() -> Kept<T> {
        Kept(Mutex::default())
    }
}

impl<T: Clone> Kept<T> {
    /// The value as of a second before `now` at the earliest. No shard waits for another that
    /// makes it: meanwhile the others get the one before.
    pub(super) fn at(&self, now: Instant, make: impl FnOnce() -> T) -> T {
        let mut kept = self.lock();
        match &mut *kept {
            Some((made, value)) if now.saturating_duration_since(*made) < KEPT_FOR => {
                return value.clone();
            }
            Some((made, _)) => *made = now,
            None => {}
        }
        drop(kept);
        let value = make();
        *self.lock() = Some((now, value.clone()));
        value
    }

    /// Has it made anew for whoever asks next.
    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, T)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_a_second_however_often_it_is_asked_for() {
        let (kept, begin) = (Kept::default(), Instant::now());
        let mut made = 0;
        for ms in 0..10_000 {
            let value = kept.at(begin + Duration::from_millis(ms), || {
                made += 1;
                ms
            });
            assert!(ms - value < 1_000, "{value} at {ms}");
        }
        assert_eq!(made, 10);
    }

    #[test]
    fn whoever_asks_while_it_is_made_gets_the_one_before() {
        let (kept, begin) = (Kept::default(), Instant::now());
        assert_eq!(kept.at(begin, || 1), 1);
        let later = begin + KEPT_FOR;
        let made = kept.at(later, || {
            assert_eq!(kept.at(later, || panic!("twice")), 1);
            2
        });
        assert_eq!(made, 2);
        kept.forget();
        assert_eq!(kept.at(later, || 3), 3);
    }
}
