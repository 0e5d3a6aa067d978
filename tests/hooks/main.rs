//! Hooks around endpoints, and every example of them, run as a user would.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use corecast::engine::{
    Answer, CloseReason, Endpoint, EndpointError, EndpointSettings, Engine, Handle, Refusal,
    Refused, Request, Responder, Service, Session, Settings, StartError, TokenRate,
};
use corecast::fanout::room::EndpointId;
use corecast::fanout::{Filter, Recipients};
use corecast::hooks::policies::{ConnectRate, Excess, MessageBytes, MessageRate, khatru};
use corecast::hooks::{Hook, Hooks, Verdict, rejection};
use corecast::relay::cors::{Cors, CorsHeaders};
use corecast::relay::hub::Hub;
use corecast::relay::named::{self, Named, NamedSettings};
use corecast::wire::decoder::Message;
use corecast::wire::frame::MessageKind;
use corecast::wire::http::Response;

use corecast_test::client::{
    BINARY, CLOSE, Client, TEXT, close_payload, frame, upgrade, upgrade_with,
};
use corecast_test::{Server, eventually, settings};

macro_rules! example {
    ($name:ident, $path:literal) => {
        #[path = $path]
        #[allow(
            dead_code,
            unreachable_pub,
            reason = "the example's own main runs outside of a test"
        )]
        mod $name;
    };
}

example!(login, "../../examples/hooks_login.rs");
example!(messages, "../../examples/hooks_messages.rs");
example!(policies, "../../examples/hooks_policies.rs");
example!(presence, "../../examples/hooks_presence.rs");
example!(reject, "../../examples/hooks_reject.rs");
example!(router, "../../examples/hooks_router.rs");
example!(veto, "../../examples/hooks_veto.rs");

const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

fn open(engine: &Engine, path: &str) -> Client {
    Client::open(engine.addresses()[0], path)
}

/// The status of an upgrade with these additional header lines.
fn status(engine: &Engine, headers: &str) -> u16 {
    let mut client = Client::connect(engine.addresses()[0]);
    client.send(upgrade_with("/", headers).as_bytes());
    client.answer().status
}

#[test]
fn the_example_rejects() {
    let engine = reject::start(LISTEN.into(), 2).unwrap();
    assert_eq!(status(&engine, "x-BOT: yes\r\n"), 403);
    let mut guests = [open(&engine, "/"), open(&engine, "/")];
    guests.iter_mut().for_each(Client::round_trip);
    let mut third = Client::connect(engine.addresses()[0]);
    third.send(upgrade("/").as_bytes());
    let answer = third.answer();
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (429, Some("1"))
    );
    assert_eq!(answer.body, b"All seats are taken.\n");
    drop(guests);
    eventually("a seat is free", || status(&engine, "") == 101);
    assert!(engine.stop());
}

#[test]
fn the_presence_example_announces_joins_and_leaves() {
    let engine = presence::start(LISTEN.into()).unwrap();
    let mut ada = open(&engine, "/lobby?name=ada");
    ada.round_trip();
    let mut bob = open(&engine, "/lobby?name=bob");
    let mut elsewhere = open(&engine, "/elsewhere?name=eve");
    assert_eq!(ada.expect_text(), "bob is here");
    bob.text("hello");
    assert_eq!(ada.expect_text(), "hello");
    bob.close(1000);
    assert_eq!(ada.expect_text(), "bob has gone: client_closed");
    drop(open(&engine, "/lobby?name=cyd"));
    assert_eq!(ada.expect_text(), "cyd is here");
    assert_eq!(ada.expect_text(), "cyd has gone: client_gone");
    elsewhere.round_trip();
    ada.round_trip();
    drop((ada, bob, elsewhere));
    assert!(engine.stop());
}

#[test]
fn the_example_allows_drops_and_changes_messages() {
    let engine = messages::start(LISTEN.into()).unwrap();
    let (mut ada, mut bob) = (open(&engine, "/"), open(&engine, "/"));
    bob.round_trip();
    for text in ["hello", "hello", "oh darn", "bye"] {
        ada.text(text);
    }
    for text in ["hello", "oh ****", "bye"] {
        assert_eq!(bob.expect_text(), text);
        assert_eq!(ada.expect_text(), text);
    }
    ada.send(&frame(BINARY, b"darn"));
    assert_eq!((bob.frame().opcode, ada.frame().opcode), (TEXT, TEXT));
    drop((ada, bob));
    assert!(engine.stop());
}

#[test]
fn the_example_vetoes_for_each_recipient_on_every_shard() {
    let engine = veto::start(LISTEN.into()).unwrap();
    let names = ["ada", "bob", "cyd", "dan"];
    let mut guests = names.map(|name| open(&engine, &format!("/?name={name}")));
    guests.iter_mut().for_each(Client::round_trip);
    for listener in [0, 2] {
        guests[listener].text("/block bob");
        guests[listener].round_trip();
    }
    guests[1].text("from bob");
    guests[1].round_trip_past(&mut Vec::new());
    guests[3].text("from dan");
    for (guest, name) in guests.iter_mut().zip(names) {
        let hears_bob = ["bob", "dan"].contains(&name);
        let mut texts = Vec::new();
        while texts.last().is_none_or(|text| text != "from dan") {
            texts.push(guest.expect_text());
        }
        // The order of two publishers on different shards is not guaranteed.
        let is_there = texts.contains(&"from bob".to_owned());
        assert!(!is_there || hears_bob, "{name}: {texts:?}");
    }
    drop(guests);
    assert!(engine.stop());
}

#[test]
fn the_example_authenticates_in_the_middle_of_a_connection() {
    let engine = login::start(LISTEN.into()).unwrap();
    let (mut ada, mut guest) = (open(&engine, "/"), open(&engine, "/"));
    for client in [&mut ada, &mut guest] {
        assert_eq!(client.expect_text(), "Who are you?");
    }
    ada.text("hello");
    assert_eq!(ada.expect_text(), "Log in first: login NAME-secret");
    ada.text("login ada-secret");
    assert_eq!(ada.expect_text(), "Welcome, ada");
    ada.text("hello");
    assert_eq!(guest.expect_text(), "ada: hello");
    assert_eq!(ada.expect_text(), "ada: hello");
    guest.text("login wrong");
    assert_eq!(guest.expect_close(1008), "auth: nobody knows you");
    drop((ada, guest));
    assert!(engine.stop());
}

#[test]
fn the_example_routes_to_rooms_of_several_endpoints() {
    let engine = router::start(LISTEN.into()).unwrap();
    let mut feed = open(&engine, "/feed");
    let mut local = open(&engine, "/news/local");
    let mut stadium = open(&engine, "/sports/ball");
    for client in [&mut local, &mut stadium] {
        client.round_trip();
    }
    feed.text("+ news /news/local");
    feed.text("+ sports /sports/ball");
    feed.text("what is this?");
    assert_eq!(
        feed.expect_text(),
        "+ ENDPOINT ROOM, - ENDPOINT ROOM, ENDPOINT ROOM TEXT"
    );
    feed.text("news /news/local It rains");
    assert_eq!(local.expect_text(), "It rains");
    stadium.text("goal");
    assert_eq!(
        [stadium.expect_text(), feed.expect_text()],
        ["goal", "goal"]
    );
    feed.text("- sports /sports/ball");
    feed.round_trip();
    stadium.text("another goal");
    assert_eq!(stadium.expect_text(), "another goal");
    local.text("It pours");
    assert_eq!(
        [local.expect_text(), feed.expect_text()],
        ["It pours", "It pours"]
    );
    drop((feed, local, stadium));
    assert!(engine.stop());
}

#[test]
fn subscriptions_end_one_by_one_in_any_order() {
    const ROOMS: usize = 2_000;
    let engine = router::start(LISTEN.into()).unwrap();
    let mut feed = open(&engine, "/feed");
    for room in 0..ROOMS {
        feed.text(&format!("+ news /news/{room}"));
    }
    // Leaves every third room, the first ones last.
    for room in (0..ROOMS).rev().filter(|room| room % 3 == 0) {
        feed.text(&format!("- news /news/{room}"));
    }
    feed.round_trip();
    let mut publisher = open(&engine, "/feed");
    for room in 0..ROOMS {
        publisher.text(&format!("news /news/{room} {room}"));
    }
    let mut heard: Vec<usize> = (0..ROOMS - ROOMS.div_ceil(3))
        .map(|_| feed.expect_text().parse().expect("a number"))
        .collect();
    heard.sort_unstable();
    assert!(
        heard
            .into_iter()
            .eq((0..ROOMS).filter(|room| room % 3 != 0))
    );
    publisher.round_trip();
    feed.round_trip();
    assert_eq!(engine.view().rooms(), ROOMS - ROOMS.div_ceil(3));
    drop((feed, publisher));
    assert!(engine.stop());
}

#[test]
fn the_example_of_policies_holds_them_all() {
    let engine = policies::start(LISTEN.into()).unwrap();
    let mut chatty = open(&engine, "/");
    for number in 0..5 {
        chatty.text(&number.to_string());
        assert_eq!(chatty.expect_text(), number.to_string());
    }
    let mut dropped = 0;
    eventually("a message is dropped", || {
        chatty.text("one more");
        let mut texts = Vec::new();
        chatty.round_trip_past(&mut texts);
        dropped += usize::from(texts.is_empty());
        dropped > 2
    });
    let mut binary = open(&engine, "/");
    binary.send(&frame(BINARY, b"binary"));
    assert_eq!(binary.expect_close(1003), "unsupported: text only");
    let mut large = open(&engine, "/large");
    large.text(&"x".repeat(1_000));
    assert_eq!(large.expect_text().len(), 1_000);
    large.text(&"x".repeat(1_001));
    assert_eq!(large.expect_close(1009), "size: message is too big");
    let mut listener = open(&engine, "/listen/news");
    listener.text("may I?");
    listener.round_trip();
    assert!(listener.arrived().is_empty());
    let mut is_refused = false;
    for _ in 0..200 {
        is_refused |= status(&engine, "") == 429;
    }
    assert!(is_refused, "two hundred connects in a row");
    drop((chatty, binary, large, listener));
    assert!(engine.stop());
}

#[test]
fn khatrus_numbers_are_khatrus() {
    let settings = khatru();
    assert_eq!(settings.keepalive.ping.as_secs(), 30);
    assert_eq!(settings.keepalive.pong.as_secs(), 60);
    assert_eq!(settings.slow_client.outbox_age.as_secs(), 10);
    let server = Server::hub(corecast_test::settings(), settings);
    let mut client = server.open("/");
    client.text(&"x".repeat(512_000));
    assert_eq!(client.expect_text().len(), 512_000);
    client.text(&"x".repeat(512_001));
    client.expect_close(1009);
}

type Log = Arc<Mutex<Vec<String>>>;

/// Records its calls, and panics on request.
struct Witness {
    name: &'static str,
    log: Log,
    panics: bool,
}

impl Witness {
    fn note(&self, what: &str) {
        lock(&self.log).push(format!("{} {what}", self.name));
    }
}

fn lock(log: &Log) -> MutexGuard<'_, Vec<String>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hook for Witness {
    fn reject(&self, request: &Request<'_>) -> Result<(), Refused> {
        self.note("reject");
        match request.head.header("x-refused-by") {
            Some(name) if name == self.name => Err(rejection("no")),
            _ => Ok(()),
        }
    }

    fn connected(&self, _client: &mut corecast::engine::Client<'_>, _request: &Request<'_>) {
        self.note("connected");
    }

    fn message(&self, _client: &mut corecast::engine::Client<'_>, message: Message<'_>) -> Verdict {
        let text = String::from_utf8_lossy(message.payload);
        self.note(&text);
        Verdict::Text(format!("{text}{}", self.name))
    }

    fn disconnected(&self, client: &mut corecast::engine::Client<'_>, reason: &CloseReason) {
        self.note(reason.label());
        let others = Recipients::Except(client.id());
        let text = format!("{} saw it go", self.name);
        client.publish_to("/", others, MessageKind::Text, text.as_bytes());
        assert!(!self.panics, "as asked");
    }
}

fn witnessed(panics: bool) -> (Server, Log) {
    let log = Log::default();
    let witness = |name| Witness {
        name,
        log: Arc::clone(&log),
        panics,
    };
    let hub = Hooks::around(Hub { echo: true })
        .with(witness("a"))
        .with(witness("b"))
        .with(witness("c"));
    let server = Server::start(settings(), |builder| {
        let id = builder.endpoint(EndpointSettings::default(), hub);
        builder.route("/**", id).unwrap();
    });
    (server, log)
}

#[test]
fn hooks_run_in_order_and_each_sees_what_the_one_before_it_left() {
    let (server, log) = witnessed(false);
    let mut refused = Client::connect(server.address);
    refused.send(upgrade_with("/", "X-Refused-By: b\r\n").as_bytes());
    assert_eq!(refused.answer().status, 429);
    assert_eq!(lock(&log).drain(..).as_slice(), ["a reject", "b reject"]);
    let mut client = server.open("/");
    client.text("-");
    assert_eq!(client.expect_text(), "-abc");
    client.close(1000);
    client.expect_close(1000);
    let expected = [
        "a reject",
        "b reject",
        "c reject",
        "a connected",
        "b connected",
        "c connected",
        "a -",
        "b -a",
        "c -ab",
        "c client_closed",
        "b client_closed",
        "a client_closed",
    ];
    assert_eq!(*lock(&log), expected);
}

#[test]
fn on_disconnect_comes_exactly_once_whatever_the_others_do() {
    let (server, log) = witnessed(true);
    let mut bystander = server.open("/");
    bystander.round_trip();
    // However it ends, and even if it ends twice.
    let mut closes = server.open("/");
    let twice = [frame(CLOSE, &close_payload(1000, "")), frame(TEXT, b"late")].concat();
    closes.send(&twice);
    closes.expect_close(1000);
    drop(server.open("/"));
    for _ in 0..2 {
        for name in ["c", "b", "a"] {
            assert_eq!(bystander.expect_text(), format!("{name} saw it go"));
        }
    }
    bystander.round_trip();
    drop(closes);
    let count = |what: &str| lock(&log).iter().filter(|line| *line == what).count();
    for name in ["a", "b", "c"] {
        assert_eq!(count(&format!("{name} client_closed")), 1);
        assert_eq!(count(&format!("{name} client_gone")), 1);
    }
    assert_eq!(server.sum(|stats| stats.endpoint_panics.get()), 2);
}

#[test]
fn vetoes_add_up_and_end_with_the_callback() {
    let name = |path: &str| path.trim_start_matches('/').to_owned();
    let hub = Hooks::around(All)
        .on_connect(move |session, request| session.attach(name(request.head.path)))
        .veto(|_, message| (message.payload != b"all").then(|| not("ada")))
        .veto(|_, message| (message.payload == b"neither").then(|| not("bob")));
    let server = Server::start(settings(), |builder| {
        let id = builder.endpoint(EndpointSettings::default(), hub);
        builder.route("/**", id).unwrap();
    });
    let mut clients = ["/ada", "/bob", "/cyd"].map(|path| server.open(path));
    for text in ["all", "neither", "not ada", "all"] {
        clients[2].text(text);
    }
    let expected: [&[&str]; 3] = [
        &["all", "all"],
        &["all", "not ada", "all"],
        &["all", "neither", "not ada", "all"],
    ];
    for (client, texts) in clients.iter_mut().zip(expected) {
        for text in texts {
            assert_eq!(client.expect_text(), *text);
        }
        client.round_trip();
    }
}

/// All clients are in one room, for any path.
struct All;

impl Endpoint for All {
    type State = ();
    type Local = ();

    fn opened(&self, session: &mut Session<'_>, _request: &Request<'_>) {
        session.join("all").expect("a room");
    }

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        session.publish_to("all", Recipients::All, message.kind, message.payload);
    }
}

fn not(name: &'static str) -> Filter {
    Arc::new(move |recipient| recipient.attached::<String>().is_none_or(|own| own != name))
}

#[test]
fn policies_close_connections_if_configured() {
    let hub = Hooks::around(Hub { echo: true })
        .with(ConnectRate::new(TokenRate::new(1, 1_000)))
        .with(MessageBytes {
            max: 10,
            excess: Excess::Drop,
        })
        .with(MessageRate::new(TokenRate::new(1, 2), Excess::Close));
    let server = Server::start(
        Settings {
            shards: 1,
            ..settings()
        },
        |builder| {
            let id = builder.endpoint(EndpointSettings::default(), hub);
            builder.route("/**", id).unwrap();
        },
    );
    let mut client = server.open("/");
    client.text("eleven byte");
    let messages: Vec<u8> = (0..20).flat_map(|_| frame(TEXT, b"ten bytes!")).collect();
    client.send(&messages);
    let (texts, code, reason) = client.until_close();
    assert_eq!((code, reason.as_str()), (1008, "rate: too many messages"));
    assert!((2..10).contains(&texts.len()), "{texts:?}");
    assert!(texts.iter().all(|text| text == "ten bytes!"));
}

/// Answers by itself, writes refusals in JSON, and refuses to start unless permitted.
struct Particular {
    may_start: bool,
    answer: Mutex<String>,
}

impl Particular {
    fn new(answer: &str) -> Particular {
        Particular {
            may_start: true,
            answer: Mutex::new(answer.to_owned()),
        }
    }
}

impl Endpoint for Particular {
    type State = ();
    type Local = ();

    fn started(&self, _handle: &Handle) -> Result<(), EndpointError> {
        match self.may_start {
            true => Ok(()),
            false => Err("its file is not there".into()),
        }
    }

    fn reload(&self, next: &Self) {
        *self.answer.lock().unwrap() = next.answer.lock().unwrap().clone();
    }

    fn opened(&self, session: &mut Session<'_>, _request: &Request<'_>) {
        session.join("all").expect("a room");
    }

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        session.publish_to("all", Recipients::All, message.kind, message.payload);
    }
}

impl Service for Particular {
    fn methods(&self) -> &'static [&'static str] {
        &["POST"]
    }

    /// Publishes the body.
    fn request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        let kind = MessageKind::Text;
        responder.publish(ONLY, "all", Recipients::All, kind, request.body);
        Answer::Now(Response::text(200, &*self.answer.lock().unwrap()))
    }
}

/// The first endpoint of a server.
const ONLY: EndpointId = EndpointId(0);

fn one_endpoint(endpoint: impl Endpoint) -> Server {
    Server::start(settings(), |builder| {
        let id = builder.endpoint(EndpointSettings::default(), endpoint);
        assert_eq!(id, ONLY);
        builder.route("/**", id).unwrap();
    })
}

/// A server of one path with everything, whose refusals are in JSON.
fn particular(both: impl Endpoint + Service) -> Server {
    Server::start(settings(), |builder| {
        let id = builder.endpoint_and_service(EndpointSettings::default(), both);
        builder.render_refusals(id, |refused| {
            Response::json(refused.status, format!("{{\"code\":\"{}\"}}", refused.code))
        });
        builder.route("/**", id).unwrap();
    })
}

fn answer(server: &Server, request: &str) -> (u16, String) {
    let mut client = Client::connect(server.address);
    client.send(request.as_bytes());
    let answer = client.answer();
    let body = String::from_utf8(answer.body).expect("UTF-8");
    (answer.status, body)
}

#[test]
fn an_endpoint_with_hooks_is_otherwise_as_without() {
    let server = particular(Hooks::around(Hooks::around(Particular::new("published\n"))));
    let bad_upgrade = upgrade("/").replace("Version: 13", "Version: 12");
    for (request, status, body) in [
        ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", 200, "published\n"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            405,
            "{\"code\":\"method_not_allowed\"}",
        ),
        (&bad_upgrade, 426, "{\"code\":\"unsupported_version\"}"),
    ] {
        assert_eq!(answer(&server, request), (status, body.to_owned()));
    }
    let mut builder = Engine::builder().settings(settings());
    let never = Particular {
        may_start: false,
        ..Particular::new("")
    };
    builder.endpoint(EndpointSettings::default(), Hooks::around(never));
    match builder.start() {
        Err(error @ StartError::Endpoint(_)) => {
            assert!(format!("{error:?}").contains("its file is not there"));
        }
        other => panic!("it started: {}", other.is_ok()),
    }
}

#[test]
fn a_reload_reaches_an_endpoint_through_its_hooks() {
    let built = |answer| {
        let mut builder = Engine::builder().settings(settings());
        let hooks = Hooks::around(Hooks::around(Particular::new(answer)));
        let id = builder.endpoint_and_service(EndpointSettings::default(), hooks);
        builder.route("/**", id).unwrap();
        builder
    };
    let mut engine = built("before\n").start().unwrap();
    let ask = |engine: &Engine| {
        let mut client = Client::connect(engine.addresses()[0]);
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.answer().body
    };
    assert_eq!(ask(&engine), b"before\n");
    engine.reload(built("after\n")).unwrap();
    assert_eq!(ask(&engine), b"after\n");
    assert!(engine.stop());
}

#[test]
fn hooks_refuse_in_the_form_of_the_path() {
    let hooks = Hooks::around(Particular::new("published\n"))
        .with(ConnectRate::new(TokenRate::new(1, 1)))
        .reject_connection(|request| match request.head.path {
            "/never" => Err(rejection("not here")),
            _ => Ok(()),
        });
    let server = particular(hooks);
    assert_eq!(
        answer(&server, &upgrade("/never")),
        (429, "{\"code\":\"rejected\"}".to_owned())
    );
    let too_often = (0..100).find_map(|_| {
        let (status, body) = answer(&server, &upgrade("/"));
        (status != 101).then_some((status, body))
    });
    let in_json = "{\"code\":\"connect_rate\"}".to_owned();
    assert_eq!(too_often, Some((429, in_json)));
    let refused = |refusal| server.sum(|stats| stats.refused.get(refusal));
    assert_eq!(refused(Refusal::Endpoint), 1);
    assert_eq!(refused(Refusal::ConnectRate), 1);
}

#[test]
fn a_page_of_another_origin_may_read_why_a_hook_refused() {
    let settings = NamedSettings {
        cors: Cors(Some(CorsHeaders {
            origin: "https://chat.example".to_owned(),
            methods: "GET".to_owned(),
            headers: "Content-Type".to_owned(),
        })),
        ..NamedSettings::default()
    };
    let cors = settings.cors.clone();
    let named = Hooks::around(Named::new(settings))
        .reject_connection(|_| Err(Refused::new(403, "closed", "Closed today.")));
    let server = Server::start(corecast_test::settings(), |builder| {
        let id = builder.endpoint(EndpointSettings::default(), named);
        builder.render_refusals(id, move |refused| named::rendered(refused, &cors));
        builder.route("/ws/{name}", id).unwrap();
    });
    let mut client = Client::connect(server.address);
    client.send(upgrade("/ws/ada").as_bytes());
    let answer = client.answer();
    assert_eq!(
        (answer.status, &*answer.body),
        (403, &br#"{"code":"closed","error":"Closed today."}"#[..])
    );
    let origin = answer.header("access-control-allow-origin");
    assert_eq!(origin, Some("https://chat.example"));
}

#[test]
fn messages_published_for_a_plain_request_are_not_vetoed() {
    let hooks = Hooks::around(Particular::new("published\n")).veto(|_, _| Some(not("ada")));
    let hooks = hooks.on_connect(|session, _| session.attach("ada".to_owned()));
    let server = particular(hooks);
    let mut ada = server.open("/");
    ada.text("by a member");
    ada.round_trip();
    let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nby others";
    assert_eq!(answer(&server, body).0, 200);
    assert_eq!(ada.expect_text(), "by others");
}

#[test]
fn a_hook_may_join_further_rooms_and_the_endpoint_keeps_its_own() {
    let hub = Hooks::around(Hub { echo: true }).on_connect(|session, _| {
        session.join("/announcements").expect("a room");
    });
    let server = one_endpoint(hub);
    let (mut ada, mut bob) = (server.open("/a"), server.open("/b"));
    bob.round_trip();
    ada.text("in /a");
    assert_eq!(ada.expect_text(), "in /a");
    let mut herald = server.open("/announcements");
    herald.text("to all");
    for client in [&mut herald, &mut ada, &mut bob] {
        assert_eq!(client.expect_text(), "to all");
    }
}
