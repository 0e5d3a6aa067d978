//! How an event is hashed and returned.

use serde_json::{Value, json};

use super::EVENTS;
use crate::context::Context;
use crate::event::{Draft, Fields, random_hex};
use crate::rules::{Check, Rule, ensure, skipped};

pub(super) const RULES: &[Rule] = &[
    Rule::basic(
        "nip01/id-escapes",
        EVENTS,
        "the seven escaped characters are hashed escaped, in content and tags",
        |context| survives(context, &["\n", "\"", "\\", "\r", "\t", "\u{8}", "\u{c}"]),
    ),
    Rule::basic(
        "nip01/id-controls",
        EVENTS,
        "other control characters are hashed verbatim",
        |context| {
            survives(
                context,
                &[
                    "\0", "\u{1}", "\u{b}", "\u{1b}", "\u{1f}", "\u{7f}", "\u{85}",
                ],
            )
        },
    ),
    Rule::basic(
        "nip01/id-unicode",
        EVENTS,
        "all other characters are hashed verbatim: non-characters, line separators, past the BMP",
        |context| {
            let letters = [
                "ä",
                "\u{2028}",
                "\u{feff}",
                "\u{fdd1}",
                "\u{ffff}",
                "😀",
                "\u{10ffff}",
            ];
            survives(context, &letters)
        },
    ),
    Rule::basic(
        "nip01/id-slash",
        EVENTS,
        "characters that other JSON writers escape are hashed verbatim",
        |context| survives(context, &["/", "</script>", "&", "'", "\u{2029}"]),
    ),
    Rule::basic(
        "nip01/id-escaped-on-the-wire",
        EVENTS,
        "letters that come as \\u escapes are hashed as letters",
        escaped_on_the_wire,
    ),
    Rule::basic(
        "nip01/id-normal-form",
        EVENTS,
        "text is not normalised: composed and decomposed letters differ",
        |context| survives(context, &["\u{e9}", "e\u{301}", "\u{212b}", "\u{ff21}"]),
    ),
    Rule::basic(
        "nip01/blanks-and-order",
        EVENTS,
        "blanks between the fields and their order do not matter",
        blanks_and_order,
    ),
    Rule::basic(
        "nip01/empty-content",
        EVENTS,
        "content and values of tags may be empty",
        |context| survives(context, &[""]),
    ),
    Rule::basic(
        "nip01/long-content",
        EVENTS,
        "a content of 50,000 bytes comes back as it was",
        long_content,
    ),
    Rule::basic(
        "corecast/field-order",
        EVENTS,
        "fields are sent in this order: id, pubkey, created_at, kind, tags, content, sig",
        field_order,
    ),
    Rule::basic(
        "corecast/unknown-fields",
        EVENTS,
        "unknown fields are dropped",
        unknown_fields,
    ),
    Rule::basic(
        "corecast/surrogate",
        EVENTS,
        "a lone surrogate is invalid, in content and in tags",
        surrogate,
    ),
];

/// Events with each of these texts, and with all of them, are accepted and returned unchanged,
/// stored and live.
fn survives(context: &Context, texts: &[&str]) -> Check {
    let mut stage = context.stage()?;
    let mine = stage.mine(json!({}));
    stage.reader.subscribe("live", &[mine])?;
    let all = texts.concat();
    let texts = texts.iter().copied().chain([all.as_str()]);
    for (number, text) in texts.enumerate() {
        let twice = format!("{text}{text}");
        // The number makes each of them a different event.
        let draft = Draft::new(1, &format!("a{text}b"))
            .tag(&["number", &number.to_string()])
            .tag(&["alt", &twice, text])
            .tag(&["t", text]);
        let event = stage
            .publish(draft)
            .map_err(|error| format!("{text:?}: {error}"))?;
        stage.reader.expect_live("live", &event)?;
        let found = stage.publisher.query(&[json!({"ids": [event.id]})])?.events;
        ensure(found == [event.json()], || format!("{text:?}: {found:?}"))?;
    }
    Ok(())
}

fn escaped_on_the_wire(context: &Context) -> Check {
    if context.pow_bits() > 0 {
        return Err(skipped("the relay wants proof of work"));
    }
    let mut stage = context.stage()?;
    let content = "a/b 😀 é\n\u{c}\"";
    let event = stage.sign(Draft::new(1, content).tag(&["t", "aé"]));
    let escaped = r#""\u0061\/b \uD83D\uDE00 \u00e9\u000A\u000c\u0022""#;
    let fields = event.fields();
    let fields = (fields.with("content", escaped)).with("tags", r#"[["\u0074","\u0061\u00E9"]]"#);
    send(&mut stage.publisher, &fields, "")?;
    let found = stage.reader.query(&[json!({"ids": [event.id]})])?.events;
    ensure(found == [event.json()], || format!("{found:?}"))?;
    Ok(())
}

/// Publishes an event that must be accepted.
fn send(client: &mut crate::client::Client, fields: &Fields, between: &str) -> Result<(), String> {
    client.send_text(&format!("[\"EVENT\",{between}{}]", fields.text(between)))?;
    let receipt = client.receipt(fields.id())?;
    ensure(receipt.is_accepted, || {
        format!("refused: {} ({})", receipt.reason, fields.text(between))
    })
}

fn blanks_and_order(context: &Context) -> Check {
    let mut stage = context.stage()?;
    for between in ["", " ", "\n\t \r\n"] {
        let draft = Draft::new(1, &random_hex()).tag(&["t", "x"]).tag(&["e"]);
        let event = stage.sign(draft);
        send(&mut stage.publisher, &event.fields().reversed(), between)?;
        let found = stage.reader.query(&[json!({"ids": [event.id]})])?.events;
        ensure(found == [event.json()], || format!("{found:?}"))?;
    }
    Ok(())
}

fn long_content(context: &Context) -> Check {
    let room = |name: &str| context.limitation(name).and_then(Value::as_u64);
    let names = ["max_message_length", "max_content_length"];
    if (names.iter().filter_map(|name| room(name))).any(|bytes| bytes < 52_000) {
        return Err(skipped("the relay's limitation is less"));
    }
    let mut stage = context.stage()?;
    let event = stage.publish(Draft::new(1, &"é\n".repeat(16_666)))?;
    let found = stage.reader.query(&[json!({"ids": [event.id]})])?.events;
    ensure(found == [event.json()], || "another content".to_owned())?;
    Ok(())
}

/// The text of the message with the event of this id.
fn text_of(client: &mut crate::client::Client, id: &str) -> Result<String, String> {
    client.send_request("text", &[json!({"ids": [id]})])?;
    let answer = client.next()?;
    ensure(answer.verb() == "EVENT", || {
        format!("no EVENT: {}", answer.text)
    })?;
    client.stored("text")?;
    client.close("text")?;
    Ok(answer.text)
}

fn field_order(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let event = stage.sign(Draft::new(1, "x").tag(&["t", "y"]));
    send(&mut stage.publisher, &event.fields().reversed(), " ")?;
    let text = text_of(&mut stage.reader, &event.id)?;
    let names = [
        "id",
        "pubkey",
        "created_at",
        "kind",
        "tags",
        "content",
        "sig",
    ];
    let places = names.map(|name| text.find(&format!("\"{name}\":")));
    let is_sorted = places.iter().all(Option::is_some) && places.is_sorted();
    ensure(is_sorted, || text)?;
    Ok(())
}

fn unknown_fields(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let event = stage.sign(Draft::new(1, &random_hex()));
    let fields = event
        .fields()
        .and("ots", "\"x\"")
        .and("seen", "{\"a\":[1]}");
    send(&mut stage.publisher, &fields, "")?;
    let found = stage.reader.query(&[json!({"ids": [event.id]})])?.events;
    ensure(found == [event.json()], || format!("{found:?}"))?;
    Ok(())
}

fn surrogate(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let at = stage.ago(0).to_string();
    let lone = [
        r#""\ud800""#,
        r#""\uDE00""#,
        r#""\ud83d\u0061""#,
        r#""\ude00\ud83d""#,
    ];
    for text in lone {
        let in_content = Fields::signed(&stage.key, &at, "1", "[]", text);
        let in_tags = Fields::signed(&stage.key, &at, "1", &format!("[[\"t\",{text}]]"), "\"\"");
        for fields in [in_content, in_tags] {
            let refused = stage.publisher.refuse_fields(&fields, "invalid");
            refused.map_err(|error| format!("{text}: {error}"))?;
        }
    }
    stage.publisher.expect_nothing()?;
    Ok(())
}
