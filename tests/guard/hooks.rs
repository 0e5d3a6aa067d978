//! A guard around hooks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corecast::engine::{EndpointSettings, Refusal, Refused};
use corecast::guard::{self, Guard, GuardSettings, Guarded, Identity};
use corecast::hooks::{Hooks, Verdict};
use corecast::relay::hub::Hub;

use crate::support::Server;
use crate::{ask, bearer, open, plain_token, refused, secret_auth, settings, signed};

#[test]
fn hooks_run_after_the_guard_and_see_the_identity() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let hub = Hooks::around(Hub { echo: true })
        .reject_connection(move |request| {
            count.fetch_add(1, Ordering::Relaxed);
            match request.context::<Identity>() {
                Some(Identity {
                    user: Some(user), ..
                }) if **user == *"eve" => Err(Refused::new(403, "eve", "Not eve.")),
                _ => Ok(()),
            }
        })
        .on_message(|session, message| {
            let user = session.context::<Identity>();
            let user = user.and_then(|identity| identity.user.clone());
            let text = String::from_utf8_lossy(message.payload);
            Verdict::Text(format!("{}: {text}", user.unwrap_or_default()))
        });
    let guard = Guard::new(GuardSettings {
        auth: Some(secret_auth()),
        ..GuardSettings::default()
    });
    let guarded = Guarded::new(hub, guard.expect("it reads no file"));
    let server = Server::start(settings(), |builder| {
        let id = builder.endpoint(EndpointSettings::default(), guarded);
        builder.route("/**", id).expect("a path");
    });
    assert_eq!(ask(&server, "/", "").1.status, 401);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    let mut eve = plain_token();
    eve.user = Some("eve".to_owned());
    assert_eq!(ask(&server, "/", &bearer(&signed(&eve))).1.status, 403);
    assert_eq!(refused(&server, guard::NO_CREDENTIALS), 1);
    assert_eq!(refused(&server, Refusal::Endpoint), 1);
    let mut ada = open(&server, "/", &signed(&plain_token()));
    ada.text("hello");
    assert_eq!(ada.expect_text(), "ada: hello");
}
