//! NIP-09: deletion requests.

use serde_json::json;

use crate::context::{Context, Stage};
use crate::event::{Draft, Event, Key, random_hex};
use crate::rules::{Check, Rule, same_order};

const TOP: &str = "Event Deletion Request";
const OF_DELETIONS: &str = "Deletion Request of a Deletion Request";
const DELETION: u32 = 5;
const ARTICLE: u32 = 30_023;

const fn rule(
    id: &'static str,
    paragraph: &'static str,
    text: &'static str,
    check: fn(&Context) -> Check,
) -> Rule {
    Rule::new(id, &[9], paragraph, text, check)
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "nip09/event",
        TOP,
        "an event is not served after its author has deleted it by id",
        event,
    ),
    rule(
        "nip09/address",
        TOP,
        "`a`: all versions up to the deletion's created_at; a newer one is accepted",
        address,
    ),
    rule(
        "nip09/address-replaceable",
        TOP,
        "`a` of a replaceable kind, with an empty d",
        replaceable,
    ),
    rule(
        "nip09/served",
        TOP,
        "the deletion itself is sent, and served from then on",
        served,
    ),
    rule(
        "nip09/other-author",
        TOP,
        "a deletion by another key has no effect, by id or by address",
        other_author,
    ),
    rule(
        "nip09/deletion",
        OF_DELETIONS,
        "a deletion of a deletion has no effect",
        of_a_deletion,
    ),
    rule(
        "corecast/deleted-before",
        TOP,
        "an event that comes after its deletion: OK false, `blocked:`",
        deleted_before,
    ),
    rule(
        "corecast/deleted-since",
        TOP,
        "an event that was deleted since it was published is no duplicate: OK false, `blocked:`",
        deleted_since,
    ),
    rule(
        "corecast/deleted-newest",
        TOP,
        "if the newest version is deleted no older one takes its place",
        newest,
    ),
    rule(
        "corecast/deletion-malformed",
        TOP,
        "malformed `e` and `a` tags of a deletion are ignored, the others count",
        malformed,
    ),
    Rule::new(
        "corecast/deleted-count",
        &[9, 45],
        TOP,
        "deleted events are not counted",
        counted,
    ),
    Rule::new(
        "corecast/deleted-wrap",
        &[9, 59, 42],
        TOP,
        "the recipient of a gift wrap may delete it, others may not",
        wrap,
    ),
];

fn deletion(stage: &Stage<'_>, ago: u64, targets: &[&Event]) -> Draft {
    let draft = Draft::new(DELETION, "").at(stage.ago(ago));
    let by_id = |draft: Draft, target: &&Event| draft.tag(&["e", &target.id]);
    targets.iter().fold(draft, by_id)
}

fn article(stage: &Stage<'_>, ago: u64, d: &str) -> Draft {
    let draft = Draft::new(ARTICLE, &random_hex()).at(stage.ago(ago));
    draft.tag(&["d", d])
}

fn event(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let [first, second, third] = [stage.note(30)?, stage.note(20)?, stage.note(10)?];
    let draft = deletion(&stage, 5, &[&first, &third]);
    stage.publish(draft)?;
    let notes = stage.found(json!({"kinds": [1]}))?;
    same_order("what is left", &notes, &[&second])?;
    let by_id = json!({"ids": [first.id, second.id, third.id]});
    let found = stage.reader.found(&[by_id])?;
    Ok(same_order("by id", &found, &[&second])?)
}

fn address(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mut published = Vec::new();
    for (ago, d) in [(40, "a"), (40, "b"), (40, ""), (10, "c")] {
        let draft = article(&stage, ago, d);
        published.push(stage.publish(draft)?);
    }
    let addresses = ["a", "", "c"].map(|d| format!("{ARTICLE}:{}:{d}", stage.key.public));
    let draft = Draft::new(DELETION, "").at(stage.ago(20));
    let by_address = |draft: Draft, text: &String| draft.tag(&["a", text]);
    stage.publish(addresses.iter().fold(draft, by_address))?;
    let found = stage.found(json!({"kinds": [ARTICLE]}))?;
    same_order("what is left", &found, &[&published[3], &published[1]])?;
    let draft = article(&stage, 5, "a");
    let newer = stage.publish(draft)?;
    let found = stage.found(json!({"kinds": [ARTICLE], "#d": ["a"]}))?;
    Ok(same_order("a newer version", &found, &[&newer])?)
}

fn replaceable(context: &Context) -> Check {
    let mut stage = context.stage()?;
    for kind in [0, 10_002] {
        let draft = Draft::new(kind, &random_hex()).at(stage.ago(20));
        stage.publish(draft)?;
        let address = format!("{kind}:{}:", stage.key.public);
        let draft = Draft::new(DELETION, "").at(stage.ago(10));
        stage.publish(draft.tag(&["a", &address]))?;
        let found = stage.found(json!({"kinds": [kind]}))?;
        same_order(&format!("kind {kind}"), &found, &[])?;
    }
    Ok(())
}

fn served(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let note = stage.note(10)?;
    let mine = stage.mine(json!({"limit": 0}));
    stage.reader.subscribe("live", &[mine])?;
    let draft = deletion(&stage, 5, &[&note]);
    let deletion = stage.publish(draft)?;
    stage.reader.expect_live("live", &deletion)?;
    stage.reader.close("live")?;
    for filter in [json!({"kinds": [DELETION]}), json!({"#e": [note.id]})] {
        let found = stage.found(filter)?;
        same_order("the deletion", &found, &[&deletion])?;
    }
    Ok(())
}

fn other_author(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let note = stage.note(30)?;
    let draft = article(&stage, 20, "x");
    let article = stage.publish(draft)?;
    let address = format!("{ARTICLE}:{}:x", stage.key.public);
    let draft = deletion(&stage, 5, &[&note, &article]);
    let foreign = context.sign(&Key::random(), draft.tag(&["a", &address]));
    // A relay may refuse it, too.
    stage.publisher.publish(&foreign)?;
    let found = stage.found(json!({}))?;
    same_order("all", &found, &[&article, &note])?;
    let draft = deletion(&stage, 4, &[&foreign]);
    stage.publish(draft)?;
    let found = stage.found(json!({"kinds": [1, ARTICLE]}))?;
    Ok(same_order("all", &found, &[&article, &note])?)
}

fn of_a_deletion(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let note = stage.note(30)?;
    let draft = deletion(&stage, 20, &[&note]);
    let first = stage.publish(draft)?;
    let undo = context.sign(&stage.key, deletion(&stage, 10, &[&first]));
    stage.publisher.publish(&undo)?;
    stage.publisher.publish(&note)?;
    let found = stage.found(json!({"ids": [note.id, first.id]}))?;
    Ok(same_order("the first deletion", &found, &[&first])?)
}

fn deleted_before(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let note = stage.sign(Draft::new(1, &random_hex()).at(stage.ago(30)));
    let old = stage.sign(article(&stage, 30, "x"));
    let address = format!("{ARTICLE}:{}:x", stage.key.public);
    let draft = deletion(&stage, 20, &[&note]);
    stage.publish(draft.tag(&["a", &address]))?;
    for event in [&note, &old] {
        stage.publisher.refuse(event, "blocked")?;
    }
    let found = stage.found(json!({"kinds": [1, ARTICLE]}))?;
    Ok(same_order("what was deleted", &found, &[])?)
}

fn deleted_since(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let note = stage.note(30)?;
    let mut other = context.open()?;
    other.accept(&note)?;
    let draft = deletion(&stage, 20, &[&note]);
    stage.publish(draft)?;
    stage.publisher.refuse(&note, "blocked")?;
    Ok(other.refuse(&note, "blocked")?)
}

fn newest(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let [old, new] = [30, 20].map(|ago| stage.sign(article(&stage, ago, "x")));
    stage.publisher.accept(&new)?;
    let draft = deletion(&stage, 10, &[&new]);
    stage.publish(draft)?;
    let receipt = stage.publisher.publish(&old)?;
    if receipt.is_accepted {
        return Err("the older version is accepted".to_owned().into());
    }
    let found = stage.found(json!({"kinds": [ARTICLE]}))?;
    Ok(same_order("all versions", &found, &[])?)
}

fn malformed(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let note = stage.note(30)?;
    let draft = article(&stage, 20, "x");
    let article = stage.publish(draft)?;
    let (key, id) = (&stage.key.public, &article.id);
    let upper = id.to_uppercase();
    let bad = [
        vec!["e"],
        vec!["e", ""],
        vec!["e", &upper],
        vec!["E", id],
        vec!["a", key],
        vec!["a", "::"],
    ];
    let bad_addresses = [
        format!("{ARTICLE}:{key}"),
        format!("0{ARTICLE}:{key}:x"),
        format!("{ARTICLE}:{}:x", key.to_uppercase()),
        format!("70000:{key}:x"),
    ];
    let mut draft = Draft::new(DELETION, "").at(stage.ago(5));
    for tag in &bad {
        draft = draft.tag(tag);
    }
    for address in &bad_addresses {
        draft = draft.tag(&["a", address]);
    }
    stage.publish(draft.tag(&["e", &note.id]))?;
    let found = stage.found(json!({"kinds": [1, ARTICLE]}))?;
    Ok(same_order("what is left", &found, &[&article])?)
}

fn counted(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let [first, _] = [stage.note(30)?, stage.note(20)?];
    let draft = deletion(&stage, 5, &[&first]);
    stage.publish(draft)?;
    let filter = stage.mine(json!({"kinds": [1]}));
    let answer = super::nip45::count(&mut stage.reader, &[filter])?;
    super::nip45::expect_count(&answer, 1)
}

fn wrap(context: &Context) -> Check {
    const WRAP: u32 = 1059;
    let mut stage = context.stage()?;
    let recipient = Key::random();
    let draft = Draft::new(WRAP, &random_hex()).at(stage.ago(20));
    let wrap = stage.publish(draft.tag(&["p", &recipient.public]))?;
    let mut reader = context.authenticated(&[&recipient])?;
    let by_id = [json!({"ids": [wrap.id]})];
    for (key, due) in [(Key::random(), vec![&wrap]), (recipient, vec![])] {
        let event = context.sign(&key, deletion(&stage, 10, &[&wrap]));
        stage.publisher.publish(&event)?;
        same_order("the wrap", &reader.found(&by_id)?, &due)?;
    }
    Ok(stage.publisher.refuse(&wrap, "blocked")?)
}
