//! NIP-13: proof of work.

use crate::context::Context;
use crate::event::{Draft, Event};
use crate::rules::{Rule, Verdict, skipped};

const MINING: &str = "Mining";

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "nip13/enough",
        &[13],
        "Proof of Work",
        "an event of min_pow_difficulty is taken",
        |context| {
            let bits = wanted(context)?;
            let stage = context.stage()?;
            let event = Draft::new(1, "").mined(&stage.key, bits, bits);
            let mut publisher = stage.publisher;
            publisher.accept(&event)?;
            Ok(())
        },
    ),
    Rule::new(
        "nip13/too-little",
        &[13],
        "Proof of Work",
        "an event with less than min_pow_difficulty is refused `pow:`",
        |context| {
            let bits = wanted(context)?;
            let stage = context.stage()?;
            let weak = |event: &Event| !event.id.starts_with('0');
            let mut drafts = (0..).map(|number| Draft::new(1, &format!("weak {number}")));
            let event = drafts.find_map(|draft| {
                let draft = draft.tag(&["nonce", "1", &bits.to_string()]);
                Some(draft.signed(&stage.key)).filter(weak)
            });
            let mut publisher = stage.publisher;
            let event = event.ok_or_else(|| "no event".to_owned())?;
            publisher.refuse(&event, "pow")?;
            Ok(())
        },
    ),
    Rule::new(
        "nip13/target-too-low",
        &[13],
        MINING,
        "an event that commits to less than min_pow_difficulty is refused `pow:`",
        |context| {
            let bits = wanted(context)?;
            let stage = context.stage()?;
            let event = Draft::new(1, "").mined(&stage.key, bits, bits - 1);
            let mut publisher = stage.publisher;
            publisher.refuse(&event, "pow")?;
            Ok(())
        },
    ),
];

/// The bits that the relay requires, at least 4 of them.
fn wanted(context: &Context) -> Result<u32, Verdict> {
    let bits = context.pow_bits();
    if bits < 4 {
        return Err(skipped(format!("min_pow_difficulty is {bits}")));
    }
    if bits > 24 {
        return Err(skipped(format!("{bits} bits are too many to mine here")));
    }
    Ok(bits)
}
