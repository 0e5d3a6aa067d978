//! The Nostr relay driven by the crate `nostr-sdk`, as its users would, over real sockets.
//!
//! `scripts/test-clients nostr-crate` builds and runs it; CORECAST_BIN is the relay. The tests
//! share one relay, each with keys of its own. Every wait has a deadline, and no test sleeps.

mod relay;

use std::collections::BTreeSet;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use nostr_sdk::prelude::*;
use tokio::sync::broadcast::Receiver;

use crate::relay::{DEADLINE, Relay as OurRelay};

const TEXT: &str =
    "grüße \u{1F980} \0\u{1f}\u{7f} \"\\/\" \u{8}\u{c}\n\r\t \u{2028} \u{fdd1} </script>";

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come"),
    }
}

/// A key, and a client that is connected to the relay.
struct User {
    keys: Keys,
    client: Client,
    url: RelayUrl,
}

impl User {
    /// A user that signs AUTH challenges.
    async fn join(url: &str) -> User {
        let keys = Keys::generate();
        User::with(url, Client::new(keys.clone()), keys).await
    }

    /// A user that cannot sign.
    async fn nobody(url: &str) -> User {
        User::with(url, Client::default(), Keys::generate()).await
    }

    async fn with(url: &str, client: Client, keys: Keys) -> User {
        client.add_relay(url).await.expect("a URL");
        let connected = client.try_connect(DEADLINE).await;
        assert!(connected.failed.is_empty(), "{connected:?}");
        let url = RelayUrl::parse(url).expect("a URL");
        User { keys, client, url }
    }

    fn key(&self) -> PublicKey {
        self.keys.public_key()
    }

    fn event(&self, kind: u16, tags: &[&[&str]], content: &str, at: Timestamp) -> Event {
        let tags = tags
            .iter()
            .map(|tag| Tag::parse(tag.iter().copied()).expect("a tag"));
        let draft = EventBuilder::new(Kind::from(kind), content)
            .tags(tags)
            .custom_created_at(at);
        draft.sign_with_keys(&self.keys).expect("an event")
    }

    /// The reason with which the relay refuses the event.
    async fn publish(&self, event: &Event) -> Option<String> {
        match soon("an OK", self.client.send_event(event)).await {
            Ok(output) => output.failed.get(&self.url).cloned(),
            Err(error) => Some(error.to_string()),
        }
    }

    async fn query(&self, filter: Filter) -> Vec<Event> {
        let events = self.client.fetch_events(filter, DEADLINE);
        soon("EOSE", events).await.expect("events").to_vec()
    }

    /// A subscription whose stored events have come.
    async fn live(&self, filter: Filter) -> Live {
        let mut notifications = self.client.notifications();
        let subscribed = self
            .client
            .subscribe(filter, None)
            .await
            .expect("a subscription");
        let is_eose = |message: &RelayMessage<'_>| match message {
            RelayMessage::EndOfStoredEvents(id) => **id == subscribed.val,
            _ => false,
        };
        said(&mut notifications, is_eose).await;
        Live(notifications, subscribed.val)
    }

    /// The library's own `count_events` listens only after it has asked, and misses an answer that
    /// is quick.
    async fn count(&self, filter: Filter) -> usize {
        let mut notifications = self.client.notifications();
        let id = SubscriptionId::new("count");
        let message = ClientMessage::count(id.clone(), filter);
        let sent = self.client.send_msg_to([self.url.clone()], message).await;
        sent.expect("a message");
        let is_count = |message: &RelayMessage<'_>| matches!(message, RelayMessage::Count { .. });
        match said(&mut notifications, is_count).await {
            RelayMessage::Count {
                count,
                subscription_id,
            } if *subscription_id == id => count,
            other => panic!("{other:?}"),
        }
    }
}

/// The next wanted message of the relay.
async fn said(
    notifications: &mut Receiver<RelayPoolNotification>,
    is_wanted: impl Fn(&RelayMessage<'_>) -> bool,
) -> RelayMessage<'static> {
    loop {
        let next = soon("a message", notifications.recv())
            .await
            .expect("a message");
        if let RelayPoolNotification::Message { message, .. } = next
            && is_wanted(&message)
        {
            return message;
        }
    }
}

struct Live(Receiver<RelayPoolNotification>, SubscriptionId);

impl Live {
    async fn next(&mut self) -> Event {
        loop {
            let next = soon("an event", self.0.recv()).await.expect("an event");
            if let RelayPoolNotification::Event {
                subscription_id,
                event,
                ..
            } = next
                && subscription_id == self.1
            {
                return *event;
            }
        }
    }
}

fn ids<'e>(events: impl IntoIterator<Item = &'e Event>) -> BTreeSet<EventId> {
    events.into_iter().map(|event| event.id).collect()
}

fn ago(seconds: u64) -> Timestamp {
    Timestamp::now() - Duration::from_secs(seconds)
}

async fn what_is_published_is_found_character_by_character(url: &str) {
    let user = User::join(url).await;
    let sent = user.event(1, &[&["t", TEXT], &["d", "", "b"]], TEXT, ago(0));
    assert_eq!(user.publish(&sent).await, None);
    let found = user.query(Filter::new().author(user.key())).await;
    assert_eq!(
        found.iter().map(JsonUtil::as_json).collect::<Vec<_>>(),
        [sent.as_json()]
    );
}

async fn of_200_events_the_newest_come_and_all_are_counted(url: &str) {
    let user = User::join(url).await;
    let events: Vec<Event> = (0..200)
        .map(|i| user.event(1, &[], &i.to_string(), ago(1_000 - i)))
        .collect();
    for event in &events {
        assert_eq!(user.publish(event).await, None);
    }
    let mine = Filter::new().author(user.key());
    assert_eq!(ids(&user.query(mine.clone()).await), ids(&events));
    assert_eq!(
        ids(&user.query(mine.clone().limit(7)).await),
        ids(&events[193..])
    );
    let window = mine
        .since(events[10].created_at)
        .until(events[19].created_at);
    assert_eq!(ids(&user.query(window.clone()).await), ids(&events[10..20]));
    assert_eq!(user.count(window).await, 10);
}

async fn subscriptions_of_one_client_get_what_comes_each_its_own(url: &str) {
    let (reader, ada, ben) = (
        User::join(url).await,
        User::join(url).await,
        User::join(url).await,
    );
    let mut by_ada = reader.live(Filter::new().author(ada.key())).await;
    let mut by_ben = reader.live(Filter::new().author(ben.key())).await;
    for (writer, content) in [(&ada, "1"), (&ben, "2"), (&ada, "3")] {
        assert_eq!(
            writer.publish(&writer.event(1, &[], content, ago(0))).await,
            None
        );
    }
    assert_eq!(by_ada.next().await.content, "1");
    assert_eq!(by_ada.next().await.content, "3");
    assert_eq!(by_ben.next().await.content, "2");
}

async fn the_latest_version_stays_and_ephemeral_events_do_not(url: &str) {
    let user = User::join(url).await;
    for (kind, tags) in [(0, &[][..]), (10_002, &[]), (30_023, &[&["d", "ü"][..]])] {
        let versions = [10, 5, 7].map(|seconds| user.event(kind, tags, "", ago(seconds)));
        assert_eq!(user.publish(&versions[0]).await, None);
        assert_eq!(user.publish(&versions[1]).await, None);
        let refused = user.publish(&versions[2]).await.expect("a refusal");
        assert!(refused.contains("duplicate"), "{refused}");
        let mine = Filter::new().author(user.key()).kind(Kind::from(kind));
        assert_eq!(ids(&user.query(mine).await), ids([&versions[1]]));
    }
    let reader = User::join(url).await;
    let ephemeral = Filter::new().author(user.key()).kind(Kind::from(20_001));
    let mut live = reader.live(ephemeral.clone()).await;
    let sent = user.event(20_001, &[], "now", ago(0));
    assert_eq!(user.publish(&sent).await, None);
    assert_eq!(live.next().await, sent);
    assert!(reader.query(ephemeral).await.is_empty());
}

async fn private_messages_reach_their_recipient_alone(url: &str) {
    let (sender, receiver, other) = (
        User::join(url).await,
        User::join(url).await,
        User::join(url).await,
    );
    let wrap =
        |text: &'static str| EventBuilder::private_msg(&sender.keys, receiver.key(), text, []);
    let first = wrap(TEXT).await.expect("a wrap");
    assert_eq!(sender.publish(&first).await, None);
    let wanted = Filter::new().kind(Kind::GiftWrap).pubkey(receiver.key());
    let found = receiver.query(wanted.clone()).await;
    assert_eq!(ids(&found), ids([&first]));
    let opened = receiver
        .client
        .unwrap_gift_wrap(&found[0])
        .await
        .expect("a wrap");
    assert_eq!(opened.rumor.content, TEXT);
    let mut live = receiver.live(wanted.clone()).await;
    let second = wrap("second").await.expect("a wrap");
    assert_eq!(sender.publish(&second).await, None);
    // It may have received the stored one under this name as well.
    while live.next().await.id != second.id {}
    assert!(other.query(wanted.clone()).await.is_empty());
    let nobody = User::nobody(url).await;
    assert!(nobody.query(Filter::new().id(first.id)).await.is_empty());
}

async fn a_protected_event_is_taken_from_its_author_alone(url: &str) {
    let (author, other) = (User::join(url).await, User::join(url).await);
    let event = author.event(1, &[&["-"]], "mine", ago(0));
    let refused = other.publish(&event).await.expect("a refusal");
    assert!(refused.contains("restricted"), "{refused}");
    assert!(other.query(Filter::new().id(event.id)).await.is_empty());
    assert_eq!(author.publish(&event).await, None);
    assert_eq!(
        ids(&other.query(Filter::new().id(event.id)).await),
        ids([&event])
    );
}

/// A client with events of its own fetches and sends exactly those that are missing.
async fn two_sets_become_one_by_synchronization(url: &str) {
    let author = User::join(url).await;
    let events: Vec<Event> = (0..120)
        .map(|number| author.event(1, &[], &number.to_string(), ago(500 - number / 3)))
        .collect();
    let database = MemoryDatabase::with_opts(MemoryDatabaseOptions {
        events: true,
        max_events: None,
    });
    for (number, event) in events.iter().enumerate() {
        if number % 5 != 0 {
            assert_eq!(author.publish(event).await, None);
        }
        if number % 7 != 0 {
            database.save_event(event).await.expect("memory");
        }
    }
    let by = |wanted: fn(usize) -> bool| -> BTreeSet<EventId> {
        let all = events.iter().enumerate();
        ids(all
            .filter(|(number, _)| wanted(*number))
            .map(|(_, event)| event))
    };
    let client = Client::builder().database(database).build();
    let reader = User::with(url, client, Keys::generate()).await;
    let mine = Filter::new().author(author.key());
    let both = SyncOptions::new().direction(SyncDirection::Both);
    let synced = soon("an end", reader.client.sync(mine.clone(), &both)).await;
    let synced = synced.expect("a synchronization");
    assert!(synced.failed.is_empty(), "{synced:?}");
    let found =
        |ids: &std::collections::HashSet<EventId>| ids.iter().copied().collect::<BTreeSet<_>>();
    let only_ours = by(|number| number % 5 == 0 && number % 7 != 0);
    let only_theirs = by(|number| number % 5 != 0 && number % 7 == 0);
    assert_eq!(
        (found(&synced.local), found(&synced.sent)),
        (only_ours.clone(), only_ours)
    );
    assert_eq!(
        (found(&synced.remote), found(&synced.received)),
        (only_theirs.clone(), only_theirs)
    );
    let missing_in_both = by(|number| number % 35 == 0);
    let all: BTreeSet<EventId> = ids(&events).difference(&missing_in_both).copied().collect();
    assert_eq!(ids(&author.query(mine).await), all);
}

/// Runs a test; a panic fails it, and the others continue.
macro_rules! run {
    ($url:expr, $failed:expr, $($test:ident),+ $(,)?) => {
        $(
            let url = $url.to_owned();
            let outcome = tokio::spawn(async move { $test(&url).await }).await;
            let name = stringify!($test).replace('_', " ");
            println!("{} {name}", if outcome.is_ok() { "ok     " } else { "FAILED " });
            $failed += usize::from(outcome.is_err());
        )+
    };
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let relay = OurRelay::start();
    let mut failed = 0;
    run!(
        relay.url,
        failed,
        what_is_published_is_found_character_by_character,
        of_200_events_the_newest_come_and_all_are_counted,
        subscriptions_of_one_client_get_what_comes_each_its_own,
        the_latest_version_stays_and_ephemeral_events_do_not,
        private_messages_reach_their_recipient_alone,
        a_protected_event_is_taken_from_its_author_alone,
        two_sets_become_one_by_synchronization,
    );
    println!("{failed} failed");
    ExitCode::from(u8::from(failed > 0))
}
