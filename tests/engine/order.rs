//! One order for all members: publishers and members on several shards, with joins and leaves in
//! between.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use corecast::engine::EndpointSettings;

use crate::support::client::{Client, TEXT, frame};
use crate::support::{Server, settings};

const PUBLISHERS: usize = 4;
const MESSAGES: usize = 1_000;
const TOTAL: usize = PUBLISHERS * MESSAGES;

/// Publishes in bursts, as fast as its own messages come back. Returns all messages received.
fn publish(mut client: Client, publisher: usize) -> Vec<String> {
    let mut received = Vec::new();
    let mut sent = 0;
    while sent < MESSAGES {
        let burst = (1 + sent % 7).min(MESSAGES - sent);
        let bytes: Vec<u8> = (sent..sent + burst)
            .flat_map(|number| frame(TEXT, format!("{publisher} {number}").as_bytes()))
            .collect();
        client.send(&bytes);
        sent += burst;
        let last = format!("{publisher} {}", sent - 1);
        while received.last() != Some(&last) {
            received.push(client.expect_text());
        }
    }
    while received.len() < TOTAL {
        received.push(client.expect_text());
    }
    received
}

/// Joins, listens for a while and leaves, again and again. Returns the messages of each visit.
fn visit(address: std::net::SocketAddr, is_over: &AtomicBool) -> Vec<Vec<String>> {
    let mut visits = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let mut client = Client::open(address, "/");
        let mut heard = Vec::new();
        for _ in 0..1 + visits.len() % 40 {
            client.round_trip_past(&mut heard);
        }
        if visits.len() % 2 == 0 {
            client.close(1000);
            let (texts, ..) = client.until_close();
            heard.extend(texts);
        }
        visits.push(heard);
    }
    visits
}

#[test]
fn every_member_sees_one_order_whoever_comes_and_goes() {
    for shards in [1, 2, 4] {
        let mut settings = settings();
        settings.shards = shards;
        let server = Server::hub(settings, EndpointSettings::default());
        let is_over = Arc::new(AtomicBool::new(false));
        let members: Vec<Client> = (0..PUBLISHERS).map(|_| server.open("/")).collect();
        let visitors: Vec<_> = (0..3)
            .map(|_| {
                let (address, is_over) = (server.address, Arc::clone(&is_over));
                thread::spawn(move || visit(address, &is_over))
            })
            .collect();
        let publishers: Vec<_> = members
            .into_iter()
            .enumerate()
            .map(|(publisher, client)| thread::spawn(move || publish(client, publisher)))
            .collect();
        let streams: Vec<Vec<String>> = publishers
            .into_iter()
            .map(|publisher| publisher.join().unwrap())
            .collect();
        is_over.store(true, Ordering::Relaxed);
        for stream in &streams {
            assert!(*stream == streams[0], "another order, a gap or a repeat");
        }
        let places: HashMap<&str, usize> = streams[0]
            .iter()
            .enumerate()
            .map(|(place, text)| (text.as_str(), place))
            .collect();
        assert_eq!(places.len(), TOTAL);
        let mut heard = 0;
        for visit in visitors.into_iter().flat_map(|each| each.join().unwrap()) {
            let places: Vec<usize> = visit.iter().map(|text| places[text.as_str()]).collect();
            assert!(
                places.is_sorted_by(|a, b| a + 1 == *b),
                "a visit: {places:?}"
            );
            heard += places.len();
        }
        assert!(heard > 0);
        server.expect_empty();
    }
}
