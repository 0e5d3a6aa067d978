//! Clients that exceed their rate, over TLS: decrypted data waits like any other.

use std::io::Write;

use corecast::engine::{EndpointSettings, Rate, RatePolicy, TokenRate};

use crate::Secure;
use crate::support::client::{FIN, TEXT, raw_frame};
use crate::support::{eventually, settings};

#[test]
fn one_that_is_made_to_wait_loses_nothing_not_even_at_its_end() {
    let endpoint = EndpointSettings {
        rate: Rate {
            messages: Some(TokenRate::new(100, 5)),
            bytes: None,
            policy: RatePolicy::Delay,
        },
        ..EndpointSettings::default()
    };
    let secure = Secure::start(settings(), endpoint);
    let mut bystander = secure.open("/");
    bystander.text("here");
    assert_eq!(bystander.expect_text(), "here");
    let mut flooder = secure.open("/");
    let messages: Vec<u8> = (0..40)
        .flat_map(|number: u32| raw_frame(FIN | TEXT, number.to_string().as_bytes(), true))
        .collect();
    flooder.tls().write_all(&messages).expect("it reads");
    // The end of the stream follows them in the same write.
    flooder.tls().conn.send_close_notify();
    flooder.tls().flush().expect("it reads");
    for number in 0..40 {
        assert_eq!(bystander.expect_text(), number.to_string());
    }
    let delay = RatePolicy::Delay as usize;
    let waits = secure.server.sum(|stats| stats.rate_actions[delay].get());
    assert!(waits > 0);
    eventually("it is gone then", || {
        secure.server.sum(|stats| stats.open.get()) == 1
    });
}
