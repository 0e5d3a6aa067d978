//! A relay of a few lines: published events form a log, and queries search it. It implements NIP-01
//! and, if a test wants that, one fault.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::event::verify;

/// How long a connection waits for a message before it looks for new events.
const TURN: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    None,
    OkTwice,
    TiesByArrival,
    OldestFirst,
    NameUnescaped,
    NoEose,
    NoSignatureCheck,
    NoIdCheck,
    DuplicateSent,
    RequestAdds,
    CloseIgnored,
    LimitHoldsLive,
    OncePerFilter,
    EphemeralStored,
    LastArrivalKept,
    HigherIdKept,
    SinceExclusive,
    AllValuesIndexed,
    AnyCondition,
}

type Log = Arc<Mutex<Vec<Value>>>;

pub(super) struct StandIn {
    pub(super) url: String,
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl StandIn {
    pub(super) fn start(fault: Fault) -> StandIn {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let acceptor = std::thread::spawn(move || {
            let log = Log::default();
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let (log, over) = (Arc::clone(&log), Arc::clone(&over));
                std::thread::spawn(move || serve(stream, log, &over, fault));
            }
        });
        StandIn {
            url: format!("ws://{address}/"),
            address,
            is_over,
            acceptor: Some(acceptor),
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // The acceptor checks the flag once it has a connection.
        let woken = TcpStream::connect(self.address);
        if let (Ok(_), Some(acceptor)) = (woken, self.acceptor.take()) {
            let _ = acceptor.join();
        }
    }
}

fn serve(stream: TcpStream, log: Log, is_over: &AtomicBool, fault: Fault) {
    let timeout = stream.set_nodelay(true);
    let Ok(socket) = tungstenite::accept(stream) else {
        return;
    };
    let set = socket.get_ref().set_read_timeout(Some(TURN));
    timeout.and(set).expect("a socket with a timeout");
    let mut connection = Connection {
        socket,
        log,
        fault,
        subs: BTreeMap::new(),
        sent: 0,
    };
    while !is_over.load(Ordering::Relaxed) && connection.turn().is_some() {}
}

struct Connection {
    socket: WebSocket<TcpStream>,
    log: Log,
    fault: Fault,
    /// The filters of a subscription, and the number of events it got since.
    subs: BTreeMap<String, (Vec<Value>, u64)>,
    /// Events of the log up to here were offered to subscriptions.
    sent: usize,
}

impl Connection {
    /// `None` once the connection is gone.
    fn turn(&mut self) -> Option<()> {
        match self.socket.read() {
            Ok(Message::Text(text)) => self.take(&text)?,
            Ok(_) => {}
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return None,
        }
        self.deliver()
    }

    fn events(&self) -> Vec<Value> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn say(&mut self, message: &Value) -> Option<()> {
        self.socket.send(Message::text(message.to_string())).ok()
    }

    fn take(&mut self, text: &str) -> Option<()> {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let sub = message[1].as_str().unwrap_or_default().to_owned();
        match message[0].as_str() {
            Some("EVENT") => self.publish(&message[1]),
            Some("REQ") => {
                let filters = message.as_array().map_or(&[][..], |parts| &parts[2..]);
                self.request(&sub, filters)
            }
            Some("CLOSE") => {
                if self.fault != Fault::CloseIgnored {
                    self.subs.remove(&sub);
                }
                Some(())
            }
            _ => self.say(&json!(["NOTICE", "invalid: no message"])),
        }
    }

    fn publish(&mut self, event: &Value) -> Option<()> {
        let checked = verify(event).and_then(|()| match event["kind"].as_u64() {
            Some(0..=65_535) => Ok(()),
            _ => Err("kind is too large".to_owned()),
        });
        let checked = match (self.fault, checked) {
            (Fault::NoSignatureCheck, Err(error)) if error.contains("signature") => Ok(()),
            (Fault::NoIdCheck, Err(error)) if error.contains("the id is not") => Ok(()),
            (_, checked) => checked,
        };
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = log.iter().any(|each| each["id"] == event["id"]);
        if checked.is_ok() && (!is_known || self.fault == Fault::DuplicateSent) {
            log.push(event.clone());
        }
        drop(log);
        let answer = match checked {
            Err(error) => json!(["OK", event["id"], false, format!("invalid: {error}")]),
            Ok(()) if is_known => json!(["OK", event["id"], true, "duplicate: known"]),
            Ok(()) => json!(["OK", event["id"], true, ""]),
        };
        self.say(&answer)?;
        if self.fault == Fault::OkTwice {
            self.say(&answer)?;
        }
        Some(())
    }

    fn request(&mut self, sub: &str, filters: &[Value]) -> Option<()> {
        if !(1..=64).contains(&sub.chars().count()) {
            return self.say(&json!(["CLOSED", sub, "invalid: the name"]));
        }
        self.deliver()?;
        let events = self.events();
        self.sent = events.len();
        for event in found(&events, filters, self.fault) {
            self.send_event(sub, &event)?;
        }
        let old = self.subs.remove(sub).map(|(filters, _)| filters);
        let old = old.filter(|_| self.fault == Fault::RequestAdds);
        let filters = [filters, &old.unwrap_or_default()].concat();
        self.subs.insert(sub.to_owned(), (filters, 0));
        match self.fault {
            Fault::NoEose => Some(()),
            _ => self.say(&json!(["EOSE", sub])),
        }
    }

    fn send_event(&mut self, sub: &str, event: &Value) -> Option<()> {
        if self.fault == Fault::NameUnescaped {
            let text = format!("[\"EVENT\",\"{sub}\",{event}]");
            return self.socket.send(Message::text(text)).ok();
        }
        self.say(&json!(["EVENT", sub, event]))
    }

    /// Sends the events published since the last call.
    fn deliver(&mut self) -> Option<()> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let events = log[self.sent..].to_vec();
        drop(log);
        let mut due = Vec::new();
        for event in &events {
            for (sub, (filters, had)) in &mut self.subs {
                let is_matched = |filter: &&Value| {
                    let limit = filter["limit"].as_u64().unwrap_or(u64::MAX);
                    let has_room = *had < limit || self.fault != Fault::LimitHoldsLive;
                    matches(filter, event, self.fault) && has_room
                };
                let times = filters.iter().filter(is_matched).count();
                let once = self.fault != Fault::OncePerFilter;
                for _ in 0..if once { times.min(1) } else { times } {
                    *had += 1;
                    due.push((sub.clone(), event.clone()));
                }
            }
        }
        self.sent += events.len();
        for (sub, event) in due {
            self.send_event(&sub, &event)?;
        }
        Some(())
    }
}

/// The stored events that match, in the order of NIP-01.
fn found(log: &[Value], filters: &[Value], fault: Fault) -> Vec<Value> {
    let mut stored: Vec<&Value> = stored(log, fault);
    let id = |event: &Value| event["id"].to_string();
    match fault {
        Fault::OldestFirst => stored.sort_by_key(|event| event["created_at"].as_u64()),
        Fault::TiesByArrival => stored.sort_by_key(|event| Reverse(event["created_at"].as_u64())),
        _ => stored.sort_by_key(|event| (Reverse(event["created_at"].as_u64()), id(event))),
    }
    let mut is_taken = vec![false; stored.len()];
    for filter in filters {
        let limit = filter["limit"].as_u64().unwrap_or(u64::MAX);
        let matched = (0..stored.len()).filter(|&at| matches(filter, stored[at], fault));
        for at in matched.take(usize::try_from(limit).unwrap_or(usize::MAX)) {
            is_taken[at] = true;
        }
    }
    let taken = stored.into_iter().zip(is_taken);
    let taken = taken.filter(|(_, is_taken)| *is_taken);
    taken.map(|(event, _)| event.clone()).collect()
}

/// Without ephemeral events and replaced versions.
fn stored(log: &[Value], fault: Fault) -> Vec<&Value> {
    let mut regular = Vec::new();
    let mut latest: BTreeMap<String, &Value> = BTreeMap::new();
    for event in log {
        let tags = event["tags"].as_array().map_or(&[][..], Vec::as_slice);
        let d = tags.iter().find(|tag| tag[0] == "d");
        let d = d.and_then(|tag| tag[1].as_str()).unwrap_or_default();
        let d = match event["kind"].as_u64().unwrap_or_default() {
            0 | 3 | 10_000..=19_999 => "",
            30_000..=39_999 => d,
            20_000..=29_999 if fault != Fault::EphemeralStored => continue,
            _ => {
                regular.push(event);
                continue;
            }
        };
        let address = json!([event["pubkey"], event["kind"], d]).to_string();
        let is_later = latest.get(&address).is_none_or(|kept| {
            let time = |event: &Value| event["created_at"].as_u64();
            let id_wins = match fault {
                Fault::HigherIdKept => event["id"].as_str() > kept["id"].as_str(),
                _ => event["id"].as_str() < kept["id"].as_str(),
            };
            let is_tied = time(event) == time(kept);
            time(event) > time(kept) || is_tied && id_wins || fault == Fault::LastArrivalKept
        });
        if is_later {
            latest.insert(address, event);
        }
    }
    regular.extend(latest.into_values());
    regular
}

fn matches(filter: &Value, event: &Value, fault: Fault) -> bool {
    let Some(conditions) = filter.as_object() else {
        return false;
    };
    let created_at = event["created_at"].as_u64();
    let holds = |(name, value): (&String, &Value)| match name.as_str() {
        "ids" => is_among(&event["id"], value),
        "authors" => is_among(&event["pubkey"], value),
        "kinds" => is_among(&event["kind"], value),
        "since" if fault == Fault::SinceExclusive => created_at > value.as_u64(),
        "since" => created_at >= value.as_u64(),
        "until" => created_at <= value.as_u64(),
        "limit" => true,
        tag => {
            let tags = event["tags"].as_array().map_or(&[][..], Vec::as_slice);
            let named = tags.iter().filter(|each| each[0] == tag[1..]);
            let values = named.flat_map(|each| each.as_array().map_or(&[][..], |all| &all[1..]));
            match fault {
                Fault::AllValuesIndexed => values.clone().any(|each| is_among(each, value)),
                _ => tags
                    .iter()
                    .any(|each| each[0] == tag[1..] && is_among(&each[1], value)),
            }
        }
    };
    match fault {
        Fault::AnyCondition => conditions.iter().any(holds),
        _ => conditions.iter().all(holds),
    }
}

fn is_among(value: &Value, list: &Value) -> bool {
    list.as_array().is_some_and(|list| list.contains(value))
}
