use serde_json::json;

use super::*;

fn of(method: &str, params: &Value) -> Result<Option<Request>, String> {
    let body = json!({"method": method, "params": params}).to_string();
    Request::of(&Call::parse(body.as_bytes()).expect("a call"))
}

fn change(method: &str, params: &Value) -> Change {
    match of(method, params) {
        Ok(Some(Request::Change(change))) => change,
        other => panic!("{method}: {other:?}"),
    }
}

#[test]
fn a_body_is_an_object_with_a_method() {
    let call = Call::parse(b" {\"method\":\"stats\",\"id\":1}").expect("a call");
    assert_eq!((&*call.method, call.params.len()), ("stats", 0));
    assert!(Call::parse(b"{\"method\":\"stats\",\"params\":null}").is_ok());
    let long = format!("{{\"method\":\"{}\"}}", "x".repeat(65));
    for bad in [
        "",
        "[]",
        "[\"stats\",[]]",
        "{}",
        "null",
        "{\"method\":1}",
        "{\"method\":\"\"}",
        "{\"method\":\"a b\"}",
        "{\"method\":\"a\\nb\"}",
        "{\"method\":\"stats\",\"params\":{}}",
        "{\"method\":\"stats\"} {}",
        "{\"method\":\"stats\",\"method\":\"stats\"}",
        &long,
    ] {
        assert!(Call::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(Call::parse(b"{\"method\":\"\xff\"}").is_err());
}

#[test]
fn methods_on_keys_and_events_have_their_parameters() {
    let hex = "0a".repeat(32);
    let key = [0x0a; 32];
    let (spam, none) = (|| "spam".to_owned(), String::new);
    for (method, params, expected) in [
        (
            "banpubkey",
            json!([hex, "spam"]),
            Change::BanKey(key, spam()),
        ),
        ("banpubkey", json!([hex]), Change::BanKey(key, none())),
        ("unbanpubkey", json!([hex, "sorry"]), Change::UnbanKey(key)),
        (
            "allowpubkey",
            json!([hex, null]),
            Change::AllowKey(key, none()),
        ),
        ("unallowpubkey", json!([hex]), Change::UnallowKey(key)),
        (
            "banevent",
            json!([hex, "spam"]),
            Change::BanEvent(key, spam()),
        ),
        ("allowevent", json!([hex]), Change::AllowEvent(key, none())),
    ] {
        assert_eq!(change(method, &params), expected, "{method}");
    }
}

#[test]
fn methods_on_the_relay_have_their_parameters() {
    let hex = "0a".repeat(32);
    let key = [0x0a; 32];
    let text = |part, text: &str| Change::Text(part, text.to_owned());
    let ip = [10, 0, 0, 1].into();
    let stats = || Methods::Some(["stats".to_owned()].into());
    let icon = "https://a/b.png";
    for (method, params, expected) in [
        (
            "changerelayname",
            json!([" A "]),
            text(RelayText::Name, "A"),
        ),
        (
            "changerelaydescription",
            json!(["a\nb"]),
            text(RelayText::Description, "a\nb"),
        ),
        (
            "changerelayicon",
            json!([icon]),
            text(RelayText::Icon, icon),
        ),
        ("changerelayicon", json!([""]), text(RelayText::Icon, "")),
        ("allowkind", json!([65_535]), Change::AllowKind(65_535)),
        ("disallowkind", json!([0]), Change::DisallowKind(0)),
        (
            "blockip",
            json!(["::ffff:10.0.0.1"]),
            Change::BlockIp(ip, String::new()),
        ),
        ("unblockip", json!(["10.0.0.1"]), Change::UnblockIp(ip)),
        (
            "grantadmin",
            json!([hex]),
            Change::GrantAdmin(key, Methods::All),
        ),
        (
            "grantadmin",
            json!([hex, []]),
            Change::GrantAdmin(key, Methods::All),
        ),
        (
            "revokeadmin",
            json!([hex, ["stats"]]),
            Change::RevokeAdmin(key, stats()),
        ),
        (
            "revokeadmin",
            json!([hex, "stats"]),
            Change::RevokeAdmin(key, stats()),
        ),
    ] {
        assert_eq!(change(method, &params), expected, "{method}");
    }
}

#[test]
fn an_unknown_method_is_not_a_request() {
    assert_eq!(of("stats", &json!([])), Ok(Some(Request::Stats)));
    assert_eq!(of("createrole", &json!([])), Ok(None));
    assert_eq!(of("BanPubkey", &json!(["0a".repeat(32)])), Ok(None));
}

#[test]
fn every_listed_method_is_known() {
    for method in METHODS {
        assert_ne!(of(method, &json!([])), Ok(None), "{method}");
    }
    let known: BTreeSet<_> = METHODS.into_iter().collect();
    assert_eq!(known.len(), METHODS.len());
}

#[test]
fn a_wrong_parameter_is_named_and_not_repeated() {
    let hex = "0a".repeat(32);
    let long = "x".repeat(REASON_BYTES_MAX + 1);
    let name = "x".repeat(TEXT_BYTES_MAX + 1);
    let methods = vec!["a"; METHODS_MAX + 1];
    let nsec = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5";
    for (method, params) in [
        ("banpubkey", json!([])),
        ("banpubkey", json!([nsec])),
        ("banpubkey", json!(["0A".repeat(32)])),
        ("banpubkey", json!([1])),
        ("banpubkey", json!([hex, 1])),
        ("banpubkey", json!([hex, long])),
        ("banevent", json!([null])),
        ("allowkind", json!([65_536])),
        ("allowkind", json!(["1"])),
        ("allowkind", json!([-1])),
        ("allowkind", json!([1.5])),
        ("blockip", json!(["10.0.0.0/8"])),
        ("blockip", json!(["localhost"])),
        ("changerelayname", json!([])),
        ("changerelayname", json!([name])),
        ("changerelayname", json!(["a\nb"])),
        ("changerelayicon", json!(["javascript:alert(1)"])),
        ("grantadmin", json!([hex, [1]])),
        ("grantadmin", json!([hex, ["a b"]])),
        ("grantadmin", json!([hex, methods])),
    ] {
        let told = of(method, &params).expect_err(method);
        assert!(!told.contains("nsec1") && !told.contains("xxx"), "{told}");
    }
}
