//! Promises to users of earlier relays, row by row: clients, scripts and pages that were written
//! for one of them, and the bytes that they expect.

mod claims;
mod named;
mod names_at_once;

use corecast_test as support;
