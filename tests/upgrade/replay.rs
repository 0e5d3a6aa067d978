//! Captured exchanges with the relay of this build, and how they differ.

use std::collections::BTreeMap;

use corecast_test::client::{
    Answer, BINARY, CLOSE, Client, Frame, TEXT, close_payload, frame, upgrade,
};
use corecast_test::eventually;
use corecast_test::relay::Relay;
use rustix::process::Signal;

use crate::capture::{Exchange, Lines, Said, Step, fits};

/// A difference from the capture, as in a row of `docs/upgrading.md` has it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Difference {
    pub(crate) exchange: String,
    pub(crate) part: String,
    pub(crate) was: String,
    pub(crate) is: String,
}

impl Difference {
    /// Whether this row of the page tells of `found`; its last cell may have `{any}` in it.
    pub(crate) fn tells(&self, found: &Difference) -> bool {
        let same = |of: &Difference| (of.exchange.clone(), of.part.clone(), of.was.clone());
        same(self) == same(found) && fits(&self.is, &found.is)
    }
}

/// Replays one exchange. `true` if the relay was told to stop.
pub(crate) fn replay(relay: &Relay, exchange: &Exchange) -> (Vec<Difference>, bool) {
    let mut stage = Stage {
        relay,
        title: &exchange.title,
        clients: BTreeMap::new(),
        answer: None,
        differences: Vec::new(),
        is_stopped: false,
    };
    for step in &exchange.steps {
        stage.take(step);
    }
    (stage.differences, stage.is_stopped)
}

struct Stage<'r> {
    relay: &'r Relay,
    title: &'r str,
    clients: BTreeMap<String, Client>,
    /// The one that the next `answer` is about.
    answer: Option<Answer>,
    differences: Vec<Difference>,
    is_stopped: bool,
}

impl Stage<'_> {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Open { name, path } => self.open(name, path),
            Step::Sends { name, said } => self.client(name).send(&bytes_of(said)),
            Step::Gets { name, said } => {
                let is = said_by(&self.client(name).frame());
                if is.kind != said.kind || !fits(&said.text, &is.text) {
                    let part = format!("{} to {name}", said.kind);
                    self.differs(&part, &written(said), &written(&is));
                }
            }
            Step::Ask {
                method,
                path,
                lines,
            } => self.ask(&request(method, path, lines)),
            Step::Upgrade { path } => self.ask(&upgrade(path)),
            Step::Answer { status, lines } => self.compare(status, lines),
            Step::Stop => {
                self.relay.signal(Signal::TERM);
                self.is_stopped = true;
            }
        }
    }

    /// The round trip shows that the client is in its room before the next step.
    fn open(&mut self, name: &str, path: &str) {
        let mut client = Client::open(self.relay.address, path);
        client.round_trip();
        self.clients.insert(name.to_owned(), client);
    }

    fn client(&mut self, name: &str) -> &mut Client {
        let client = self.clients.get_mut(name);
        client.unwrap_or_else(|| panic!("{}: {name} has not opened", self.title))
    }

    fn ask(&mut self, request: &str) {
        let mut client = Client::connect(self.relay.address);
        client.send(request.as_bytes());
        self.answer = Some(client.answer());
    }

    fn compare(&mut self, status: &str, lines: &Lines) {
        let answer = self.answer.take().expect("a request comes first");
        if answer.status.to_string() != status {
            self.differs("status", status, &answer.status.to_string());
        }
        for (name, value) in &lines.headers {
            let is = answer.header(name).unwrap_or("-").to_owned();
            if !fits(value, &is) {
                self.differs(name, value, &is);
            }
        }
        let is = String::from_utf8(answer.body).expect("UTF-8");
        if let Some(body) = &lines.body
            && !fits(body, &is)
        {
            self.differs("body", body, &is);
        }
    }

    fn differs(&mut self, part: &str, was: &str, is: &str) {
        let one_line = |text: &str| text.replace('\n', "\\n");
        self.differences.push(Difference {
            exchange: self.title.to_owned(),
            part: part.to_owned(),
            was: one_line(was),
            is: one_line(is),
        });
    }
}

fn request(method: &str, path: &str, lines: &Lines) -> String {
    let headers = lines
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let body = lines.body.as_deref().unwrap_or_default();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: relay\r\n{}Content-Length: {}\r\n\r\n{body}",
        headers.collect::<String>(),
        body.len()
    )
}

fn bytes_of(said: &Said) -> Vec<u8> {
    match said.kind.as_str() {
        "text" => frame(TEXT, said.text.as_bytes()),
        "binary" => frame(BINARY, said.text.as_bytes()),
        "close" => frame(CLOSE, &close_payload(code_of(&said.text), "")),
        other => panic!("no kind of message: {other}"),
    }
}

fn code_of(text: &str) -> u16 {
    text.parse().expect("a close code")
}

/// Of a Close frame the code counts: the reason is for people.
fn said_by(frame: &Frame) -> Said {
    let text = String::from_utf8_lossy(&frame.payload).into_owned();
    let (kind, text) = match frame.opcode {
        TEXT => ("text", text),
        BINARY => ("binary", text),
        CLOSE => match frame.payload[..] {
            [high, low, ..] => ("close", u16::from_be_bytes([high, low]).to_string()),
            _ => ("close", "1005".to_owned()),
        },
        _ => ("control", text),
    };
    Said {
        kind: kind.to_owned(),
        text,
    }
}

fn written(said: &Said) -> String {
    format!("{} {}", said.kind, said.text)
}

/// Waits until nobody is connected, as at the beginning of each capture.
pub(crate) fn expect_nobody(relay: &Relay) {
    eventually("nobody is connected", || {
        let mut client = Client::connect(relay.admin);
        client.send(b"GET /metrics HTTP/1.1\r\nHost: relay\r\n\r\n");
        let metrics = String::from_utf8(client.answer().body).expect("UTF-8");
        metrics.contains("\nwebsocket_connected_clients 0\n")
    });
}
