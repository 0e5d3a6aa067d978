//! A query as a client sent it.

use std::sync::Arc;

use corecast_nostr::{Filter, Viewer};

/// The filters of a query, and the viewer who sent it.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) filters: Arc<[Arc<Filter>]>,
    pub(super) viewer: Viewer,
}
