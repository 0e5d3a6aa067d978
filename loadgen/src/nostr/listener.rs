//! Handles the relay's messages: events of subscriptions, answers to events, and everything else.

use std::collections::{BTreeMap, HashMap};

use corecast_nostr::{ParsedEvent, to_hex};
use hdrhistogram::Histogram;
use serde_json::Value;
use tungstenite::protocol::frame::coding::{Control, Data};

use super::bits::Bits;
use super::querying::{QueryOutcome, Querying};
use super::script::{Answer, Script, Sending, Signed, id_part};
use super::stored::{self, Question};
use super::sync::Syncing;
use super::text::append_text;
use crate::check::Counts;
use crate::client::Client;
use crate::control::Shared;
use crate::frames::{Fragments, FrameError, Incoming, Walk, append_control};
use crate::histogram;
use crate::inflate::Inflater;
use crate::interval::Interval;
use crate::measures::{Burst, Moment};
use crate::plan::Role;
use crate::receive::Tally;
use crate::report::SyncFigures;

/// The most bytes that a relay's message may have.
const MESSAGE_BYTES_MAX: usize = 120 << 10;
/// A server's frame never begins with this (RFC 6455 §5.2), so each one is parsed.
const NO_HEAD: [u8; 2] = [0x7f, 0xff];
/// Texts of NOTICE and CLOSED that are kept.
const TEXTS_MAX: usize = 10;
/// Characters of each.
const TEXT_CHARS_MAX: usize = 200;
/// Differing encodings of events that are remembered.
const FORMS_MAX: usize = 4096;
/// In place of an event's number: none came.
const NOTHING: u32 = u32::MAX;

/// One thread's listener.
pub(crate) struct Listener {
    /// By the client's index in the thread.
    pub(super) clients: Vec<Hearing>,
    inflater: Inflater,
    /// Events as this relay encodes them, if that differs from how they were sent.
    forms: HashMap<u32, Box<[u8]>>,
    pub(super) ok_times: Histogram<u64>,
    question: Option<Question>,
    pub(super) syncing: Syncing,
    pub(super) outcome: NostrOutcome,
}

/// One client's subscriptions.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    subscriptions: Vec<Subscription>,
    /// REQs whose EOSE has not come yet; 1 while it stores events.
    pub(super) awaits: u32,
    pub(super) querying: Querying,
}

#[derive(Debug)]
struct Subscription {
    filter: u32,
    got: Bits,
    /// By publisher: its last event.
    last: Box<[u32]>,
    order_hash: u64,
    has_eose: bool,
    is_closed: bool,
}

/// One thread's results, apart from the counts per client.
#[derive(Debug, Default)]
pub(crate) struct NostrOutcome {
    /// `[warm-up, measured]`, all subscriptions of the thread: events that were to come.
    pub(super) expected: [u64; 2],
    pub(super) lost: [u64; 2],
    /// Events that the relay refused but delivered all the same.
    pub(super) refused_delivered: [u64; 2],
    /// For subscriptions that got everything: the filter and the order.
    pub(super) orders: Vec<(u32, u64)>,
    /// By prefix.
    pub(super) refused: BTreeMap<String, u64>,
    /// Subscriptions, or queries.
    pub(super) closed: BTreeMap<String, u64>,
    pub(super) queries: QueryOutcome,
    pub(super) notices: u64,
    pub(super) texts: Vec<String>,
    pub(super) ok_times: Option<Histogram<u64>>,
    /// Of the thread that queried the stored events.
    pub(super) question: Option<Question>,
    pub(super) syncs: SyncFigures,
}

/// The result of a read.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Bytes of whole frames.
    pub(crate) bytes: usize,
    /// Events of this client's publisher that were answered.
    pub(crate) answers: u32,
    /// Arrivals that will not come because their event was refused.
    pub(crate) withdrawn: u64,
    /// Frames to send back.
    pub(crate) replies: Vec<u8>,
    /// The server sent a Close with this code and reason.
    pub(crate) closed: Option<(u16, String)>,
    /// All subscriptions are live, or all events are stored.
    pub(crate) is_settled: bool,
    /// An event was stored before the run began.
    pub(crate) is_alive: bool,
    /// A subscription or an event was refused before the run began.
    pub(crate) refused: Option<String>,
}

/// Borrowed state while messages are handled.
pub(super) struct Turn<'a> {
    pub(super) place: usize,
    pub(super) client: &'a mut Client,
    pub(super) script: &'a Script,
    pub(super) moment: Moment,
    measure_ns: u64,
    pub(super) tally: &'a mut Tally,
    pub(super) interval: &'a mut Interval,
    pub(super) said: Said,
}

impl Listener {
    pub(crate) fn new() -> Self {
        Self {
            clients: Vec::new(),
            inflater: Inflater::new(MESSAGE_BYTES_MAX),
            forms: HashMap::new(),
            ok_times: histogram::new(),
            question: None,
            syncing: Syncing::default(),
            outcome: NostrOutcome::default(),
        }
    }

    /// The frames that subscribe the client at `place`, which was just upgraded, or that store its
    /// events; empty for one that only publishes.
    pub(crate) fn subscribe(
        &mut self,
        place: usize,
        client: &Client,
        script: &Script,
        now_ns: u64,
    ) -> Vec<u8> {
        if self.clients.len() <= place {
            self.clients.resize_with(place + 1, Hearing::default);
        }
        if script.queries.is_some() {
            return self.store(place, client, script, now_ns);
        }
        let mut frames = Vec::new();
        if client.role != Role::Full {
            return frames;
        }
        let first = client.index * script.per_client;
        let hearing = &mut self.clients[place];
        for number in first..first + script.per_client {
            let filter = script.subscriptions[number as usize];
            let json = script.filter_of(number);
            let head = format!("[\"REQ\",\"{}\",", name_of(number));
            let mask = script.mask();
            append_text(&mut frames, mask, &[head.as_bytes(), json.as_bytes(), b"]"]);
            hearing.subscriptions.push(Subscription {
                filter,
                got: Bits::new(script.events.len()),
                last: vec![NOTHING; script.publishers() as usize].into(),
                order_hash: 0,
                has_eose: false,
                is_closed: false,
            });
        }
        hearing.awaits = script.per_client;
        frames
    }

    /// Whether some subscription of the client at `place` is not live yet, or an event not stored.
    pub(crate) fn awaits(&self, place: usize) -> bool {
        self.clients.get(place).is_some_and(|one| one.awaits > 0)
    }

    /// The frame that asks for the stored events, after a run in which clients publish.
    pub(crate) fn ask(&mut self, script: &Script) -> Option<Vec<u8>> {
        if script.per_client > 0 || script.queries.is_some() || script.syncs.is_some() {
            return None;
        }
        let (question, frame) = Question::new(script);
        self.question = Some(question);
        Some(frame)
    }

    /// Whether the answer to that is still to come.
    pub(crate) fn is_asking(&self) -> bool {
        self.question.as_ref().is_some_and(|one| !one.is_over())
    }

    /// Handles all whole frames of `bytes`, which were read at `moment`.
    ///
    /// # Errors
    /// The offence of the server.
    #[allow(
        clippy::too_many_arguments,
        reason = "what a thread has, apart from its clients"
    )]
    pub(crate) fn take(
        &mut self,
        place: usize,
        client: &mut Client,
        shared: &Shared,
        script: &Script,
        bytes: &[u8],
        moment: Moment,
        (tally, interval): (&mut Tally, &mut Interval),
    ) -> Result<Said, FrameError> {
        let walk = Walk {
            expected_head: &NO_HEAD,
            expected_bytes: 0,
            payload_bytes_max: MESSAGE_BYTES_MAX as u64,
            allows_compressed: client.deflate,
        };
        let before = client.receiver.counts;
        let mut turn = Turn {
            place,
            client,
            script,
            moment,
            measure_ns: shared.times.measure_ns(),
            tally,
            interval,
            said: Said::default(),
        };
        let mut offence = None;
        let walked = walk.each(bytes, |frame| {
            if offence.is_none() {
                offence = self.frame(&frame, &mut turn).err();
            }
        });
        turn.note_progress(&before);
        let mut said = turn.said;
        said.bytes = walked?;
        offence.map_or(Ok(said), Err)
    }

    fn frame(&mut self, frame: &Incoming<'_>, turn: &mut Turn<'_>) -> Result<(), FrameError> {
        match *frame {
            Incoming::Message(_) | Incoming::Pong => {}
            Incoming::Ping(payload) => {
                append_control(
                    &mut turn.said.replies,
                    Control::Pong,
                    turn.script.mask(),
                    payload,
                );
            }
            Incoming::Close { code, reason } => {
                let reason = String::from_utf8_lossy(reason);
                turn.said.closed = Some((code, reason.into_owned()));
            }
            Incoming::Large { kind, is_final } => {
                let whole = Whole {
                    kind,
                    is_final,
                    is_compressed: false,
                    is_large: true,
                };
                self.data(&whole, &[], turn)?;
            }
            Incoming::Data {
                kind,
                is_final,
                is_compressed,
                payload,
            } => {
                let whole = Whole {
                    kind,
                    is_final,
                    is_compressed,
                    is_large: false,
                };
                self.data(&whole, payload, turn)?;
            }
        }
        Ok(())
    }

    /// Joins the frames of a message (RFC 6455 §5.4).
    fn data(
        &mut self,
        frame: &Whole,
        payload: &[u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), FrameError> {
        match (
            frame.kind == Data::Continue,
            turn.client.fragments.is_some(),
        ) {
            (true, false) => return Err(FrameError::Unbegun),
            (false, true) => return Err(FrameError::Unfinished),
            _ => {}
        }
        if frame.is_final && turn.client.fragments.is_none() {
            return self.whole(frame, payload, turn);
        }
        let fragments = turn.client.fragments.get_or_insert_with(|| Fragments {
            is_kind_kept: frame.kind == Data::Text,
            is_compressed: frame.is_compressed,
            is_large: false,
            bytes: Vec::new(),
        });
        fragments.is_large |=
            frame.is_large || fragments.bytes.len() + payload.len() > MESSAGE_BYTES_MAX;
        if !fragments.is_large {
            fragments.bytes.extend_from_slice(payload);
        }
        let Some(whole) = turn.client.fragments.take_if(|_| frame.is_final) else {
            return Ok(());
        };
        let frame = Whole {
            kind: if whole.is_kind_kept {
                Data::Text
            } else {
                Data::Binary
            },
            is_compressed: whole.is_compressed,
            is_large: whole.is_large,
            is_final: true,
        };
        self.whole(&frame, &whole.bytes, turn)
    }

    fn whole(
        &mut self,
        frame: &Whole,
        payload: &[u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), FrameError> {
        if frame.is_large || frame.kind != Data::Text {
            turn.client.receiver.foreign += 1;
            return Ok(());
        }
        if !frame.is_compressed {
            self.message(payload, turn);
            return Ok(());
        }
        turn.tally.compressed += 1;
        let text = self.inflater.whole(payload).ok_or(FrameError::Compressed)?;
        let text = text.to_vec();
        self.message(&text, turn);
        Ok(())
    }

    fn message(&mut self, text: &[u8], turn: &mut Turn<'_>) {
        if let Some(rest) = text.strip_prefix(b"[\"EVENT\",\"")
            && let Some(end) = rest.iter().position(|byte| *byte == b'"')
            && rest.get(end + 1) == Some(&b',')
            && let Some(event) = rest[end + 2..].strip_suffix(b"]")
        {
            let name = std::str::from_utf8(&rest[..end]).unwrap_or_default();
            return self.event(name, event, turn);
        }
        match serde_json::from_slice::<Vec<Value>>(text) {
            Ok(items) => self.said(&items, turn),
            Err(_) => turn.client.receiver.foreign += 1,
        }
    }

    /// Handles every message but an event in the usual encoding.
    fn said(&mut self, items: &[Value], turn: &mut Turn<'_>) {
        let text = |at: usize| items.get(at).and_then(Value::as_str).unwrap_or_default();
        match text(0) {
            "EVENT" => {
                let event = items.get(2).map(Value::to_string).unwrap_or_default();
                self.event(text(1), event.as_bytes(), turn);
            }
            "OK" => {
                let is_taken = items.get(2).and_then(Value::as_bool) == Some(true);
                self.ok(text(1), is_taken, text(3), turn);
            }
            "EOSE" => self.eose(text(1), turn),
            "NEG-MSG" => self.neg(text(1), items.get(2), turn),
            "NEG-ERR" => self.neg_refused(text(1), text(2), turn),
            "CLOSED" => self.closed(text(1), text(2), turn),
            "COUNT" if self.is_asking() && text(1) == stored::NAME => {
                if let (Some(question), Some(answer)) = (&mut self.question, items.get(2)) {
                    question.counted(answer);
                }
            }
            "NOTICE" if self.is_asking() => self.ask_otherwise(turn),
            "NOTICE" => {
                self.outcome.notices += 1;
                self.keep_text("NOTICE", text(1));
            }
            // Includes challenges, which nobody asked for.
            _ => turn.client.receiver.foreign += 1,
        }
    }

    /// The relay does not support the query at the end: try another way.
    fn ask_otherwise(&mut self, turn: &mut Turn<'_>) {
        if let Some(question) = &mut self.question {
            turn.said.replies.extend(question.refused(turn.script));
        }
    }

    pub(super) fn keep_text(&mut self, what: &str, text: &str) {
        if self.outcome.texts.len() < TEXTS_MAX {
            let text: String = text.chars().take(TEXT_CHARS_MAX).collect();
            self.outcome
                .texts
                .push(format!("{what} {}", text.escape_debug()));
        }
    }

    fn subscription(&mut self, name: &str, turn: &Turn<'_>) -> Option<&mut Subscription> {
        let number: u32 = name.strip_prefix(NAME)?.parse().ok()?;
        let first = turn.client.index * turn.script.per_client;
        let at = number.checked_sub(first)?;
        let all = &mut self.clients.get_mut(turn.place)?.subscriptions;
        all.get_mut(at as usize)
    }

    fn eose(&mut self, name: &str, turn: &mut Turn<'_>) {
        if let Some(queries) = &turn.script.queries {
            if !self.answered(name, queries, turn) {
                turn.client.receiver.foreign += 1;
            }
            return;
        }
        if let Some(question) = self.question.as_mut().filter(|_| name == stored::NAME) {
            return question.ended();
        }
        let is_first = match self.subscription(name, turn) {
            Some(subscription) => !std::mem::replace(&mut subscription.has_eose, true),
            None => false,
        };
        if !is_first {
            turn.client.receiver.foreign += 1;
            return;
        }
        let hearing = &mut self.clients[turn.place];
        hearing.awaits -= 1;
        turn.said.is_settled |= hearing.awaits == 0;
    }

    fn closed(&mut self, name: &str, reason: &str, turn: &mut Turn<'_>) {
        if self.is_asking() && name == stored::NAME {
            return self.ask_otherwise(turn);
        }
        if turn.script.queries.is_some() && self.refused(name, reason, turn) {
            return;
        }
        let awaits = self.awaits(turn.place);
        match self.subscription(name, turn) {
            Some(subscription) if !subscription.is_closed => subscription.is_closed = true,
            _ => {
                turn.client.receiver.foreign += 1;
                return;
            }
        }
        if awaits {
            let told = format!(
                "the relay closed subscription {name}: {}",
                reason.escape_debug()
            );
            turn.said.refused = Some(told);
        }
        *self.outcome.closed.entry(prefix_of(reason)).or_default() += 1;
        self.keep_text("CLOSED", reason);
    }

    fn ok(&mut self, id: &str, is_taken: bool, reason: &str, turn: &mut Turn<'_>) {
        if turn.script.queries.is_some() {
            return self.stored(id, is_taken, reason, turn);
        }
        let verdict = match is_taken {
            true => Verdict::Right,
            false => Verdict::Refused(reason),
        };
        match turn.script.number_of(id.as_bytes()) {
            Some(number) => self.settle(number, verdict, turn),
            None => turn.client.receiver.foreign += 1,
        }
    }

    /// Handles the answer to an event, or the end of a synchronization.
    pub(super) fn settle(&mut self, number: u32, verdict: Verdict<'_>, turn: &mut Turn<'_>) {
        let script = turn.script;
        let publisher = turn.client.publisher.as_ref().map(|one| one.number);
        let Some(event) = script.events.get(number as usize) else {
            turn.client.receiver.foreign += 1;
            return;
        };
        let phase = turn.phase_of(event.sending());
        let counts = &mut turn.client.receiver.counts[phase];
        let Some(sending) = event.sending() else {
            counts.early += 1;
            return;
        };
        if publisher != Some(event.publisher()) {
            counts.misrouted += 1;
            return;
        }
        let answer = match verdict {
            Verdict::Right | Verdict::Wrong => Answer::Taken,
            Verdict::Refused(_) => Answer::Refused,
        };
        if !event.answer(answer) {
            counts.repeated += 1;
            return;
        }
        turn.said.answers += 1;
        turn.tally.arrivals += 1;
        turn.tally.seen += 1;
        let took_ns = turn.moment.now_ns.saturating_sub(sending.due_ns);
        if phase == 1 {
            histogram::record(&mut self.ok_times, took_ns);
        }
        match verdict {
            Verdict::Refused(reason) => {
                turn.said.withdrawn += u64::from(event.receivers);
                *self.outcome.refused.entry(prefix_of(reason)).or_default() += 1;
                let what = if script.syncs.is_some() {
                    "NEG-ERR"
                } else {
                    "OK false"
                };
                self.keep_text(what, reason);
            }
            Verdict::Right if script.per_client == 0 => {
                counts.delivered += 1;
                turn.record(phase, &sending);
                turn.note_arrival(phase, event);
            }
            Verdict::Right => {}
            Verdict::Wrong => counts.damaged += 1,
        }
    }

    fn event(&mut self, name: &str, json: &[u8], turn: &mut Turn<'_>) {
        let script = turn.script;
        if let Some(queries) = &script.queries {
            return self.row(name, json, queries, turn);
        }
        let clock_phase = usize::from(turn.moment.now_ns >= turn.measure_ns);
        let (number, is_intact) = match self.read(json, script) {
            Reading::Of(number, is_intact) => (number, is_intact),
            Reading::Damaged => {
                turn.client.receiver.counts[clock_phase].damaged += 1;
                turn.client.receiver.unplaced += 1;
                return;
            }
            Reading::Foreign => {
                turn.client.receiver.foreign += 1;
                return;
            }
        };
        if let Some(question) = self.question.as_mut().filter(|_| name == stored::NAME) {
            return question.came(number);
        }
        let event = &script.events[number as usize];
        let phase = turn.phase_of(event.sending());
        let Some(sending) = event.sending() else {
            turn.client.receiver.counts[phase].early += 1;
            return;
        };
        let subscription = self.subscription(name, turn);
        let counts = &mut turn.client.receiver.counts[phase];
        let Some(subscription) =
            subscription.filter(|one| script.filters[one.filter as usize].events.has(number))
        else {
            counts.misrouted += 1;
            return;
        };
        if !subscription.got.add(number) {
            counts.repeated += 1;
            return;
        }
        let last = &mut subscription.last[event.publisher() as usize];
        if *last != NOTHING && *last > number {
            counts.reordered += 1;
        } else {
            *last = number;
        }
        let hash = subscription.order_hash ^ u64::from(number);
        subscription.order_hash = hash.wrapping_mul(ORDER_FACTOR).rotate_left(23);
        match is_intact {
            true => {
                counts.delivered += 1;
                turn.record(phase, &sending);
                turn.note_arrival(phase, event);
            }
            false => counts.damaged += 1,
        }
    }

    /// Identifies an event.
    fn read(&mut self, json: &[u8], script: &Script) -> Reading {
        let number = id_part(json).and_then(|id| script.number_of(&id));
        if let Some(number) = number {
            let sent = &script.events[number as usize].json;
            let form = self.forms.get(&number).map(|form| &**form);
            if **sent == *json || form == Some(json) {
                return Reading::Of(number, true);
            }
        }
        self.read_slowly(json, number, script)
    }

    /// Identifies an event in another encoding: its id is the hash of the same canonical form.
    #[cold]
    fn read_slowly(&mut self, json: &[u8], number: Option<u32>, script: &Script) -> Reading {
        let text = std::str::from_utf8(json).unwrap_or_default();
        let parsed = ParsedEvent::parse(text).ok();
        let parsed_number = parsed
            .as_ref()
            .and_then(|event| script.number_of(to_hex(&event.id).as_bytes()));
        match (number.or(parsed_number), parsed) {
            (Some(number), Some(event)) if parsed_number == Some(number) => {
                let is_intact =
                    event.check_id().is_ok() && event.into_unverified().verify().is_ok();
                if is_intact {
                    if self.forms.len() >= FORMS_MAX {
                        // Copies of one event arrive close together, so older entries are no longer
                        // needed.
                        self.forms.clear();
                    }
                    self.forms.insert(number, json.into());
                }
                Reading::Of(number, is_intact)
            }
            (Some(number), _) => Reading::Of(number, false),
            (None, _) if text.contains(&script.run) => Reading::Damaged,
            (None, _) => Reading::Foreign,
        }
    }

    /// The thread's results, when the run is over.
    pub(crate) fn finish(mut self, script: &Script, measure_ns: u64) -> NostrOutcome {
        let mut sent = [(); 2].map(|()| Bits::new(script.events.len()));
        let mut refused = Bits::new(script.events.len());
        for (number, event) in (0..).zip(&script.events) {
            match event.sending() {
                Some(_) if event.is_refused() => _ = refused.add(number),
                Some(sending) => _ = sent[usize::from(sending.due_ns >= measure_ns)].add(number),
                None => {}
            }
        }
        let has_refused = refused.any();
        let outcome = &mut self.outcome;
        for subscription in self.clients.iter().flat_map(|one| &one.subscriptions) {
            let wanted = &script.filters[subscription.filter as usize].events;
            let mut lost = 0;
            for (phase, sent) in sent.iter().enumerate() {
                outcome.expected[phase] += Bits::common([wanted, sent]);
                let missing = Bits::missing([wanted, sent], &subscription.got);
                outcome.lost[phase] += missing;
                lost += missing;
            }
            for (number, event) in (0..).zip(&script.events).filter(|_| has_refused) {
                if refused.has(number) && subscription.got.has(number) {
                    let sending = event.sending().map_or(0, |one| one.due_ns);
                    outcome.refused_delivered[usize::from(sending >= measure_ns)] += 1;
                }
            }
            if lost == 0 {
                outcome
                    .orders
                    .push((subscription.filter, subscription.order_hash));
            }
        }
        outcome.ok_times = Some(self.ok_times);
        outcome.question = self.question;
        outcome.syncs = self.syncing.figures;
        self.outcome
    }
}

impl Turn<'_> {
    pub(super) fn phase_of(&self, sending: Option<Sending>) -> usize {
        let at_ns = sending.map_or(self.moment.now_ns, |sending| sending.due_ns);
        usize::from(at_ns >= self.measure_ns)
    }

    /// Records the latency of a first arrival.
    pub(super) fn record(&mut self, phase: usize, sending: &Sending) {
        if phase == 0 {
            return;
        }
        let now_ns = self.moment.now_ns;
        let latency_ns = now_ns.saturating_sub(sending.due_ns);
        self.interval.latency.record(latency_ns, 1);
        self.client.receiver.note_latency(latency_ns, 1);
        let burst = Burst {
            due_ns: sending.due_ns,
            sent_ns: sending.sent_ns,
            is_held: sending.is_held,
            count: 1,
        };
        self.tally.measures.record(&burst, &self.moment);
    }

    fn note_arrival(&self, phase: usize, event: &Signed) {
        if phase == 1 {
            event.arrived(self.moment.now_ns);
        }
    }

    /// Adds the changes of one read to the totals.
    fn note_progress(&mut self, before: &[Counts; 2]) {
        let after = self.client.receiver.counts;
        let sum = |of: fn(&Counts) -> u64| {
            after.iter().map(of).sum::<u64>() - before.iter().map(of).sum::<u64>()
        };
        let delivered = sum(|counts| counts.delivered);
        self.interval.faults += sum(Counts::faults);
        if self.client.role != Role::Full {
            return;
        }
        if self.script.per_client > 0 {
            self.tally.arrivals += delivered + sum(|counts| counts.damaged);
            self.tally.seen += sum(Counts::seen);
        }
        if delivered > 0 {
            self.client.receiver.note_read(self.moment.now_ns);
        }
        if self.moment.now_ns >= self.measure_ns {
            self.interval.received += delivered;
        }
        if after[1].delivered > before[1].delivered {
            self.tally.last_arrival_ns = self.moment.now_ns;
        }
    }
}

/// A frame, or a message joined from fragments.
struct Whole {
    kind: Data,
    is_final: bool,
    is_compressed: bool,
    is_large: bool,
}

/// The answer to an event, or the end of a synchronization.
#[derive(Clone, Copy)]
pub(super) enum Verdict<'a> {
    Right,
    /// The differences that were found are not those of the sets.
    Wrong,
    /// For this reason.
    Refused(&'a str),
}

/// How an incoming event was classified.
enum Reading {
    /// Its number, and whether it is as it was sent.
    Of(u32, bool),
    /// It belongs to this run, but cannot be identified.
    Damaged,
    Foreign,
}

/// A multiplier for 64-bit linear congruential generators (Steele and Vigna, 2021).
const ORDER_FACTOR: u64 = 0xd134_2543_de82_ef95;

/// Prefix of subscription names.
const NAME: &str = "loadgen-";

fn name_of(number: u32) -> String {
    format!("{NAME}{number}")
}

/// The word before the colon (NIP-01), which is meant for programs.
pub(super) fn prefix_of(reason: &str) -> String {
    match reason.split_once(':') {
        Some((prefix, _)) if !prefix.is_empty() && prefix.len() <= 32 => {
            prefix.escape_debug().to_string()
        }
        _ => "none".to_owned(),
    }
}
