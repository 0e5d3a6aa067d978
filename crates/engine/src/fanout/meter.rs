//! Memory that a shard holds besides buffers that shards share: handles, queues, its own buffers.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes that one shard holds, by capacity. Only the shard counts, so no atomic operation is
/// needed; the engine publishes the sum once a turn.
#[derive(Debug, Default)]
pub struct Meter(Cell<usize>);

impl Meter {
    /// The bytes that are held now.
    pub fn bytes(&self) -> usize {
        self.0.get()
    }

    #[inline]
    pub(super) fn add(&self, bytes: usize) {
        self.0.set(self.0.get() + bytes);
    }

    #[inline]
    pub(super) fn subtract(&self, bytes: usize) {
        debug_assert!(bytes <= self.0.get());
        self.0.set(self.0.get() - bytes);
    }
}

/// Bytes that are counted on a meter for as long as this value lives.
#[derive(Debug)]
pub struct Charge {
    meter: Rc<Meter>,
    bytes: usize,
}

impl Charge {
    /// A charge of 0 bytes.
    pub fn new(meter: &Rc<Meter>) -> Charge {
        Charge {
            meter: Rc::clone(meter),
            bytes: 0,
        }
    }

    /// Changes the charge to `bytes`.
    pub fn set(&mut self, bytes: usize) {
        self.meter.subtract(self.bytes);
        self.meter.add(bytes);
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.meter.subtract(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_counts_while_it_lives() {
        let meter = Rc::new(Meter::default());
        let mut first = Charge::new(&meter);
        let mut second = Charge::new(&meter);
        first.set(100);
        second.set(30);
        first.set(10);
        assert_eq!(meter.bytes(), 40);
        drop(first);
        assert_eq!(meter.bytes(), 30);
        drop(second);
        assert_eq!(meter.bytes(), 0);
    }
}
