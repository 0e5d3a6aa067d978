//! The client's identity as seen by endpoints, by a guard or by their own code.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use corecast::engine::{
    Accept, Admission, Endpoint, EndpointSettings, Request, Responder, Session, Terms,
};
use corecast::guard::{Guard, GuardSettings, Guarded, Identity};
use corecast::wire::decoder::Message;

use super::support::{Server, settings};
use super::{ask, bearer, open, plain_token, secret_auth, signed};

/// Tells clients their name, and closes them on request. Answers `/later` later.
struct Mirror;

fn name(identity: Option<&Identity>) -> String {
    let user = identity.map(|identity| identity.user.as_deref().unwrap_or("no name"));
    user.unwrap_or("nobody").to_owned()
}

impl Endpoint for Mirror {
    type State = String;
    type Local = ();

    fn admit(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Admission<String> {
        let accept = Accept::new().state(name(request.context()));
        match request.head.path {
            "/later" => {
                let (admission, token) = responder.admission(Duration::from_secs(10));
                token.accept(accept);
                admission
            }
            "/own" => {
                let own = Identity {
                    user: Some("own".into()),
                    ..Identity::default()
                };
                Admission::Accept(accept.context(Arc::new(own)))
            }
            _ => Admission::Accept(accept),
        }
    }

    fn message(&self, session: &mut Session<'_, String>, message: Message<'_>) {
        match message.payload {
            b"end" => session.set_terms(Terms {
                expires: Some(SystemTime::now()),
                ..Terms::default()
            }),
            _ => {
                let admitted = session.state().clone();
                let text = format!("{admitted} {}", name(session.context()));
                session.send(message.kind, text.as_bytes());
            }
        }
    }
}

fn serve(guard: GuardSettings) -> Server {
    Server::start(settings(), |builder| {
        let guard = Guard::new(guard).expect("no files");
        let id = builder.endpoint(EndpointSettings::default(), Guarded::new(Mirror, guard));
        builder.route("/**", id).expect("a path");
    })
}

#[test]
fn an_endpoint_knows_who_it_is_when_it_admits_and_afterwards() {
    let server = serve(GuardSettings {
        auth: Some(secret_auth()),
        ..GuardSettings::default()
    });
    for (path, expected) in [("/", "ada ada"), ("/later", "ada ada"), ("/own", "ada own")] {
        let mut client = open(&server, path, &signed(&plain_token()));
        client.text("who?");
        assert_eq!(client.expect_text(), expected, "{path}");
    }
    let unguarded = serve(GuardSettings::default());
    let (mut client, answer) = ask(&unguarded, "/", &bearer("whatever"));
    assert_eq!(answer.status, 101);
    client.text("who?");
    assert_eq!(client.expect_text(), "nobody nobody");
}

#[test]
fn a_token_that_is_answered_later_expires_as_well() {
    let server = serve(GuardSettings {
        auth: Some(secret_auth()),
        ..GuardSettings::default()
    });
    let mut token = plain_token();
    token.expires = SystemTime::now() + Duration::from_secs(2);
    let mut client = open(&server, "/later", &signed(&token));
    assert!(client.expect_close(1008).starts_with("auth:"));
}

#[test]
fn terms_can_be_replaced_while_the_connection_is_open() {
    let server = serve(GuardSettings::default());
    let mut client = server.open("/");
    client.text("end");
    assert_eq!(client.expect_close(1008), "auth: expired");
}
