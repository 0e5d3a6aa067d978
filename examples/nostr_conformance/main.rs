//! A conformance suite for any Nostr relay, over a socket: a row for each rule, with the paragraph
//! of the NIP that states it.
//!
//! `cargo run --example nostr_conformance -- ws://127.0.0.1:8080/nostr`
//!
//! Rows of optional NIPs run if the relay's document (NIP-11) lists them. Rows whose name begins
//! with `corecast/` are promises of Corecast that the NIPs leave open; `--nips-only` leaves them
//! out, and accepts any standard prefix in a reason. NIP-42 needs the relay's own URL:
//! `--auth-url`, if it differs from the URL used to connect. Keys are new in each run, so the suite
//! can run repeatedly against a relay that keeps events. NIP-13 is tested if the relay requires
//! proof of work. The rows of NIP-86 that manage the relay run if `--admin-key` (or the variable
//! `NOSTR_ADMIN_KEY`) is the secret key of an admin: they ban keys and events of their own.
//!
//! Exit code: 0 if no row failed, 1 if one did, 2 if the relay cannot be reached.

mod client;
mod context;
mod event;
mod http;
mod rows;
mod rules;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::json;

use client::Target;
use context::Context;
use event::Key;
use rules::{Rule, Verdict};

/// Tests whether a Nostr relay follows the NIPs.
#[derive(Parser)]
struct Arguments {
    /// The relay: ws://HOST:PORT/PATH (without TLS).
    #[arg(required_unless_present = "list")]
    url: Option<String>,
    /// The relay's own URL, for AUTH [default: the URL used to connect].
    #[arg(long, value_name = "URL")]
    auth_url: Option<String>,
    /// The secret key of an admin of the relay, 64 hex digits, for NIP-86.
    #[arg(
        long,
        value_name = "HEX",
        env = "NOSTR_ADMIN_KEY",
        hide_env_values = true
    )]
    #[arg(value_parser = secret_key)]
    admin_key: Option<String>,
    /// Only rows whose name begins with this; may be given several times.
    #[arg(long, value_name = "PREFIX")]
    only: Vec<String>,
    /// Also rows of NIPs that the relay does not list.
    #[arg(long)]
    all: bool,
    /// Only rules of the NIPs.
    #[arg(long)]
    nips_only: bool,
    /// Print one line of JSON per row.
    #[arg(long)]
    json: bool,
    /// List the rows and exit.
    #[arg(long)]
    list: bool,
    /// Seconds within which each answer must arrive.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
}

impl Arguments {
    /// The selected rows.
    fn rules(&self) -> Vec<&'static Rule> {
        let is_asked = |rule: &&Rule| {
            let is_named = self.only.iter().any(|prefix| rule.id.starts_with(prefix));
            (is_named || self.only.is_empty()) && !(self.nips_only && rule.is_ours())
        };
        rows::all().into_iter().filter(is_asked).collect()
    }

    fn context(&self, url: &str) -> Context {
        let target = Target {
            url: url.to_owned(),
            deadline: Duration::from_secs(self.timeout.max(1)),
            nips_only: self.nips_only,
        };
        let accept = "Accept: application/nostr+json\r\n";
        let document = http::request(&target, "GET", accept).and_then(|answer| answer.json());
        Context {
            document,
            admin: self.admin_key.as_deref().and_then(Key::of_secret),
            auth_url: self.auth_url.clone().unwrap_or_else(|| url.to_owned()),
            target,
        }
    }
}

/// Accepts a secret key. The error does not repeat it.
fn secret_key(text: &str) -> Result<String, String> {
    match Key::of_secret(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("not a secret key of 64 lower-case hex digits".to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let rules = arguments.rules();
    if arguments.list {
        for rule in &rules {
            println!("{}", described(rule));
        }
        return ExitCode::SUCCESS;
    }
    let url = arguments.url.as_deref().unwrap_or_default();
    let context = arguments.context(url);
    if let Err(error) = context.open_bare() {
        eprintln!("the relay cannot be reached: {error}");
        return ExitCode::from(2);
    }
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for rule in rules {
        let result = look_at(rule, &context, arguments.all);
        match &result {
            Ok(()) => passed += 1,
            Err(Verdict::Failed(_)) => failed += 1,
            Err(Verdict::Skipped(_)) => skipped += 1,
        }
        report(rule, &result, arguments.json);
    }
    if arguments.json {
        println!(
            "{}",
            json!({"passed": passed, "failed": failed, "skipped": skipped})
        );
    } else {
        println!("{passed} ok, {failed} failed, {skipped} skipped");
    }
    ExitCode::from(u8::from(failed > 0))
}

/// A row without its result.
fn described(rule: &Rule) -> String {
    let Rule {
        id,
        nips,
        paragraph,
        text,
        ..
    } = rule;
    format!("{id}: {text} [NIP-{:02}, {paragraph}]", nips[0])
}

/// Runs a row, unless the relay does not claim to support its subject.
fn look_at(rule: &Rule, context: &Context, is_all: bool) -> Result<(), Verdict> {
    let missing = rule
        .nips
        .iter()
        .find(|&&nip| nip != 1 && !context.lists(nip));
    match (missing, &context.document) {
        (Some(_), Err(reason)) if !is_all => {
            return Err(rules::skipped(format!(
                "the relay has no NIP-11 document: {reason}"
            )));
        }
        // The list of NIPs is itself tested by a row of NIP-11.
        (Some(&nip), Ok(_)) if !is_all && nip != 11 => {
            return Err(rules::skipped(format!(
                "the relay's NIP-11 document does not list {nip}"
            )));
        }
        _ => {}
    }
    (rule.check)(context)
}

fn report(rule: &Rule, result: &Result<(), Verdict>, is_json: bool) {
    let (word, reason) = match result {
        Ok(()) => ("ok", None),
        Err(Verdict::Failed(reason)) => ("FAIL", Some(reason)),
        Err(Verdict::Skipped(reason)) => ("skip", Some(reason)),
    };
    if is_json {
        let row = json!({
            "id": rule.id, "nip": rule.nips[0], "paragraph": rule.paragraph, "text": rule.text,
            "result": word.to_ascii_lowercase(), "reason": reason,
        });
        println!("{row}");
        return;
    }
    println!("{word:4} {}", described(rule));
    if let Some(reason) = reason {
        println!("     {reason}");
    }
}
