//! One connection, rooms of several endpoints: a router, with subscriptions that end in constant
//! time.
//!
//! `cargo run --example hooks_router`, then connect to `ws://127.0.0.1:8080/feed` and send `+ news
//! /news/local` or `- news /news/local` to subscribe or not, and `news /news/local Hello` to
//! publish; `sports` is another endpoint with rooms of its own. Those who are connected to
//! `ws://127.0.0.1:8080/news/local` itself get it too. The end of standard input ends the program.

use std::collections::HashMap;
use std::net::SocketAddr;

use corecast::engine::{
    Client, Endpoint, EndpointSettings, Engine, Limits, RoomId, Session, Settings, StartError,
};
use corecast::fanout::Recipients;
use corecast::fanout::room::EndpointId;
use corecast::hooks::{Hooks, Verdict};
use corecast::relay::hub::Hub;
use corecast::wire::decoder::Message;
use corecast::wire::frame::MessageKind;

/// The endpoints that a connection reaches, by the words for them.
#[derive(Clone, Copy)]
struct Routes {
    news: EndpointId,
    sports: EndpointId,
}

impl Routes {
    fn find(&self, word: &str) -> Option<EndpointId> {
        match word {
            "news" => Some(self.news),
            "sports" => Some(self.sports),
            _ => None,
        }
    }

    fn route(&self, client: &mut Client<'_>, message: Message<'_>) -> Verdict {
        let text = String::from_utf8_lossy(message.payload);
        let mut words = text.splitn(3, ' ');
        let words = (words.next(), words.next(), words.next());
        let (Some(first), Some(second), Some(third)) = words else {
            return Verdict::Allow;
        };
        match (first, self.find(second), self.find(first)) {
            ("+", Some(endpoint), _) => subscribe(client, endpoint, third),
            ("-", Some(endpoint), _) => unsubscribe(client, endpoint, third),
            (_, _, Some(endpoint)) => {
                let others = Recipients::Except(client.id());
                let payload = third.as_bytes();
                client.publish_at(endpoint, second, others, MessageKind::Text, payload);
            }
            _ => return Verdict::Allow,
        }
        Verdict::Drop
    }
}

/// The rooms that a connection has subscribed to.
#[derive(Default)]
struct Subscriptions(HashMap<(EndpointId, String), RoomId>);

fn subscribe(client: &mut Client<'_>, endpoint: EndpointId, room: &str) {
    match client.join_at(endpoint, room) {
        Ok(id) => {
            if let Some(subscriptions) = client.attached::<Subscriptions>() {
                subscriptions.0.insert((endpoint, room.to_owned()), id);
            }
        }
        Err(error) => client.send(MessageKind::Text, error.to_string().as_bytes()),
    }
}

fn unsubscribe(client: &mut Client<'_>, endpoint: EndpointId, room: &str) {
    let subscriptions = client.attached::<Subscriptions>();
    let id = subscriptions.and_then(|each| each.0.remove(&(endpoint, room.to_owned())));
    if let Some(id) = id {
        client.leave(id);
    }
}

/// The endpoint that the connections belong to: it ignores messages that are not routed.
struct Feed;

impl Endpoint for Feed {
    type State = ();
    type Local = ();

    fn message(&self, session: &mut Session<'_>, _message: Message<'_>) {
        session.send(
            MessageKind::Text,
            b"+ ENDPOINT ROOM, - ENDPOINT ROOM, ENDPOINT ROOM TEXT",
        );
    }
}

/// Starts it on `listen`.
pub fn start(listen: SocketAddr) -> Result<Engine, StartError> {
    let mut builder = Engine::builder().settings(Settings {
        listen: vec![listen.into()],
        shards: 2,
        limits: Limits {
            rooms_per_connection: 100_000,
            ..Limits::default()
        },
        ..Settings::default()
    });
    let routes = Routes {
        news: builder.endpoint(EndpointSettings::default(), Hub { echo: true }),
        sports: builder.endpoint(EndpointSettings::default(), Hub { echo: true }),
    };
    let feed = Hooks::around(Feed)
        .on_connect(|client, _| client.attach(Subscriptions::default()))
        .on_message(move |client, message| routes.route(client, message));
    let feed = builder.endpoint(EndpointSettings::default(), feed);
    builder.route("/news/**", routes.news)?;
    builder.route("/sports/**", routes.sports)?;
    builder.route("/feed", feed)?;
    builder.start()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = start(SocketAddr::from(([127, 0, 0, 1], 8080)))?;
    println!("ws://{}/feed", engine.addresses()[0]);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    engine.stop();
    Ok(())
}
