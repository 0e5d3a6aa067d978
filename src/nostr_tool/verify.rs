//! Parses and verifies the lines of a file on all cores, in order.

use std::io::{self, Read};
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use corecast_nostr::{Class, Event, EventError, ParsedEvent, RelayUrls, class_of};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::interrupt::Interrupt;
use super::lines::{Chunk, Lines, Place};

/// The longest time until a signal takes effect, if the input comes slowly.
const LOOK: Duration = Duration::from_millis(100);

/// The lines that are taken.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Most bytes of an event's JSON.
    pub(super) event_bytes_max: usize,
    /// Ids and signatures are not checked.
    pub(super) is_trusted: bool,
    /// The URLs of the relay: only requests to vanish from it are taken (NIP-62).
    pub(super) urls: RelayUrls,
    /// Seconds since 1970.
    pub(super) now: u64,
}

/// Why a line becomes no event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is not a valid event.
    Invalid(String),
    /// It is a valid event that is never stored.
    Passing(&'static str),
}

/// The events of a chunk of lines.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Events, in order.
    pub(super) events: Vec<Arc<Event>>,
    /// Numbers of lines, and why they become no events.
    pub(super) unfit: Vec<(u64, Unfit)>,
    /// The end of the last line.
    pub(super) end: Place,
}

/// Why reading ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum VerifyError {
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    /// A thread has panicked, which is a defect of this program.
    #[error("a thread that verifies events has failed; please report this")]
    Thread,
}

/// A chunk, and where its events go.
type Work = (Chunk, Sender<Checked>);

/// Chunks in order, each as soon as it is verified.
pub(super) struct Verified {
    chunks: Receiver<Receiver<Checked>>,
    reader: thread::JoinHandle<io::Result<()>>,
    interrupt: Interrupt,
}

impl Verified {
    /// Starts to read and to verify. The threads end when all is read, or when this is dropped; one
    /// that waits for input ends with the process.
    ///
    /// # Errors
    ///
    /// A thread cannot be started.
    pub(super) fn start(
        lines: Lines<impl Read + Send + 'static>,
        rules: &Rules,
        interrupt: &Interrupt,
    ) -> io::Result<Verified> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let (to_workers, work) = bounded(cores);
        let (in_order, chunks) = bounded(2 * cores);
        for number in 0..cores {
            let (work, rules) = (work.clone(), rules.clone());
            let thread = thread::Builder::new().name(format!("verifier-{number}"));
            thread.spawn(move || verify(&work, &rules))?;
        }
        let thread = thread::Builder::new().name("reader".to_owned());
        let reader = thread.spawn(move || read(lines, &to_workers, &in_order))?;
        Ok(Verified {
            chunks,
            reader,
            interrupt: interrupt.clone(),
        })
    }

    /// The next chunk. `None`: all are read, or a signal has come.
    ///
    /// # Errors
    ///
    /// See [`VerifyError`].
    pub(super) fn next(&mut self) -> Result<Option<Checked>, VerifyError> {
        loop {
            if self.interrupt.has_come() {
                return Ok(None);
            }
            match self.chunks.recv_timeout(LOOK) {
                Ok(chunk) => return Ok(Some(chunk.recv().map_err(|_| VerifyError::Thread)?)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    /// To be called after the last chunk.
    ///
    /// # Errors
    ///
    /// The file could not be read to its end.
    pub(super) fn end(self) -> Result<(), VerifyError> {
        if self.interrupt.has_come() {
            return Ok(());
        }
        Ok(self.reader.join().map_err(|_| VerifyError::Thread)??)
    }
}

fn read(
    mut lines: Lines<impl Read>,
    to_workers: &Sender<Work>,
    in_order: &Sender<Receiver<Checked>>,
) -> io::Result<()> {
    while let Some(chunk) = lines.next()? {
        let (answer, answered) = bounded(1);
        // Either fails only if nobody wants the events any more.
        if in_order.send(answered).is_err() || to_workers.send((chunk, answer)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn verify(work: &Receiver<Work>, rules: &Rules) {
    for (chunk, answer) in work {
        let _ = answer.send(checked(&chunk, rules));
    }
}

fn checked(chunk: &Chunk, rules: &Rules) -> Checked {
    let mut checked = Checked {
        end: chunk.end,
        ..Checked::default()
    };
    for (number, line) in chunk.lines() {
        match event(line, rules) {
            Ok(Some(event)) => checked.events.push(Arc::new(event)),
            Ok(None) => {}
            Err(unfit) => checked.unfit.push((number, unfit)),
        }
    }
    checked
}

/// The event of a line; `None` if the line is blank.
fn event(line: Option<&[u8]>, rules: &Rules) -> Result<Option<Event>, Unfit> {
    let invalid = |error: EventError| {
        let told = error.to_string();
        let told = told.strip_prefix("invalid: ").unwrap_or(&told);
        Unfit::Invalid(told.to_owned())
    };
    let line = line.ok_or_else(|| invalid(EventError::TooLarge(rules.event_bytes_max)))?;
    let line = std::str::from_utf8(line).map_err(|_| Unfit::Invalid("not UTF-8 text".into()))?;
    let line = line.trim_ascii();
    if line.is_empty() {
        return Ok(None);
    }
    let parsed = ParsedEvent::parse(line).map_err(invalid)?;
    if class_of(parsed.kind) == Class::Ephemeral {
        return Err(Unfit::Passing("ephemeral events are not stored"));
    }
    if rules.urls.check_vanish(&parsed).is_err() {
        return Err(Unfit::Passing("requests to vanish from other relays"));
    }
    if !rules.is_trusted {
        parsed.check_id().map_err(invalid)?;
    }
    let unverified = parsed.into_unverified();
    if unverified.event().is_expired(rules.now) {
        return Err(Unfit::Passing("expired"));
    }
    match rules.is_trusted {
        true => Ok(Some(unverified.trust())),
        false => unverified.verify().map(Some).map_err(invalid),
    }
}

#[cfg(test)]
mod tests {
    use corecast_nostr::{Draft, Signer};

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn rules(is_trusted: bool) -> Rules {
        Rules {
            event_bytes_max: 1_000,
            is_trusted,
            urls: RelayUrls::new(vec!["wss://own.example".to_owned()]),
            now: NOW,
        }
    }

    fn signed(kind: u16, tags: &[&[&str]]) -> Event {
        let tags = tags
            .iter()
            .map(|tag| tag.iter().map(|item| (*item).to_owned()).collect());
        Signer::new([1; 32]).expect("a key").sign(Draft {
            created_at: NOW - 10,
            kind,
            tags: tags.collect(),
            content: "content".to_owned(),
        })
    }

    fn taken(line: &str, rules: &Rules) -> Result<Option<String>, Unfit> {
        let event = event(Some(line.as_bytes()), rules)?;
        Ok(event.map(|event| event.json().to_owned()))
    }

    #[test]
    fn a_valid_line_becomes_its_event() {
        let good = signed(1, &[&["t", "x"]]);
        for line in [good.json().to_owned(), format!(" {}\r", good.json())] {
            assert_eq!(
                taken(&line, &rules(false)),
                Ok(Some(good.json().to_owned()))
            );
        }
        assert_eq!(taken(" \r", &rules(false)), Ok(None));
    }

    #[test]
    fn an_invalid_line_is_refused_with_its_reason() {
        let good = signed(1, &[]);
        let other = good
            .json()
            .replace("\"content\":\"content\"", "\"content\":\"x\"");
        let (rest, _) = good.json().split_at(good.json().len() - 34);
        let forged = format!("{rest}{}\"}}", "0".repeat(32));
        for (line, reason) in [
            ("[]", "an event is an object"),
            ("{", "EOF while parsing an object"),
            (&other, "id is not the hash of the event"),
            (&forged, "sig is not the signature of id by pubkey"),
        ] {
            let refused = Unfit::Invalid(reason.to_owned());
            assert_eq!(taken(line, &rules(false)), Err(refused), "{line}");
        }
        let refused = |line| event(line, &rules(false)).expect_err("refused");
        let reason = "the event has more than 1000 bytes";
        assert_eq!(refused(None), Unfit::Invalid(reason.to_owned()));
        let not_text = refused(Some(b"\xff"));
        assert_eq!(not_text, Unfit::Invalid("not UTF-8 text".to_owned()));
        // With trust, only the form is checked.
        for line in [&other, &forged] {
            assert!(taken(line, &rules(true)).is_ok_and(|event| event.is_some()));
        }
    }

    #[test]
    fn events_that_are_never_stored_are_left_out() {
        let ephemeral = signed(20_001, &[]);
        let is_expired = signed(1, &[&["expiration", &NOW.to_string()]]);
        let expires = signed(1, &[&["expiration", &(NOW + 1).to_string()]]);
        for trusted in [false, true] {
            let left_out = |event: &Event| taken(event.json(), &rules(trusted));
            let passing = Unfit::Passing("ephemeral events are not stored");
            assert_eq!(left_out(&ephemeral), Err(passing));
            assert_eq!(left_out(&is_expired), Err(Unfit::Passing("expired")));
            assert!(left_out(&expires).is_ok_and(|event| event.is_some()));
            let elsewhere = signed(62, &[&["relay", "wss://other.example"]]);
            let passing = Unfit::Passing("requests to vanish from other relays");
            assert_eq!(left_out(&elsewhere), Err(passing));
            for relay in ["wss://own.example/", "ALL_RELAYS"] {
                let ours = signed(62, &[&["relay", "wss://other.example"], &["relay", relay]]);
                assert!(left_out(&ours).is_ok_and(|event| event.is_some()));
            }
        }
    }

    #[test]
    fn chunks_come_in_order_with_the_numbers_of_their_lines() {
        let good = signed(1, &[]);
        let line = |number: usize| match number % 100 {
            0 => format!("bad {number}\n"),
            _ => format!("{}\n", good.json()),
        };
        let text: String = (1..=5_000).map(line).collect();
        let length = text.len() as u64;
        let lines = Lines::new(io::Cursor::new(text), 1_000, Place::default());
        let mut verified =
            Verified::start(lines, &rules(true), &Interrupt::default()).expect("threads");
        let (mut unfit, mut events, mut end) = (Vec::new(), 0, Place::default());
        while let Some(chunk) = verified.next().expect("chunks") {
            assert!(chunk.end.offset > end.offset);
            end = chunk.end;
            events += chunk.events.len();
            unfit.extend(chunk.unfit.into_iter().map(|(line, _)| line));
        }
        verified.end().expect("the whole file");
        assert_eq!((events, end.lines, end.offset), (4_950, 5_000, length));
        assert!(unfit.into_iter().eq((1..=50).map(|number| number * 100)));
    }

    #[test]
    fn a_signal_ends_the_reading_even_while_input_is_awaited() {
        let (input, _keeps_it_open) = std::io::pipe().expect("a pipe");
        let lines = Lines::new(input, 1_000, Place::default());
        let interrupt = Interrupt::default();
        let mut verified = Verified::start(lines, &rules(false), &interrupt).expect("threads");
        interrupt.come();
        assert!(verified.next().expect("no error").is_none());
        verified.end().expect("no error");
    }
}
