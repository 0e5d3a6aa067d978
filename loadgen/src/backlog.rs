//! Reads the backlogs of the clients that never read.
//!
//! While a socket's receive buffer is full, not even the end of the connection arrives. So when the
//! measurement is over their backlog is read at last: after it comes the server's Close, or the end
//! of the stream, or nothing if the relay tolerated them.

use std::time::{Duration, Instant};

use crate::client::{Client, End};
use crate::frames::{Incoming, Walk};
use crate::plan::Role;

/// Time limit for all these clients of a thread together.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(1);

/// Reads the backlogs, and closes the clients whose server has closed, as of `now_ns`.
pub(crate) fn look_for_ends(
    clients: &mut [Client],
    buffer: &mut [u8],
    walk: Walk<'_>,
    now_ns: u64,
) {
    let until = Instant::now() + PATIENCE;
    let is_pending = |client: &Client| client.role == Role::Stalled && client.is_open();
    while clients.iter().any(is_pending) && Instant::now() < until {
        let mut is_quiet = true;
        for client in clients.iter_mut().filter(|client| is_pending(client)) {
            match read_backlog(client, buffer, walk) {
                Ok(something) => is_quiet &= !something,
                Err(end) => client.close(end, now_ns),
            }
        }
        if is_quiet {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Reads once. Returns true if there was data, and an error at the end of the stream.
fn read_backlog(client: &mut Client, buffer: &mut [u8], walk: Walk<'_>) -> Result<bool, End> {
    let kept = client.inbox.len();
    buffer[..kept].copy_from_slice(&client.inbox);
    let count = match client.read(buffer, kept, false) {
        Ok(None) => return Ok(false),
        Ok(Some(opened)) if opened.bytes == 0 => return Err(End::broken()),
        Ok(Some(opened)) => opened.bytes,
        Err(error) => return Err(error.into()),
    };
    let mut closed = None;
    let bytes = client.unskipped(&buffer[..kept + count]);
    let walked = walk.each(bytes, |frame| {
        if let Incoming::Close { code, reason } = frame {
            closed = Some(End::closed(code, &String::from_utf8_lossy(reason)));
        }
    });
    client.keep(bytes, walked?);
    closed.map_or(Ok(true), Err)
}
