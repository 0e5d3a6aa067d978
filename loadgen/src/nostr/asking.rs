//! The listener's part in a load of queries: it stores the events, asks, and checks the answers.

use corecast_nostr::ParsedEvent;

use super::answers::Asked;
use super::listener::{Listener, Turn, prefix_of};
use super::queries::Queries;
use super::querying::Storing;
use super::script::{Answer, Script, Sending, id_part};
use super::text::append_text;
use crate::client::Client;
use crate::histogram;
use crate::stamp::Stamp;

/// Prefix of the names of queries.
const NAME: &str = "query-";
impl Listener {
    /// The frames with the first events that the client at `place` is to store; empty for none.
    pub(super) fn store(
        &mut self,
        place: usize,
        client: &Client,
        script: &Script,
        now_ns: u64,
    ) -> Vec<u8> {
        let mut frames = Vec::new();
        let is_stored = script.queries.as_ref().is_none_or(|all| all.is_stored);
        let Some(publisher) = client.publisher.as_ref().filter(|_| !is_stored) else {
            return frames;
        };
        let storing = Storing::begin(publisher.number, script, now_ns, &mut frames);
        let hearing = &mut self.clients[place];
        hearing.awaits = u32::from(storing.waiting > 0);
        hearing.querying.storing = Some(storing);
        frames
    }

    /// An event of the store was answered.
    pub(super) fn stored(&mut self, id: &str, is_taken: bool, reason: &str, turn: &mut Turn<'_>) {
        let script = turn.script;
        let event = script.number_of(id.as_bytes());
        let event = event.map(|number| &script.events[number as usize]);
        let hearing = &mut self.clients[turn.place];
        let storing = hearing.querying.storing.as_mut();
        let (Some(event), Some(storing)) = (event, storing.filter(|one| one.waiting > 0)) else {
            turn.client.receiver.foreign += 1;
            return;
        };
        let Some(sending) = event.sending() else {
            turn.client.receiver.foreign += 1;
            return;
        };
        if event.publisher() != storing.publisher || !event.answer(Answer::Taken) {
            turn.client.receiver.foreign += 1;
            return;
        }
        if !is_taken {
            let reason = reason.escape_debug();
            turn.said.refused = Some(format!("the relay refused an event: {reason}"));
            return;
        }
        let now_ns = turn.moment.now_ns;
        histogram::record(&mut self.ok_times, now_ns.saturating_sub(sending.sent_ns));
        storing.waiting -= 1;
        storing.go_on(script, now_ns, &mut turn.said.replies);
        turn.said.is_alive = true;
        if storing.waiting == 0 {
            hearing.awaits = 0;
            turn.said.is_settled = true;
        }
    }

    /// Appends the query of a stamp as a whole frame. Returns the arrivals to expect for it; `None`
    /// if the clients do not query.
    #[inline]
    pub(crate) fn ask_query(
        &mut self,
        place: usize,
        out: &mut Vec<u8>,
        script: &Script,
        stamp: &Stamp,
    ) -> Option<u32> {
        let queries = script.queries.as_ref()?;
        let sending = Sending {
            due_ns: stamp.due_ns,
            sent_ns: stamp.sent_ns,
            is_held: stamp.is_held,
        };
        let filter = &queries.get(stamp.seq).filter;
        let name = self.clients[place].querying.answers.ask(stamp.seq, sending);
        let head = format!("[\"REQ\",\"{NAME}{name}\",");
        append_text(
            out,
            script.mask(),
            &[head.as_bytes(), filter.as_bytes(), b"]"],
        );
        Some(1)
    }

    /// A row of an answer came.
    pub(super) fn row(&mut self, name: &str, json: &[u8], queries: &Queries, turn: &mut Turn<'_>) {
        let script = turn.script;
        let asked =
            number_in(name).and_then(|name| self.clients[turn.place].querying.answers.get(name));
        let Some(asked) = asked else {
            // After its EOSE, or for a name that was never given.
            match identify(json, script) {
                Some(_) => self.outcome.queries.faults.unasked += 1,
                None => turn.client.receiver.foreign += 1,
            }
            return;
        };
        let rows = &queries.get(asked.number).rows;
        if let Some(next) = asked.next_of(rows)
            && *script.events[next as usize].json == *json
        {
            return asked.is_in_place();
        }
        match identify(json, script) {
            Some((number, is_intact)) => asked.came(number, is_intact, rows),
            None => asked.came_foreign(),
        }
    }

    /// An answer is complete. False if no query has this name.
    pub(super) fn answered(&mut self, name: &str, queries: &Queries, turn: &mut Turn<'_>) -> bool {
        let Some((name, asked)) = self.take_query(name, turn) else {
            return false;
        };
        let close = format!("[\"CLOSE\",\"{NAME}{name}\"]");
        append_text(
            &mut turn.said.replies,
            turn.script.mask(),
            &[close.as_bytes()],
        );
        let phase = turn.phase_of(Some(asked.sending));
        turn.client.receiver.counts[phase].delivered += 1;
        turn.record(phase, &asked.sending);
        let rows = &queries.get(asked.number).rows;
        let faults = asked.faults(rows);
        let outcome = &mut self.outcome.queries;
        outcome.rows[phase] += asked.rows();
        outcome.expected += rows.len() as u64;
        outcome.answered += 1;
        outcome.wrong += u64::from(faults.sum() > 0);
        outcome.faults.add(&faults);
        turn.interval.faults += faults.sum();
        true
    }

    /// The relay refused a query. False if no query has this name.
    pub(super) fn refused(&mut self, name: &str, reason: &str, turn: &mut Turn<'_>) -> bool {
        if self.take_query(name, turn).is_none() {
            return false;
        }
        *self.outcome.closed.entry(prefix_of(reason)).or_default() += 1;
        self.keep_text("CLOSED", reason);
        true
    }

    fn take_query(&mut self, name: &str, turn: &mut Turn<'_>) -> Option<(u32, Asked)> {
        let name = number_in(name)?;
        let asked = self.clients[turn.place].querying.answers.take(name)?;
        turn.said.answers += 1;
        turn.tally.arrivals += 1;
        turn.tally.seen += 1;
        Some((name, asked))
    }
}

/// The number in the name of a query.
fn number_in(name: &str) -> Option<u32> {
    name.strip_prefix(NAME)?.parse().ok()
}

/// The event that this is in any encoding, and whether it is as it was sent. The formatting of the
/// JSON and the order of its keys do not matter.
fn identify(json: &[u8], script: &Script) -> Option<(u32, bool)> {
    let number = id_part(json).and_then(|id| script.number_of(&id));
    if let Some(number) = number
        && *script.events[number as usize].json == *json
    {
        return Some((number, true));
    }
    let text = std::str::from_utf8(json).ok()?;
    let parsed = ParsedEvent::parse(text).ok()?;
    let number = script.number_of(corecast_nostr::to_hex(&parsed.id).as_bytes())?;
    let canonical = parsed.into_unverified();
    let is_intact = *script.events[number as usize].json == *canonical.event().json().as_bytes();
    Some((number, is_intact))
}
