//! One client's queries in flight: each answer is compared with the right one, row by row.

use std::collections::VecDeque;

use super::script::Sending;

/// A client's queries, in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The name of the first one.
    first: u32,
    /// `None`: it is over.
    asked: VecDeque<Option<Asked>>,
}

/// A query in flight.
#[derive(Debug)]
pub(super) struct Asked {
    /// The query's number in the run.
    pub(super) number: u32,
    pub(super) sending: Sending,
    /// Rows that came in their right place, from the first one on.
    in_place: usize,
    /// Once one came that was not: all that came, by number.
    came: Option<Vec<u32>>,
    /// Rows with another content than the event's.
    damaged: u64,
    /// Rows that no event of the run has.
    foreign: u64,
}

/// Faults of answers, by rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// They match and did not come.
    pub(crate) missing: u64,
    /// They came and do not belong to the answer.
    pub(crate) unasked: u64,
    pub(crate) repeated: u64,
    /// They came behind a row that belongs behind them.
    pub(crate) reordered: u64,
    pub(crate) damaged: u64,
}

impl Answers {
    /// Adds a query. Returns the number of its name.
    pub(super) fn ask(&mut self, number: u32, sending: Sending) -> u32 {
        self.asked.push_back(Some(Asked {
            number,
            sending,
            in_place: 0,
            came: None,
            damaged: 0,
            foreign: 0,
        }));
        self.first + self.asked.len() as u32 - 1
    }

    /// The query with this name, if it is in flight.
    pub(super) fn get(&mut self, name: u32) -> Option<&mut Asked> {
        let at = name.checked_sub(self.first)?;
        self.asked.get_mut(at as usize)?.as_mut()
    }

    /// Takes the query with this name: its answer is over.
    pub(super) fn take(&mut self, name: u32) -> Option<Asked> {
        let at = name.checked_sub(self.first)?;
        let asked = self.asked.get_mut(at as usize)?.take()?;
        while self.asked.pop_front_if(|first| first.is_none()).is_some() {
            self.first += 1;
        }
        Some(asked)
    }
}

impl Asked {
    /// The event that should come next.
    pub(super) fn next_of(&self, rows: &[u32]) -> Option<u32> {
        match self.came {
            None => rows.get(self.in_place).copied(),
            Some(_) => None,
        }
    }

    /// The event that should come next came.
    pub(super) fn is_in_place(&mut self) {
        self.in_place += 1;
    }

    /// An event came, perhaps not the right one.
    pub(super) fn came(&mut self, number: u32, is_intact: bool, rows: &[u32]) {
        self.damaged += u64::from(!is_intact);
        if self.next_of(rows) == Some(number) {
            return self.is_in_place();
        }
        let before = &rows[..self.in_place];
        self.came
            .get_or_insert_with(|| before.to_vec())
            .push(number);
    }

    /// Something came that does not belong to the run.
    pub(super) fn came_foreign(&mut self) {
        self.foreign += 1;
    }

    /// The number of rows that came.
    pub(super) fn rows(&self) -> u64 {
        let came = self.came.as_ref().map_or(self.in_place, Vec::len);
        came as u64 + self.foreign
    }

    /// Compares the whole answer with the right one.
    pub(super) fn faults(&self, rows: &[u32]) -> Faults {
        let mut faults = Faults {
            damaged: self.damaged,
            unasked: self.foreign,
            ..Faults::default()
        };
        let Some(came) = &self.came else {
            faults.missing = (rows.len() - self.in_place) as u64;
            return faults;
        };
        let mut is_here = vec![false; rows.len()];
        let mut seen = std::collections::HashSet::new();
        let mut behind = 0;
        for number in came {
            if !seen.insert(*number) {
                faults.repeated += 1;
                continue;
            }
            let Some(place) = rows.iter().position(|row| row == number) else {
                faults.unasked += 1;
                continue;
            };
            is_here[place] = true;
            if place < behind {
                faults.reordered += 1;
            }
            behind = behind.max(place);
        }
        faults.missing = is_here.iter().filter(|is_here| !**is_here).count() as u64;
        faults
    }
}

impl Faults {
    pub(super) fn add(&mut self, other: &Self) {
        self.missing += other.missing;
        self.unasked += other.unasked;
        self.repeated += other.repeated;
        self.reordered += other.reordered;
        self.damaged += other.damaged;
    }

    pub(super) fn sum(&self) -> u64 {
        self.missing + self.unasked + self.repeated + self.reordered + self.damaged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDING: Sending = Sending {
        due_ns: 1,
        sent_ns: 2,
        is_held: false,
    };

    fn faults(came: &[u32]) -> Faults {
        let rows = [7, 5, 3, 1];
        let mut answers = Answers::default();
        let name = answers.ask(0, SENDING);
        let asked = answers.get(name).expect("in flight");
        came.iter()
            .for_each(|number| asked.came(*number, true, &rows));
        let asked = answers.take(name).expect("in flight");
        assert_eq!(asked.rows(), came.len() as u64);
        asked.faults(&rows)
    }

    #[test]
    fn each_fault_of_an_answer_has_its_own_word() {
        let none = Faults::default();
        assert_eq!(faults(&[7, 5, 3, 1]), none);
        assert_eq!(faults(&[7, 5]), Faults { missing: 2, ..none });
        assert_eq!(faults(&[5, 3, 1]), Faults { missing: 1, ..none });
        assert_eq!(
            faults(&[7, 5, 5, 3, 1]),
            Faults {
                repeated: 1,
                ..none
            }
        );
        assert_eq!(
            faults(&[7, 3, 5, 1]),
            Faults {
                reordered: 1,
                ..none
            }
        );
        assert_eq!(faults(&[7, 5, 3, 1, 9]), Faults { unasked: 1, ..none });
        let instead = Faults {
            missing: 1,
            unasked: 1,
            ..none
        };
        assert_eq!(faults(&[7, 9, 3, 1]), instead);
    }

    #[test]
    fn answers_may_end_in_another_order_than_their_queries() {
        let mut answers = Answers::default();
        let names = [8, 9, 10].map(|number| answers.ask(number, SENDING));
        assert_eq!(names, [0, 1, 2]);
        assert_eq!(answers.take(1).map(|asked| asked.number), Some(9));
        assert!(answers.take(1).is_none() && answers.get(1).is_none());
        assert_eq!(answers.take(0).map(|asked| asked.number), Some(8));
        assert_eq!(answers.ask(11, SENDING), 3);
        assert_eq!(answers.take(2).map(|asked| asked.number), Some(10));
        assert_eq!(answers.take(3).map(|asked| asked.number), Some(11));
        assert!(answers.get(4).is_none());
    }
}
