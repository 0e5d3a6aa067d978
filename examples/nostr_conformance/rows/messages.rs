//! Messages that are not part of the protocol. The NIPs define no rules for NOTICE.

use serde_json::json;
use tungstenite::Message;

use super::TO_CLIENT;
use crate::context::Context;
use crate::rules::{Check, Rule};

pub(super) const RULES: &[Rule] = &[
    Rule::basic(
        "corecast/notice-garbage",
        TO_CLIENT,
        "text that is no JSON array with a verb is answered NOTICE `invalid:`, without a close",
        |context| {
            noticed(
                context,
                &[
                    "hello",
                    "{}",
                    "[",
                    "[]",
                    "null",
                    "5",
                    "\"REQ\"",
                    "[1]",
                    "[null]",
                    "[\"REQ\"",
                    "[\"CLOSE\",\"a\"] x",
                    "[[\"CLOSE\",\"a\"]]",
                    "\u{feff}[\"CLOSE\",\"a\"]",
                ],
            )
        },
    ),
    Rule::basic(
        "corecast/notice-verb",
        TO_CLIENT,
        "an unknown verb is answered NOTICE `invalid:`",
        |context| {
            noticed(
                context,
                &["[\"FOO\"]", "[\"event\",{}]", "[\"\"]", "[\"EOSE\",\"a\"]"],
            )
        },
    ),
    Rule::basic(
        "corecast/notice-binary",
        TO_CLIENT,
        "a binary message is answered NOTICE `invalid:`, whatever it says",
        binary,
    ),
    Rule::basic(
        "corecast/notice-deep",
        TO_CLIENT,
        "JSON that is nested 20,000 deep is answered NOTICE `invalid:`",
        |context| {
            let open = "[".repeat(20_000);
            let closed = format!("{open}{}", "]".repeat(20_000));
            noticed(context, &[&open, &closed])
        },
    ),
    Rule::basic(
        "corecast/notice-sub",
        TO_CLIENT,
        "REQ and CLOSE without a name that is a string are answered NOTICE `invalid:`",
        |context| {
            noticed(
                context,
                &[
                    "[\"REQ\"]",
                    "[\"REQ\",5,{}]",
                    "[\"REQ\",null,{}]",
                    "[\"REQ\",{}]",
                    "[\"CLOSE\"]",
                    "[\"CLOSE\",5]",
                    "[\"CLOSE\",null]",
                ],
            )
        },
    ),
    Rule::basic("corecast/blank", TO_CLIENT, "blank text is ignored", blank),
    Rule::basic(
        "corecast/blanks-around",
        TO_CLIENT,
        "blanks around and in a message do not matter",
        blanks_around,
    ),
];

fn noticed(context: &Context, texts: &[&str]) -> Check {
    let mut client = context.open()?;
    for text in texts {
        client.send_text(text)?;
        let notice = client.expect_notice("invalid");
        notice.map_err(|error| format!("{text:.40}: {error}"))?;
    }
    client.expect_nothing()?;
    Ok(())
}

fn binary(context: &Context) -> Check {
    let mut client = context.open()?;
    for bytes in [&b"\x00\xff"[..], b"", b"[\"REQ\",\"a\",{\"limit\":1}]"] {
        client.send_message(Message::binary(bytes.to_vec()))?;
        client.expect_notice("invalid")?;
    }
    client.expect_nothing()?;
    Ok(())
}

fn blank(context: &Context) -> Check {
    let mut client = context.open()?;
    for text in ["", " ", "\n", " \r\n\t "] {
        client.send_text(text)?;
    }
    client.expect_nothing()?;
    Ok(())
}

fn blanks_around(context: &Context) -> Check {
    let mut client = context.open()?;
    let filter = json!({"ids": [crate::event::random_hex()]});
    client.send_text(&format!(" \n[ \"REQ\" ,\t\"blanks\" , {filter} ]\r\n"))?;
    client.stored("blanks")?;
    client.expect_nothing()?;
    Ok(())
}
