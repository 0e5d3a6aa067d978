//! A correct relay passes the suite, and each fault is found by the row that states its rule.

mod stand_in;

use std::time::Duration;

use crate::client::Target;
use crate::context::Context;
use crate::look_at;
use crate::rows;
use crate::rules::Verdict;
use stand_in::{Fault, StandIn};

fn context(stand_in: &StandIn, deadline: Duration) -> Context {
    Context {
        target: Target {
            url: stand_in.url.clone(),
            deadline,
            nips_only: false,
        },
        auth_url: stand_in.url.clone(),
        admin: None,
        document: Err("a stand-in has none".to_owned()),
    }
}

/// The result of each row whose name begins with the prefix.
fn results(fault: Fault, prefix: &str, deadline: Duration) -> Vec<(&'static str, Verdict)> {
    let stand_in = StandIn::start(fault);
    let context = context(&stand_in, deadline);
    let asked = rows::all()
        .into_iter()
        .filter(|rule| rule.id.starts_with(prefix));
    let results: Vec<_> = asked
        .map(|rule| (rule.id, look_at(rule, &context, false)))
        .collect();
    assert!(!results.is_empty(), "no row is called {prefix}");
    let failed = results
        .into_iter()
        .filter_map(|(id, result)| Some((id, result.err()?)));
    failed.collect()
}

#[test]
fn a_relay_without_a_fault_passes_all_of_nip_01() {
    let failed = results(Fault::None, "nip01/", Duration::from_secs(20));
    assert_eq!(failed, []);
}

#[test]
fn every_fault_is_found_by_its_row() {
    let rows = [
        (Fault::OkTwice, "nip01/ok-true"),
        (Fault::TiesByArrival, "nip01/ties-by-id"),
        (Fault::OldestFirst, "nip01/newest-first"),
        (Fault::NameUnescaped, "nip01/name-echoed"),
        (Fault::NoSignatureCheck, "nip01/wrong-signature"),
        (Fault::NoIdCheck, "nip01/wrong-id"),
        (Fault::DuplicateSent, "nip01/duplicate-not-sent"),
        (Fault::RequestAdds, "nip01/req-replaces"),
        (Fault::CloseIgnored, "nip01/close"),
        (Fault::LimitHoldsLive, "nip01/live-no-limit"),
        (Fault::OncePerFilter, "nip01/live-once"),
        (Fault::EphemeralStored, "nip01/ephemeral"),
        (Fault::LastArrivalKept, "nip01/replaceable-older"),
        (Fault::HigherIdKept, "nip01/replaceable-tie"),
        (Fault::SinceExclusive, "nip01/filter-time"),
        (Fault::AllValuesIndexed, "nip01/filter-first-value"),
        (Fault::AnyCondition, "nip01/filter-and"),
    ];
    for (fault, row) in rows {
        let failed = results(fault, row, Duration::from_secs(20));
        let is_found = failed.iter().any(|(id, verdict)| {
            let is_failure = matches!(verdict, Verdict::Failed(_));
            *id == row && is_failure
        });
        assert!(is_found, "{fault:?} is not found by {row}: {failed:?}");
    }
}

#[test]
fn an_eose_that_never_comes_is_found_by_the_deadline() {
    let failed = results(
        Fault::NoEose,
        "nip01/filter-ids",
        Duration::from_millis(300),
    );
    let due = Verdict::Failed("no answer in 300ms".to_owned());
    assert_eq!(failed, [("nip01/filter-ids", due)]);
}

#[test]
fn rows_of_nips_that_a_relay_does_not_list_are_skipped() {
    let skipped = results(Fault::None, "nip42/auth", Duration::from_secs(20));
    assert!(
        matches!(skipped[..], [(_, Verdict::Skipped(_))]),
        "{skipped:?}"
    );
}

#[test]
fn names_are_unique_and_say_their_nip() {
    let rules = rows::all();
    let mut ids: Vec<&str> = rules.iter().map(|rule| rule.id).collect();
    for rule in &rules {
        let own = format!("nip{:02}/", rule.nips[0]);
        assert!(rule.is_ours() || rule.id.starts_with(&own), "{}", rule.id);
    }
    ids.sort_unstable();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count);
}
