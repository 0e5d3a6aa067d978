//! NIP-45: COUNT, and its HyperLogLog value.

use serde_json::{Value, json};

use crate::client::Client;
use crate::context::Context;
use crate::event::{Draft, Key, bytes_of, hex, random_hex};
use crate::rules::{Check, Rule, ensure, skipped};

const VALUES: &str = "Filters and return values";
const HLL: &str = "HyperLogLog";

const fn rule(
    id: &'static str,
    paragraph: &'static str,
    text: &'static str,
    check: fn(&Context) -> Check,
) -> Rule {
    Rule::new(id, &[45], paragraph, text, check)
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "nip45/count",
        VALUES,
        "COUNT answers with the number of matching events, beyond the limit of a filter too",
        counts,
    ),
    rule(
        "nip45/several",
        VALUES,
        "several filters are counted as one: an event that two of them match counts once",
        several,
    ),
    rule(
        "nip45/refused",
        VALUES,
        "a COUNT that is refused: CLOSED",
        refused,
    ),
    rule(
        "nip45/hll",
        HLL,
        "an `hll` has the registers of the keys, by the offset that the filter's tag gives",
        |context| registers(context, false),
    ),
    rule(
        "corecast/hll",
        HLL,
        "`hll` is there for one filter with one tag of one value, and for no other",
        |context| {
            registers(context, true)?;
            without_value(context)
        },
    ),
];

/// The third element of the answer to a COUNT.
pub(super) fn count(client: &mut Client, filters: &[Value]) -> Result<Value, String> {
    let sub = client.name();
    client.send(&Value::Array(
        [&[json!("COUNT"), json!(sub)], filters].concat(),
    ))?;
    let answer = client.next()?;
    match &answer.parts[..] {
        [verb, of, result] if verb == "COUNT" && *of == json!(sub) => Ok(result.clone()),
        _ => Err(format!("COUNT is due, and came: {}", answer.text)),
    }
}

/// The result has this number, unless it is approximate.
pub(super) fn expect_count(result: &Value, due: usize) -> Check {
    if result["approximate"] == json!(true) {
        return Err(skipped("the relay's counts are approximate"));
    }
    Ok(ensure(result["count"] == json!(due), || {
        format!("{due} is due, and came: {result}")
    })?)
}

fn counts(context: &Context) -> Check {
    let mut stage = context.stage()?;
    for ago in 0..5 {
        stage.note(ago)?;
    }
    for (filter, due) in [
        (json!({}), 5),
        (json!({"limit": 2}), 5),
        (json!({"kinds": [7]}), 0),
        (json!({"until": stage.ago(2)}), 3),
    ] {
        let filter = stage.mine(filter);
        let result = count(&mut stage.reader, &[filter])?;
        expect_count(&result, due)?;
    }
    Ok(())
}

fn several(context: &Context) -> Check {
    let mut stage = context.stage()?;
    for ago in 0..3 {
        stage.note(ago)?;
    }
    let draft = Draft::new(7, "+").tag(&["t", &random_hex()]);
    stage.publish(draft)?;
    let filters = [json!({"kinds": [1]}), json!({}), json!({"kinds": [7]})];
    let filters = filters.map(|filter| stage.mine(filter));
    let result = count(&mut stage.reader, &filters)?;
    expect_count(&result, 4)
}

fn refused(context: &Context) -> Check {
    let mut client = context.open()?;
    let sub = client.name();
    client.send(&json!(["COUNT", sub, {"kinds": ["x"]}]))?;
    Ok(client.expect_closed(&sub, "invalid")?)
}

/// 64 hex digits, random but for the one at position 32.
fn with_digit(digit: char) -> String {
    let random = random_hex();
    format!("{}{digit}{}", &random[..32], &random[33..])
}

/// The registers for some keys, by the text of the NIP.
fn expected(keys: &[Key], offset: usize) -> Result<String, String> {
    let mut registers = [0_u8; 256];
    for key in keys {
        let bytes: [u8; 32] = bytes_of(&key.public).ok_or("a key")?;
        let bits = bytes[offset + 1..]
            .iter()
            .flat_map(|byte| (0..8).map(move |bit| byte >> (7 - bit) & 1));
        let zeros = bits.take_while(|bit| *bit == 0).count();
        let register = &mut registers[usize::from(bytes[offset])];
        *register = (*register).max(zeros as u8 + 1);
    }
    Ok(hex(&registers))
}

fn registers(context: &Context, is_due: bool) -> Check {
    let mut stage = context.stage()?;
    let keys: Vec<Key> = (0..12).map(|_| Key::random()).collect();
    let digits = |digit| with_digit(digit);
    for (tag, value, offset) in [
        ("e", digits('0'), 8),
        ("p", digits('f'), 23),
        ("q", digits('a'), 18),
        ("a", format!("30023:{}:x", digits('7')), 15),
        // SHA-256 of "abc" has a b at position 32.
        ("t", "abc".to_owned(), 19),
    ] {
        let kind =
            1_000 + u32::from_be_bytes(bytes_of(&random_hex()[..8]).unwrap_or_default()) % 3_000;
        for key in &keys {
            let draft = Draft::new(kind, &random_hex()).tag(&[tag, &value]);
            stage.publisher.accept(&context.sign(key, draft))?;
        }
        let authors: Vec<&str> = keys.iter().map(|key| &*key.public).collect();
        let filter = json!({format!("#{tag}"): [value], "kinds": [kind], "authors": authors});
        let result = count(&mut stage.reader, &[filter])?;
        expect_count(&result, keys.len())?;
        match result["hll"].as_str() {
            None if !is_due => return Err(skipped("the relay tells no hll")),
            hll => {
                let due = expected(&keys, offset)?;
                let told = || format!("#{tag} {value}: due {due}, came {hll:?}");
                ensure(hll == Some(&due), told)?;
            }
        }
    }
    Ok(())
}

fn without_value(context: &Context) -> Check {
    let mut stage = context.stage()?;
    stage.note(0)?;
    let one = json!({"#t": ["a"]});
    for filters in [
        vec![stage.mine(json!({}))],
        vec![json!({"#t": ["a", "b"]})],
        vec![json!({"#t": ["a"], "#x": ["a"]})],
        vec![one.clone(), one],
    ] {
        let result = count(&mut stage.reader, &filters)?;
        let told = || format!("{filters:?}: {result}");
        ensure(result.get("hll").is_none(), told)?;
    }
    Ok(())
}
