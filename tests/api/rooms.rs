//! The rooms API as a back end uses it.

use std::collections::BTreeSet;

use corecast::limits::MEMBERS_LOOKED_AT_PER_ASK;
use serde_json::{Value, json};

use crate::support::client::{BINARY, Client, TEXT};
use crate::support::eventually;
use crate::{KEY, Relay, json as json_of, next};

/// Waits until the room has this many members; they may lag behind their handshakes.
fn expect_members(relay: &Relay, endpoint: &str, room: &str, members: usize) {
    eventually("all members", || {
        let page = relay.get(&format!(
            "/api/members?endpoint={endpoint}&room={room}&limit=1"
        ));
        page["total"] == members
    });
}

/// All pages of a list, in pages of `limit`.
fn pages(relay: &Relay, target: &str, list: &str, limit: usize) -> Vec<Value> {
    let mut entries = Vec::new();
    let mut after = String::new();
    loop {
        let page = relay.get(&format!("{target}&limit={limit}{after}"));
        let some = page[list].as_array().expect("a list");
        assert!(some.len() <= limit);
        entries.extend(some.iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", next.replace('/', "%2F")),
            None => return entries,
        }
    }
}

#[test]
fn an_api_message_reaches_a_room_unchanged_on_all_shards() {
    let relay = Relay::start(3);
    let mut members: Vec<Client> = (0..7).map(|_| relay.open("/chat")).collect();
    let mut other = relay.open("/other");
    expect_members(&relay, "hub", "/chat", 7);
    for (content, opcode, payload) in [
        (json!({"text": "Grüße"}), TEXT, "Grüße".as_bytes()),
        (json!({"base64": "AP/+"}), BINARY, &[0, 255, 254]),
        (json!({"json": {"a": [1, null]}}), TEXT, b"{\"a\":[1,null]}"),
        (json!({"text": ""}), TEXT, b""),
    ] {
        let mut body = json!({"endpoint": "hub", "room": "/chat"});
        body.as_object_mut()
            .unwrap()
            .extend(content.as_object().unwrap().clone());
        let answer = relay.post("/api/publish", &body.to_string());
        assert_eq!(answer, json!({"recipients": 7}));
        for member in &mut members {
            let frame = member.frame();
            assert_eq!((frame.opcode, &*frame.payload), (opcode, payload));
        }
    }
    relay.post(
        "/api/publish",
        r#"{"endpoint":"hub","room":"/other","text":"x"}"#,
    );
    assert_eq!(other.expect_text(), "x");
}

#[test]
fn json_is_sent_as_written() {
    let relay = Relay::start(1);
    let mut member = relay.open("/chat");
    let body = r#"{"endpoint":"hub","room":"/chat","json":{ "b":1e400, "a" : 2 }}"#;
    relay.post("/api/publish", body);
    assert_eq!(member.expect_text(), r#"{ "b":1e400, "a" : 2 }"#);
}

#[test]
fn a_message_to_a_pubsub_room_comes_in_the_form_of_pubsub() {
    let relay = Relay::start(2);
    let mut reader = relay.subscriber(&["news"]);
    for (content, event) in [
        (json!({"json": {"title": 1}}), json!({"data": {"title": 1}})),
        (json!({"text": "hello"}), json!({"data": "hello"})),
        (json!({"base64": "AP/+"}), json!({"base64": "AP/+"})),
    ] {
        let mut body = json!({"endpoint": "pubsub", "room": "news"});
        body.as_object_mut()
            .unwrap()
            .extend(content.as_object().unwrap().clone());
        relay.post("/api/publish", &body.to_string());
        let mut expected = json!({"type": "message", "room": "news"});
        expected
            .as_object_mut()
            .unwrap()
            .extend(event.as_object().unwrap().clone());
        assert_eq!(next(&mut reader), expected);
    }
}

#[test]
fn publishing_to_an_empty_room_is_not_an_error() {
    let relay = Relay::start(1);
    let body = r#"{"endpoint":"hub","room":"/nobody","text":"x"}"#;
    assert_eq!(relay.post("/api/publish", body), json!({"recipients": 0}));
    let page = relay.get("/api/members?endpoint=hub&room=%2Fnobody");
    assert_eq!(page, json!({"total": 0, "members": [], "next": null}));
    let body = r#"{"endpoint":"hub","room":"/nobody"}"#;
    assert_eq!(relay.post("/api/disconnect", body), json!({"closed": 0}));
}

#[test]
fn rooms_are_listed_in_pages_with_member_counts() {
    let relay = Relay::start(2);
    let mut clients = Vec::new();
    let mut expected = Vec::new();
    for number in 0..9 {
        let room = format!("/room/{number}");
        let members = number % 3 + 1;
        clients.extend((0..members).map(|_| relay.open(&room)));
        expected.push(json!({"room": room, "members": members}));
    }
    let _pubsub = relay.subscriber(&["room/elsewhere"]);
    for limit in [1, 4, 9, 100] {
        eventually("all rooms with all members", || {
            pages(&relay, "/api/rooms?endpoint=hub", "rooms", limit) == expected
        });
    }
    let elsewhere = relay.get("/api/rooms?endpoint=pubsub");
    let expected = json!({"rooms": [{"room": "room/elsewhere", "members": 1}], "next": null});
    assert_eq!(elsewhere, expected);
}

#[test]
fn every_member_of_a_room_is_in_exactly_one_page() {
    let relay = Relay::start(3);
    let clients: Vec<Client> = (0..25).map(|_| relay.open("/chat")).collect();
    expect_members(&relay, "hub", "/chat", 25);
    for limit in [1, 4, 25, 1_000] {
        let members = pages(
            &relay,
            "/api/members?endpoint=hub&room=/chat",
            "members",
            limit,
        );
        let ids: BTreeSet<&str> = members
            .iter()
            .map(|member| member["connection"].as_str().expect("an id"))
            .collect();
        assert_eq!((ids.len(), members.len()), (25, 25), "pages of {limit}");
        assert!(
            members
                .iter()
                .all(|member| member["address"] == "127.0.0.1")
        );
        assert!(members.iter().all(|member| member["user"].is_null()));
    }
    drop(clients);
    expect_members(&relay, "hub", "/chat", 0);
}

/// More rooms than a shard sorts or examines at once, with others between them.
#[test]
fn a_room_larger_than_one_batch_is_listed_and_emptied() {
    const MEMBERS: usize = MEMBERS_LOOKED_AT_PER_ASK + 400;
    let relay = Relay::start(1);
    let (mut members, mut others) = (Vec::new(), Vec::new());
    for number in 0..MEMBERS {
        members.push(relay.open("/chat"));
        if number % 4 == 0 {
            others.push(relay.open("/other"));
        }
    }
    for (room, expected) in [("/chat", MEMBERS), ("/other", others.len())] {
        expect_members(&relay, "hub", room, expected);
        for limit in [7, 1_000] {
            let target = format!("/api/members?endpoint=hub&room={room}");
            let listed = pages(&relay, &target, "members", limit);
            let ids = listed.iter().map(|member| member["connection"].as_str());
            let ids: BTreeSet<&str> = ids.flatten().collect();
            assert_eq!((ids.len(), listed.len()), (expected, expected));
        }
    }
    let body = r#"{"endpoint":"hub","room":"/chat","code":1001}"#;
    let closed = relay.post("/api/disconnect", body);
    assert_eq!(closed, json!({"closed": MEMBERS}));
    for member in &mut members {
        assert_eq!(member.expect_close(1001), "");
    }
    others.iter_mut().for_each(Client::round_trip);
}

#[test]
fn a_connection_is_disconnected_once_by_its_own_endpoint() {
    let relay = Relay::start(2);
    let mut client = relay.open("/chat");
    let mut stays = relay.open("/chat");
    expect_members(&relay, "hub", "/chat", 2);
    let page = relay.get("/api/members?endpoint=hub&room=/chat");
    let disconnect = |endpoint: &str, id: &str| {
        let body = json!({"endpoint": endpoint, "connection": id, "code": 4001, "reason": "bye"});
        relay.post("/api/disconnect", &body.to_string())["closed"].clone()
    };
    let id = page["members"][0]["connection"].as_str().expect("an id");
    assert_eq!(disconnect("pubsub", id), 0);
    assert_eq!(disconnect("hub", "250-1-1"), 0);
    assert_eq!(disconnect("hub", id), 1);
    assert_eq!(disconnect("hub", id), 0, "it is gone already");
    // The test does not know which of the two it was.
    relay.post(
        "/api/publish",
        r#"{"endpoint":"hub","room":"/chat","text":"after"}"#,
    );
    let mut told = [&mut client, &mut stays].map(Client::frame);
    told.sort_by_key(|frame| frame.opcode);
    assert_eq!(told[0].payload, b"after");
    assert_eq!(
        told[1].payload,
        [&4001_u16.to_be_bytes()[..], b"bye"].concat()
    );
}

#[test]
fn emptying_a_large_room_sends_code_and_reason_to_it_only() {
    let relay = Relay::start(2);
    let mut members: Vec<Client> = (0..600).map(|_| relay.open("/chat")).collect();
    let mut stays = relay.open("/other");
    expect_members(&relay, "hub", "/chat", 600);
    let body = r#"{"endpoint":"hub","room":"/chat","code":1001,"reason":"moving house"}"#;
    assert_eq!(relay.post("/api/disconnect", body), json!({"closed": 600}));
    for member in &mut members {
        assert_eq!(member.expect_close(1001), "moving house");
    }
    stays.round_trip();
    expect_members(&relay, "hub", "/chat", 0);
}

#[test]
fn disconnect_without_code_closes_with_policy_violation() {
    let relay = Relay::start(1);
    let mut member = relay.subscriber(&["r"]);
    relay.post("/api/disconnect", r#"{"endpoint":"pubsub","room":"r"}"#);
    assert_eq!(member.expect_close(1008), "");
}

#[test]
fn info_tells_what_the_relay_is_and_has() {
    let relay = Relay::start(2);
    let mut client = relay.open("/chat");
    client.round_trip();
    let info = relay.get("/api/info");
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["shards"], 2);
    assert_eq!(
        (&info["connections"], &info["rooms"]),
        (&json!(1), &json!(1))
    );
    let endpoints = info["endpoints"].as_array().expect("a list");
    let pubsub = json!({"name": "pubsub", "kind": "pubsub", "path": "/pubsub"});
    assert!(endpoints.contains(&pubsub), "{info}");
    assert!(
        info["uptime_seconds"]
            .as_u64()
            .is_some_and(|seconds| seconds < 60)
    );
}

#[test]
fn the_first_nonempty_of_three_key_headers_decides() {
    let relay = Relay::start(1);
    let status = |headers: &str| relay.say("GET", "/api/info", headers, b"").status;
    for good in [
        format!("X-API-KEY: {KEY}\r\n"),
        format!("x-api-key:  {KEY} \r\n"),
        format!("API-KEY: {KEY}\r\n"),
        format!("Authorization: Bearer {KEY}\r\n"),
        format!("Authorization: bearer {KEY}\r\n"),
        format!("X-API-KEY: {KEY}\r\nAPI-KEY: bad\r\nAuthorization: Bearer bad\r\n"),
        format!("X-API-KEY: \r\nAPI-KEY: {KEY}\r\nAuthorization: Bearer bad\r\n"),
    ] {
        assert_eq!(status(&good), 200, "{good}");
    }
    for bad in [
        String::new(),
        "X-API-KEY: \r\n".to_owned(),
        format!("X-API-KEY: {KEY}s\r\n"),
        format!("X-API-KEY: bad\r\nAPI-KEY: {KEY}\r\n"),
        format!("Authorization: Basic {KEY}\r\n"),
        format!("Authorization: {KEY}\r\n"),
        format!("Authorization: Bearer\r\nX-API: {KEY}\r\n"),
    ] {
        let answer = relay.say("GET", "/api/info", &bad, b"");
        assert_eq!(answer.status, 401, "{bad}");
        assert_eq!(json_of(&answer)["code"], "unauthorized");
        assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer"));
    }
}

#[test]
fn without_configured_keys_requests_are_refused() {
    let relay = Relay::with(1, |config| config.api.keys = None);
    for headers in [
        "",
        "X-API-KEY: \r\n",
        "X-API-KEY: x\r\n",
        "Authorization: Bearer \r\n",
    ] {
        assert_eq!(
            relay.say("GET", "/api/info", headers, b"").status,
            401,
            "{headers}"
        );
    }
}

#[test]
fn each_key_of_config_and_file_is_accepted() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("keys");
    std::fs::write(&file, "# for the billing service\nof-the-file\n").expect("a file");
    let relay = Relay::with(1, |config| {
        let keys = config.api.keys.get_or_insert_default();
        keys.push("second".parse().expect("a key"));
        config.api.keys_file = Some(file);
    });
    for key in [KEY, "second", "of-the-file"] {
        let answer = relay.say("GET", "/api/info", &format!("API-KEY: {key}\r\n"), b"");
        assert_eq!(answer.status, 200, "{key}");
    }
}

#[test]
fn without_the_api_its_paths_are_ordinary_rooms() {
    let relay = Relay::with(1, |config| config.api.enabled = false);
    for path in corecast::config::API_PATHS {
        assert_eq!(relay.say("GET", path, "", b"").status, 404, "{path}");
        relay.open(path).round_trip();
    }
}

#[test]
fn published_messages_keep_their_order() {
    let relay = Relay::start(2);
    let mut member = relay.open("/chat");
    let mut backend = Client::connect(relay.address);
    for number in 0..50 {
        let body = format!(r#"{{"endpoint":"hub","room":"/chat","text":"{number}"}}"#);
        let length = body.len();
        backend.send(
            format!(
                "POST /api/publish HTTP/1.1\r\nHost: relay\r\nAPI-KEY: {KEY}\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            )
            .as_bytes(),
        );
    }
    for number in 0..50 {
        assert_eq!(backend.answer().status, 200);
        assert_eq!(member.expect_text(), number.to_string());
    }
}

#[test]
fn requests_that_wait_for_shards_may_be_pipelined() {
    let relay = Relay::start(2);
    let mut backend = Client::connect(relay.address);
    let ask =
        |target: &str| format!("GET {target} HTTP/1.1\r\nHost: relay\r\nAPI-KEY: {KEY}\r\n\r\n");
    let targets = [
        "/api/rooms?endpoint=hub",
        "/api/members?endpoint=hub&room=/",
        "/api/info",
    ];
    let all: String = targets
        .iter()
        .cycle()
        .take(60)
        .map(|target| ask(target))
        .collect();
    backend.send(all.as_bytes());
    for answer in 0..60 {
        assert_eq!(backend.answer().status, 200, "answer {answer}");
    }
}

#[test]
fn the_api_lists_reaches_and_disconnects_users_by_name() {
    let relay = Relay::start(3);
    let mut ada = relay.open("/ws/ada");
    let mut others: Vec<Client> = ["bob", "J%C3%BCrgen", "eve"]
        .map(|name| relay.open(&format!("/ws/{name}")))
        .into();
    expect_members(&relay, "named", "/", 4);
    let page = relay.get("/api/members?endpoint=named&room=/");
    let members = page["members"].as_array().expect("a list").iter();
    let names: BTreeSet<&str> = members.filter_map(|each| each["user"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["ada", "bob", "eve", "Jürgen"]));
    let publish = |user: &str| {
        let body = json!({"endpoint": "named", "user": user, "text": "for you alone"});
        relay.post("/api/publish", &body.to_string())["recipients"].clone()
    };
    assert_eq!((publish("ada"), publish("nobody")), (json!(1), json!(0)));
    assert_eq!(ada.expect_text(), "for you alone");
    let disconnect = |user: &str| {
        let body = json!({"endpoint": "named", "user": user, "code": 4000, "reason": "enough"});
        relay.post("/api/disconnect", &body.to_string())["closed"].clone()
    };
    assert_eq!(
        (disconnect("ada"), disconnect("nobody")),
        (json!(1), json!(0))
    );
    assert_eq!(ada.expect_close(4000), "enough");
    let all = r#"{"endpoint":"named","room":"/","text":"to all who are left"}"#;
    assert_eq!(relay.post("/api/publish", all)["recipients"], 3);
    for other in &mut others {
        assert_eq!(other.expect_text(), "to all who are left");
    }
}

#[test]
fn a_message_reaches_every_device_and_stays_binary() {
    let relay = Relay::with(2, |config| {
        let named = config.endpoints.get_mut("named").expect("it is there");
        named.on_duplicate = corecast::config::OnDuplicate::Share;
        named.binary_out = true;
    });
    let mut devices: Vec<Client> = (0..4).map(|_| relay.open("/ws/ada")).collect();
    let body = r#"{"endpoint":"named","user":"ada","text":"x"}"#;
    assert_eq!(relay.post("/api/publish", body)["recipients"], 4);
    for device in &mut devices {
        let frame = device.frame();
        assert_eq!((frame.opcode, &*frame.payload), (BINARY, &b"x"[..]));
    }
    let body = r#"{"endpoint":"named","user":"ada"}"#;
    assert_eq!(relay.post("/api/disconnect", body)["closed"], 4);
    for device in &mut devices {
        device.expect_close(1008);
    }
}

/// The most connections that may share a name, all on one shard, and more than one message at once.
#[test]
fn two_pipelined_messages_reach_all_devices_of_a_user() {
    const DEVICES: usize = corecast::limits::CONNECTIONS_PER_USER_MAX;
    let relay = Relay::with(1, |config| {
        let named = config.endpoints.get_mut("named").expect("it is there");
        named.on_duplicate = corecast::config::OnDuplicate::Share;
    });
    let mut devices: Vec<Client> = (0..DEVICES).map(|_| relay.open("/ws/ada")).collect();
    let mut backend = Client::connect(relay.address);
    let ask = |path: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: relay\r\nAPI-KEY: {KEY}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let message = |text: &str| json!({"endpoint": "named", "user": "ada", "text": text});
    let both = ["one", "two"].map(|text| ask("/api/publish", &message(text).to_string()));
    backend.send(both.concat().as_bytes());
    for _ in 0..2 {
        let answer = backend.answer();
        assert_eq!(json_of(&answer), json!({"recipients": DEVICES}));
    }
    for device in &mut devices {
        assert_eq!(device.expect_text(), "one");
        assert_eq!(device.expect_text(), "two");
    }
    let all = json!({"endpoint": "named", "user": "ada", "code": 4000});
    backend.send(ask("/api/disconnect", &all.to_string()).as_bytes());
    assert_eq!(json_of(&backend.answer()), json!({"closed": DEVICES}));
    for device in &mut devices {
        device.expect_close(4000);
    }
}
