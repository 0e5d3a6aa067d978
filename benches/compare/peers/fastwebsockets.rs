//! A peer for the comparison: fastwebsockets, with one broadcast channel for the process.
//!
//! It is written as users who want speed would write it: one thread, the connection split so that a
//! read is never cancelled half way, the writing half buffered, and all messages that wait for a
//! connection written before a single flush. The library gets an upgraded connection, as in its
//! documentation; the upgrade here is a canned one, cheaper than that of hyper, which its `upgrade`
//! feature uses.

use std::sync::Arc;

use fastwebsockets::{
    FragmentCollectorRead, Frame, OpCode, Payload, Role, WebSocket, WebSocketError, WebSocketWrite,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{Receiver, Sender};
use tungstenite::handshake::derive_accept_key;

/// Messages that may wait for the slowest connection before it loses some.
const CHANNEL_MESSAGES: usize = 65_536;
/// Frames over 1 KiB bypass it while it is empty: the library writes them vectored.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
const HEAD_BYTES_MAX: usize = 8 * 1024;

#[derive(Clone)]
struct Message {
    opcode: OpCode,
    payload: Arc<[u8]>,
}

type Writer = WebSocketWrite<BufWriter<OwnedWriteHalf>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let port = std::env::args()
        .nth(1)
        .map_or(Ok(0), |port| port.parse::<u16>())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on {}", listener.local_addr()?);
    let sender = Sender::new(CHANNEL_MESSAGES);
    loop {
        let (stream, _) = listener.accept().await?;
        let sender = sender.clone();
        tokio::spawn(async move {
            // A broken connection does not affect the others.
            let _ = serve(stream, &sender).await;
        });
    }
}

async fn serve(mut stream: TcpStream, sender: &Sender<Message>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    upgrade(&mut stream).await?;
    let mut socket = WebSocket::after_handshake(stream, Role::Server);
    socket.set_auto_close(false);
    socket.set_auto_pong(false);
    let (reader, writer) = socket.split(|stream| {
        let (reader, writer) = stream.into_split();
        (reader, BufWriter::with_capacity(WRITE_BUFFER_BYTES, writer))
    });
    let writing = tokio::spawn(write_all(writer, sender.subscribe()));
    let ended = read_all(FragmentCollectorRead::new(reader), sender).await;
    writing.abort();
    Ok(ended?)
}

/// Answers the upgrade with a canned 101, which is enough for a comparison.
async fn upgrade(stream: &mut TcpStream) -> anyhow::Result<()> {
    const NAME: &[u8] = b"sec-websocket-key:";
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        anyhow::ensure!(head.len() < HEAD_BYTES_MAX, "the head is too long");
        anyhow::ensure!(stream.read_buf(&mut head).await? > 0, "no head");
    }
    let key = head.split(|byte| *byte == b'\n').find_map(|line| {
        let is_key = line.get(..NAME.len())?.eq_ignore_ascii_case(NAME);
        is_key.then(|| line[NAME.len()..].trim_ascii())
    });
    let accept_key = derive_accept_key(key.unwrap_or_default());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept_key}\r\n\r\n"
    );
    Ok(stream.write_all(response.as_bytes()).await?)
}

async fn read_all(
    mut reader: FragmentCollectorRead<OwnedReadHalf>,
    sender: &Sender<Message>,
) -> Result<(), WebSocketError> {
    // Nothing has to be sent: answers to pings and Close frames are switched off.
    let mut answer = |_| async { Ok::<(), WebSocketError>(()) };
    loop {
        let frame = reader.read_frame(&mut answer).await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => {
                let payload = Arc::from(&frame.payload[..]);
                // It fails only without receivers, and this connection is one.
                let _ = sender.send(Message {
                    opcode: frame.opcode,
                    payload,
                });
            }
            _ => {}
        }
    }
}

/// Ends when the connection breaks or was too slow for the channel.
async fn write_all(
    mut writer: Writer,
    mut messages: Receiver<Message>,
) -> Result<(), WebSocketError> {
    while let Ok(message) = messages.recv().await {
        write(&mut writer, &message).await?;
        while let Ok(message) = messages.try_recv() {
            write(&mut writer, &message).await?;
        }
        writer.flush().await?;
    }
    Ok(())
}

async fn write(writer: &mut Writer, message: &Message) -> Result<(), WebSocketError> {
    let payload = Payload::Borrowed(&message.payload);
    let frame = Frame::new(true, message.opcode, None, payload);
    writer.write_frame(frame).await
}
