//! COUNT (NIP-45): its HyperLogLog value, and its steps.

use serde_json::{Value, json};

use crate::hand_over::Stage;
use crate::{Nostrich, Relay, event, key};

fn count(client: &mut Nostrich, filters: &[Value]) -> Value {
    let message = [&[json!("COUNT"), json!("c")], filters].concat();
    client.say(&Value::Array(message));
    let answer = client.hear();
    assert_eq!((&answer[0], &answer[1]), (&json!("COUNT"), &json!("c")));
    answer[2].clone()
}

/// The registers of a value.
fn registers(answer: &Value) -> Vec<u8> {
    let hex = answer["hll"].as_str().expect("a value");
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("digits");
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[test]
fn a_count_by_one_tag_has_a_hyperloglog_value() {
    let relay = Relay::start();
    let mut client = relay.open();
    // The digit at position 32 is f: offset 23.
    let target = format!("{}f{}", "5".repeat(32), "5".repeat(31));
    for secret in 1..=20 {
        client.expect_taken(&event(secret, 7, 50, &[&["e", &target]]));
        client.expect_taken(&event(secret, 7, 40, &[&["e", &target]]));
    }
    let answer = count(&mut client, &[json!({"kinds": [7], "#e": [target]})]);
    assert_eq!(answer["count"], 40);
    assert_eq!(answer.get("approximate"), None);
    let mut due = vec![0_u8; 256];
    for secret in 1..=20 {
        let key = crate::signer(secret).public_key();
        let rest = u64::from_be_bytes(key[24..].try_into().expect("8 bytes"));
        let register = &mut due[usize::from(key[23])];
        *register = (*register).max(rest.leading_zeros() as u8 + 1);
    }
    assert_eq!(registers(&answer), due);
    for filters in [
        vec![json!({"kinds": [7]})],
        vec![json!({"#e": [target, key(1)]})],
        vec![json!({"#e": [target], "#p": [target]})],
        vec![json!({"#e": [target]}), json!({"#e": [target]})],
    ] {
        let answer = count(&mut client, &filters);
        assert_eq!(answer.get("hll"), None, "{filters:?}");
    }
}

/// A store of pages of two rows shows the steps. A query of another client comes in between.
#[test]
fn a_long_count_lets_other_queries_in_between() {
    let stage = Stage::with(|settings| settings.readers = 1);
    let (mut counter, mut reader) = (stage.relay.open(), stage.relay.open());
    (0..9).for_each(|ago| counter.expect_taken(&event(1, 1, ago, &[&["t", "x"]])));
    let [both, other] = [json!({"#t": ["x"]}), json!({"kinds": [1]})];
    counter.say(&json!(["COUNT", "c", both, other]));
    stage.await_reads(1);
    reader.req("s", &[json!({"limit": 1})]);
    // The relay has read the REQ, so its job waits: NOTICE is the answer to the next message.
    reader.say(&json!(["NONE"]));
    assert_eq!(reader.hear()[0], "NOTICE");
    stage.let_read(1);
    stage.await_reads(2);
    stage.let_read(1);
    assert_eq!(reader.stored("s").0.len(), 1);
    assert!(stage.reads() <= 3, "the count is not over");
    stage.let_read(10);
    let answer = counter.hear();
    assert_eq!(answer, json!(["COUNT", "c", {"count": 9}]));
}

#[test]
fn a_count_past_the_bound_is_approximate_and_has_no_value() {
    let stage = Stage::with(|settings| settings.count_max = 4);
    let mut client = stage.relay.open();
    (0..9).for_each(|ago| client.expect_taken(&event(1, 1, ago, &[&["t", "x"]])));
    stage.let_read(10);
    let answer = count(&mut client, &[json!({"#t": ["x"]})]);
    assert_eq!(answer, json!({"count": 4, "approximate": true}));
}
