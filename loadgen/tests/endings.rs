//! A relay that goes away, stands still, or lets some clients fall: the report says what happened
//! and when, and whose doing it was.

mod common;
mod stand_in;

use common::{number, report};
use stand_in::StandIn;

#[test]
fn a_connection_that_is_over_costs_no_time() {
    // Of a busy loop the generator would take all that the machine gives it.
    let server = StandIn::with(|hub, message| {
        if message.number == 0 {
            for client in hub.clients() {
                if hub.index(client) == Some(1) {
                    hub.close(client);
                }
            }
        }
        hub.broadcast(message);
    });
    let load = "--clients 8 --publishers 1 --rate 20 --duration 2s --warmup 0";
    let (code, report) = report(&server.url, load);
    assert_eq!((code, number(&report, "/disconnects/reading")), (3, 1.0));
    let share = number(&report, "/generator/cpu_share");
    assert!(share < 0.2, "{share} of a core for 20 messages a second");
}
