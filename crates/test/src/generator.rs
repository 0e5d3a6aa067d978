//! A broadcast server with planted faults, and the generator as a child process.

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Duration;

use flate2::{Compress, Compression, FlushCompress};
use serde_json::Value;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::HeaderValue;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Message, WebSocket};

/// A message on its way to one client.
pub struct Delivery {
    /// Number of the client, in the order of the handshakes.
    pub client: usize,
    /// Number of the message, in the order of arrival.
    pub number: u64,
    pub payload: Vec<u8>,
}

/// Returns the frames to send instead of a delivery.
pub type Fault = Box<dyn FnMut(Delivery) -> Vec<Vec<u8>> + Send>;

/// The behaviour of a server.
pub struct Behaviour {
    pub echo: bool,
    pub fault: Fault,
    /// Accepts this many connections, then closes its listener.
    pub accepts: usize,
    /// A message only goes to clients of the same path.
    pub by_path: bool,
    /// Sent to each client before anything else.
    pub greeting: &'static str,
    /// Send each message in two fragments, with a ping between them.
    pub fragment: bool,
    /// Send text as binary.
    pub binary_out: bool,
    /// Agree to permessage-deflate and compress every message.
    pub deflate: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            echo: true,
            fault: Box::new(|delivery| vec![delivery.payload]),
            accepts: usize::MAX,
            by_path: false,
            greeting: "",
            fragment: false,
            binary_out: false,
            deflate: false,
        }
    }
}

impl Behaviour {
    pub fn with(fault: impl FnMut(Delivery) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self {
            fault: Box::new(fault),
            ..Self::default()
        }
    }
}

enum Input {
    /// A client whose upgrade is about to be confirmed; the last field signals when it was.
    Joined(TcpStream, String, Receiver<()>),
    Message {
        from: SocketAddr,
        is_text: bool,
        payload: Vec<u8>,
    },
}

/// Starts a server and returns its URL. It ends with the test.
pub fn serve(behaviour: Behaviour) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    // Bounded: while the broadcaster is blocked, the server does not read from the clients either.
    let (sender, inputs) = sync_channel(4);
    let (deflate, accepts) = (behaviour.deflate, behaviour.accepts);
    std::thread::spawn(move || broadcast(inputs, behaviour));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten().take(accepts) {
            let sender = sender.clone();
            std::thread::spawn(move || receive(stream, deflate, &sender));
        }
    });
    url
}

fn receive(stream: TcpStream, deflate: bool, sender: &SyncSender<Input>) {
    let Ok(writer) = stream.try_clone() else {
        return;
    };
    let (upgraded, is_upgraded) = channel();
    let mut is_upgraded = Some(is_upgraded);
    // The callback's error is tungstenite's own type.
    #[allow(clippy::result_large_err)]
    let agree = |request: &Request, mut response: Response| {
        // Before the client hears of it, so that no message comes in between.
        let path = request.uri().path().to_owned();
        if let (Ok(writer), Some(is_upgraded)) = (writer.try_clone(), is_upgraded.take()) {
            let _ = writer.set_nodelay(true);
            let _ = sender.send(Input::Joined(writer, path, is_upgraded));
        }
        if deflate {
            let agreed = "permessage-deflate; server_no_context_takeover";
            let headers = response.headers_mut();
            headers.insert("Sec-WebSocket-Extensions", HeaderValue::from_static(agreed));
        }
        Ok(response)
    };
    let Ok(socket) = tungstenite::accept_hdr(stream, agree) else {
        return;
    };
    let _ = upgraded.send(());
    pass_on(socket, &writer, sender);
    // The broadcaster keeps the writer, so only this ends the connection.
    let _ = writer.shutdown(std::net::Shutdown::Both);
}

fn pass_on(
    mut socket: WebSocket<TcpStream>,
    writer: &TcpStream,
    sender: &SyncSender<Input>,
) -> Option<()> {
    let from = writer.peer_addr().ok()?;
    loop {
        let (is_text, payload) = match socket.read().ok()? {
            Message::Text(text) => (true, text.as_bytes().to_vec()),
            Message::Binary(bytes) => (false, bytes.to_vec()),
            _ => continue,
        };
        sender
            .send(Input::Message {
                from,
                is_text,
                payload,
            })
            .ok()?;
    }
}

fn broadcast(inputs: Receiver<Input>, mut behaviour: Behaviour) {
    let mut clients: Vec<Option<(SocketAddr, TcpStream)>> = Vec::new();
    let mut paths: HashMap<SocketAddr, String> = HashMap::new();
    let mut number = 0;
    for input in inputs {
        let (from, kind, payload) = match input {
            Input::Joined(mut stream, path, is_upgraded) => {
                if is_upgraded.recv().is_err() {
                    continue;
                }
                if !behaviour.greeting.is_empty() {
                    let greeting = behaviour.greeting.as_bytes().to_vec();
                    let _ = stream.write_all(&whole(Data::Text, greeting));
                }
                let _ = stream.set_write_timeout(Some(Duration::from_millis(200)));
                if let Ok(address) = stream.peer_addr() {
                    paths.insert(address, path);
                }
                clients.push(stream.peer_addr().ok().map(|address| (address, stream)));
                continue;
            }
            Input::Message {
                from,
                is_text: true,
                payload,
            } => (from, Data::Text, payload),
            Input::Message { from, payload, .. } => (from, Data::Binary, payload),
        };
        let kind = if behaviour.binary_out {
            Data::Binary
        } else {
            kind
        };
        for (client, slot) in clients.iter_mut().enumerate() {
            let Some((address, stream)) = slot else {
                continue;
            };
            let is_elsewhere = behaviour.by_path && paths.get(address) != paths.get(&from);
            if is_elsewhere || !behaviour.echo && *address == from {
                continue;
            }
            let delivery = Delivery {
                client,
                number,
                payload: payload.clone(),
            };
            for out in (behaviour.fault)(delivery) {
                let out = match behaviour.deflate {
                    true => compress(&out),
                    false => out,
                };
                let mut out = match behaviour.fragment {
                    true => split(kind, out),
                    false => whole(kind, out),
                };
                out[0] |= if behaviour.deflate { RSV1 } else { 0 };
                if stream.write_all(&out).is_err() {
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                    *slot = None;
                    break;
                }
            }
        }
        number += 1;
    }
}

/// Marks a message as compressed, in its first frame (RFC 7692 §6).
const RSV1: u8 = 0x40;

fn compress(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 100);
    Compress::new(Compression::fast(), false)
        .compress_vec(message, &mut out, FlushCompress::Sync)
        .expect("room for all");
    // The empty block at the end is not sent (RFC 7692 §7.2.1).
    out.truncate(out.len() - 4);
    out
}

fn whole(kind: Data, payload: Vec<u8>) -> Vec<u8> {
    bytes_of([Frame::message(payload, OpCode::Data(kind), true)])
}

fn split(kind: Data, mut payload: Vec<u8>) -> Vec<u8> {
    let rest = payload.split_off(payload.len() / 3);
    bytes_of([
        Frame::message(payload, OpCode::Data(kind), false),
        Frame::ping(b"between".to_vec()),
        Frame::message(rest, OpCode::Data(Data::Continue), true),
    ])
}

fn bytes_of<const N: usize>(frames: [Frame; N]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        frame.format(&mut bytes).expect("into memory");
    }
    bytes
}

/// The generator's command line.
pub fn loadgen(url: &str, arguments: &str) -> Command {
    let mut command = Command::new(crate::binary("loadgen"));
    command
        .args(["--url", url])
        .args(arguments.split_whitespace());
    command
}

/// Runs the generator to its end.
pub fn run(url: &str, arguments: &str) -> Output {
    loadgen(url, arguments)
        .output()
        .expect("the generator starts")
}

/// Runs the generator and reads its JSON report. Also returns the exit code.
pub fn report(url: &str, arguments: &str) -> (i32, Value) {
    let output = run(url, &format!("{arguments} --output json"));
    let code = output.status.code().expect("not killed");
    let told = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no report ({error}), exit {code}: {told}"));
    (code, report)
}

/// A number in a report, by its path.
pub fn number(report: &Value, path: &str) -> f64 {
    report
        .pointer(path)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("no number at {path} in {report:#}"))
}

/// The findings of a report, except for those that a busy machine causes.
pub fn findings(report: &Value) -> Vec<&Value> {
    let all = report["findings"].as_array().expect("a list").iter();
    all.filter(|finding| finding["kind"] != "generator_held_up")
        .collect()
}

/// A list in a report, by its path.
pub fn list<'a>(report: &'a Value, path: &str) -> &'a [Value] {
    let found = report.pointer(path).and_then(Value::as_array);
    found.unwrap_or_else(|| panic!("no list at {path} in {report:#}"))
}

/// A count of a report, by its JSON pointer.
pub fn count(report: &Value, path: &str) -> u64 {
    number(report, path) as u64
}

/// The errors that a report lists, by name.
pub fn errors(report: &Value) -> Vec<(String, u64)> {
    let all = report["errors"].as_array().expect("a list").iter();
    all.map(|one| {
        let name = one["error"].as_str().expect("a name").to_owned();
        (name, count(one, "/count"))
    })
    .collect()
}

/// The same list with one error.
pub fn error(name: &str, count: u64) -> Vec<(String, u64)> {
    vec![(name.to_owned(), count)]
}
