//! The lock-free protocols of Corecast under [loom], which runs a model in every interleaving and
//! with every value that the memory model lets a load return.
//!
//! The files under test are compiled a second time here, with loom's atomics (`sync`) in place of
//! the standard ones, so that no other crate needs a flag. Each model is a function for [`check`];
//! the tests beside this crate run them, and run them again [without fences](check_without_fences),
//! or with a step left out, to show that the models can fail.

#[path = "../../../crates/engine/src/fanout/tickets.rs"]
#[allow(dead_code, unreachable_pub, reason = "the models need a part of it")]
mod tickets;

#[path = "../../../crates/engine/src/exchange/sleep.rs"]
#[allow(dead_code, unreachable_pub, reason = "the models need a part of it")]
mod sleep;

pub mod blocked;
pub mod closed;
pub mod join;
mod sync;
pub mod wake;

/// Runs `model` in every interleaving with at most three preemptions, which loom's authors expect
/// to find all but the most contrived bugs; panics if one fails or never ends.
pub fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Likewise, with the fences of the files under test left out.
pub fn check_without_fences(model: impl Fn() + Send + Sync + 'static) {
    sync::leave_out_fences(|| check(model));
}
