//! A peer for the comparison: tokio-tungstenite, with one broadcast channel for the process.
//!
//! It is written as its users would who want it fast: one thread, one task per connection, and
//! every message that is waiting for a connection is fed before the one flush.

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

/// Messages that wait for the slowest connection before it loses some.
const CHANNEL_MESSAGES: usize = 65_536;
/// The read buffer is filled with zeros before each attempt to read, a vain one too: with the
/// default of 128 KiB that alone was more than half of the CPU time.
const READ_BUFFER_BYTES: usize = 8 * 1024;

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
            // A connection that breaks concerns nobody else.
            let _ = serve(stream, &sender).await;
        });
    }
}

async fn serve(stream: TcpStream, sender: &Sender<Message>) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let mut socket = accept_async_with_config(stream, Some(config)).await?;
    let mut messages = sender.subscribe();
    loop {
        tokio::select! {
            incoming = socket.next() => match incoming {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                    // It fails where nobody listens, and this connection does.
                    let _ = sender.send(message);
                }
                Some(Ok(Message::Close(_))) => return socket.close(None).await,
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
            received = messages.recv() => match received {
                Ok(message) => forward(&mut socket, &mut messages, message).await?,
                Err(broadcast::error::RecvError::Lagged(_)) => return socket.close(None).await,
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
        }
    }
}

/// Feeds `first` and all that waits behind it, then flushes once.
async fn forward(
    socket: &mut WebSocketStream<TcpStream>,
    messages: &mut Receiver<Message>,
    first: Message,
) -> Result<(), Error> {
    socket.feed(first).await?;
    while let Ok(message) = messages.try_recv() {
        socket.feed(message).await?;
    }
    socket.flush().await
}
