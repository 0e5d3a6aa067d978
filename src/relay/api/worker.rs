//! The thread that answers what no shard can answer by itself.
//!
//! It may wait for shards, and look through all rooms; a shard may do neither. It takes one request
//! at a time, and the queue is bounded, so what back ends ask costs the relay at most one core.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError};

use super::error::{ApiError, Code};
use crate::engine::{Answer, DeferredResponse, Handle, Responder};
use crate::limits::API_QUEUE_MAX;
use crate::wire::http::Response;

/// How long a request may wait for shards once its turn has come.
const WORK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client waits at most, the queue included: then the engine gives up for it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

type Work = Box<dyn FnOnce(&Handle, Instant) -> Result<Response, ApiError> + Send>;

/// The way to the thread, which ends when this is dropped.
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

    /// Has the request answered by `work`, which gets the time until which it may wait.
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
