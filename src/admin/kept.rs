//! A cache of answers: however many requests come, an answer is made once a second at most. The
//! shards that relay messages make it, so it must not take their time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The largest age of a cached answer.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// A value and when it was made.
pub(super) struct Kept<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Kept<T> {
    fn default() -> Kept<T> {
        Kept(Mutex::default())
    }
}

impl<T: Clone> Kept<T> {
    /// The value, at most a second older than `now`. While one shard makes a new value, the others
    /// get the previous one and do not wait.
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

    /// Drops the value, so that the next request makes a new one.
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
    fn the_previous_value_is_returned_while_a_new_one_is_made() {
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
