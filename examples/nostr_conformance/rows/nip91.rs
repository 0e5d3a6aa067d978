//! NIP-91: filters whose tags must have all values.

use serde_json::json;

use crate::context::Context;
use crate::event::Draft;
use crate::rules::{Check, Rule, same_order};

const RULES_OF: &str = "Rules";

const fn rule(id: &'static str, text: &'static str, check: fn(&Context) -> Check) -> Rule {
    Rule::new(id, &[91], RULES_OF, text, check)
}

pub(super) const RULES: &[Rule] = &[
    rule("nip91/all", "`&t` needs all of its values", all),
    rule(
        "nip91/not-or",
        "values of `&t` are ignored in `#t`",
        |context| found(context, "#t"),
    ),
    rule(
        "corecast/and-live",
        "the same for new events, and an empty list matches nothing",
        live,
    ),
];

fn tagged(values: &[&str]) -> Draft {
    let draft = Draft::new(1, &values.join(" "));
    let tag = |draft: Draft, value: &&str| draft.tag(&["t", value]);
    values.iter().fold(draft, tag)
}

fn all(context: &Context) -> Check {
    found(context, "")
}

fn found(context: &Context, or: &str) -> Check {
    let mut stage = context.stage()?;
    let mut published = Vec::new();
    for (ago, values) in [
        (9, &["meme", "cat", "black"][..]),
        (8, &["meme", "cat"]),
        (7, &["meme", "black"]),
        (6, &["cat", "meme", "white"]),
    ] {
        let draft = tagged(values).at(stage.ago(ago));
        published.push(stage.publish(draft)?);
    }
    let [three, two, _, other] = &published[..] else {
        return Ok(());
    };
    let cases = match or {
        "" => vec![
            (json!({"&t": ["meme", "cat"]}), vec![other, two, three]),
            (json!({"&t": ["meme", "dog"]}), vec![]),
            (json!({"&t": ["meme", "cat", "black"]}), vec![three]),
        ],
        or => vec![
            (
                json!({"&t": ["meme", "cat"], or: ["meme", "cat", "black", "white"]}),
                vec![other, three],
            ),
            (
                json!({"&t": ["meme", "cat"], or: ["meme", "cat"]}),
                vec![other, two, three],
            ),
        ],
    };
    for (filter, due) in cases {
        let found = stage.found(filter.clone())?;
        same_order(&filter.to_string(), &found, &due)?;
    }
    Ok(())
}

fn live(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let filters = [json!({"&t": ["meme", "cat"]}), json!({"&t": []})];
    let filters = filters.map(|filter| stage.mine(filter));
    stage.reader.subscribe("live", &filters)?;
    stage.publish(tagged(&["meme"]))?;
    let both = stage.publish(tagged(&["cat", "meme"]))?;
    stage.reader.expect_live("live", &both)?;
    Ok(stage.reader.expect_nothing()?)
}
