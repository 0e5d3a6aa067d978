//! The thread that handles requests that no shard can handle alone.
//!
//! It may wait for shards and iterate over all rooms, which a shard must not do. It handles one
//! request at a time, and its queue is bounded, so these requests use at most one core.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError};

use super::error::{ApiError, Code};
use crate::engine::{Answer, DeferredResponse, Handle, Responder};
use crate::limits::API_QUEUE_MAX;
use crate::wire::http::Response;

/// Time that a request may wait for shards, from its turn in the queue on.
const WORK_TIMEOUT: Duration = Duration::from_secs(5);

/// Time that a client waits for its answer at most, including the queue: then the engine answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

type Work = Box<dyn FnOnce(&Handle, Instant) -> Result<Response, ApiError> + Send>;

/// The handle of the thread, which ends when this is dropped.
pub(super) struct Worker {
    queue: Sender<(DeferredResponse, Work)>,
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start(handle: Handle) -> io::Result<Worker> {
        let (sender, queue) = crossbeam_channel::bounded::<(DeferredResponse, Work)>(API_QUEUE_MAX);
        let run = move || {
            for (token, work) in queue {
                let deadline = Instant::now() + WORK_TIMEOUT;
                let done = catch_unwind(AssertUnwindSafe(|| work(&handle, deadline)));
                let failed = |_| Err(ApiError::new(Code::Busy, "the request failed"));
                let response = done.unwrap_or_else(failed);
                token.respond(response.unwrap_or_else(|error| error.response()));
            }
        };
        thread::Builder::new().name("api".to_owned()).spawn(run)?;
        Ok(Worker { queue: sender })
    }

    /// Queues a request, to be answered by `work`, which gets the deadline of its waits.
    pub(super) fn answer(
        &self,
        responder: &mut Responder<'_>,
        work: impl FnOnce(&Handle, Instant) -> Result<Response, ApiError> + Send + 'static,
    ) -> Answer {
        let (answer, token) = responder.response(ANSWER_TIMEOUT);
        let sent = self.queue.try_send((token, Box::new(work)));
        if let Err(TrySendError::Full((token, _)) | TrySendError::Disconnected((token, _))) = sent {
            let error = ApiError::new(Code::Busy, "too many requests are waiting");
            token.respond(error.response());
        }
        answer
    }
}
