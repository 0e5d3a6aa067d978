//! A chat on Corecast's engine, in about a page.
//!
//! `cargo run --example embed`, then connect with any WebSocket client to
//! `ws://127.0.0.1:8080/chat?token=ada-secret` (or `bob-secret`). `@ada hello` reaches only Ada;
//! anything else reaches everybody but the sender. `curl http://127.0.0.1:8080/chat` returns the
//! number of users. The end of standard input ends the program.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use corecast::{
    Accept, Admission, Answer, CloseReason, DeferredAdmission, Endpoint, EndpointSettings, Engine,
    Handle, Message, MessageKind, Recipients, Refused, Request, Responder, Response, Service,
    Session, Settings, StartError,
};

const ROOM: &str = "everybody";

/// The state of each connection.
#[derive(Default)]
struct User(String);

/// The chat. One value serves all shards.
struct Chat {
    /// Tokens to be checked, each with the handle that admits its client.
    doorkeeper: Mutex<Sender<(String, DeferredAdmission<User>)>>,
    users: Arc<AtomicUsize>,
}

impl Endpoint for Chat {
    type State = User;
    type Local = ();

    /// This must not block, so another thread looks the token up.
    fn admit(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Admission<User> {
        let query = request.head.query.unwrap_or_default();
        let Some(token) = query.strip_prefix("token=") else {
            let told = "Say who you are: /chat?token=…";
            return Admission::Refuse(Refused::new(401, "no_token", told));
        };
        let (admission, answer) = responder.admission(Duration::from_secs(5));
        let doorkeeper = self.doorkeeper.lock().expect("the door is whole");
        // If that thread has ended, `answer` is dropped here: the client gets 503.
        let _ = doorkeeper.send((token.to_owned(), answer));
        admission
    }

    fn opened(&self, session: &mut Session<'_, User>, _request: &Request<'_>) {
        self.users.fetch_add(1, Ordering::Relaxed);
        if session.join(ROOM).is_err() {
            session.close(1013, "full");
        }
        say(session, "joined");
    }

    fn message(&self, session: &mut Session<'_, User>, message: Message<'_>) {
        let Ok(text) = std::str::from_utf8(message.payload) else {
            return session.close(1003, "text only");
        };
        let Some((name, text)) = text.strip_prefix('@').and_then(|to| to.split_once(' ')) else {
            return say(session, text);
        };
        let name = name.to_owned();
        let recipients = Recipients::If(Arc::new(move |recipient| {
            let user = recipient.state::<User>();
            user.is_some_and(|user| user.0 == name)
        }));
        session.publish_to(ROOM, recipients, MessageKind::Text, text.as_bytes());
    }

    /// Called once for each connection that was opened, however it ended.
    fn closed(&self, session: &mut Session<'_, User>, reason: &CloseReason) {
        self.users.fetch_sub(1, Ordering::Relaxed);
        say(session, &format!("left ({})", reason.label()));
    }
}

impl Service for Chat {
    fn request(&self, _request: &Request<'_>, _responder: &mut Responder<'_>) -> Answer {
        let users = self.users.load(Ordering::Relaxed);
        Answer::Now(Response::json(200, format!("{{\"users\":{users}}}\n")))
    }
}

/// Sends a message to everybody but the connection itself.
fn say(session: &mut Session<'_, User>, text: &str) {
    let line = format!("{}: {text}", session.state().0);
    let others = Recipients::Except(session.id());
    session.publish_to(ROOM, others, MessageKind::Text, line.as_bytes());
}

/// Stands in for a database: it is slow, so it has a thread of its own.
fn keep_the_door(waiting: &Receiver<(String, DeferredAdmission<User>)>) {
    for (token, answer) in waiting {
        match token.strip_suffix("-secret") {
            Some(name) => answer.accept(Accept::new().state(User(name.to_owned()))),
            None => answer.refuse(Refused::new(403, "stranger", "Nobody knows you.")),
        }
    }
}

/// Starts the chat on `listen`. The handle can send from any thread.
pub fn start(listen: SocketAddr) -> Result<(Engine, Handle), StartError> {
    let (doorkeeper, waiting) = channel();
    thread::spawn(move || keep_the_door(&waiting));
    let chat = Chat {
        doorkeeper: Mutex::new(doorkeeper),
        users: Arc::default(),
    };
    let mut builder = Engine::builder().settings(Settings {
        listen: vec![listen.into()],
        shards: 2,
        ..Settings::default()
    });
    let id = builder.endpoint_and_service(EndpointSettings::default(), chat);
    builder.route("/chat", id)?;
    let engine = builder.start()?;
    let handle = engine.handle();
    let clock = handle.clone();
    thread::spawn(move || {
        for minute in 1.. {
            thread::sleep(Duration::from_secs(60));
            let line = format!("the house: open for {minute} minutes");
            // Busy only means that the shard is overloaded at the moment.
            let _ = clock.publish(id, ROOM, Recipients::All, MessageKind::Text, line);
        }
    });
    Ok((engine, handle))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (engine, handle) = start(SocketAddr::from(([127, 0, 0, 1], 8080)))?;
    println!("ws://{}/chat?token=ada-secret", engine.addresses()[0]);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    println!("{} connections are closed", handle.view().connections());
    engine.stop();
    Ok(())
}
