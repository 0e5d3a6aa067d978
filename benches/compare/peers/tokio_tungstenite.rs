//! A peer for the comparison: tokio-tungstenite, with one broadcast channel for the process.
//!
//! It is written as users who want speed would write it: one thread, one task per connection, and
//! all messages that wait for a connection are fed before a single flush.

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

/// Messages that may wait for the slowest connection before it loses some.
const CHANNEL_MESSAGES: usize = 65_536;
/// The read buffer is zeroed before each attempt to read, even one that reads nothing: with the
/// default of 128 KiB this alone took more than half of the CPU time.
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
            // A broken connection does not affect the others.
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
                    // It fails only without receivers, and this connection is one.
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

/// Feeds `first` and all messages that wait behind it, then flushes once.
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
