//! The context of a check: connections, keys, and the relay's document.

use serde_json::{Value, json};

use crate::client::{Client, Target};
use crate::event::{Draft, Event, Key, now, random_hex};
use crate::rules::{Verdict, skipped};

/// The kind of the event that answers a challenge.
pub(crate) const AUTH_KIND: u32 = 22242;

pub(crate) struct Context {
    pub(crate) target: Target,
    /// The relay's own URL, for NIP-42.
    pub(crate) auth_url: String,
    /// A key that may manage the relay, for NIP-86.
    pub(crate) admin: Option<Key>,
    /// The document of NIP-11, or why it is missing.
    pub(crate) document: Result<Value, String>,
}

impl Context {
    /// A connection with all rights of an ordinary client.
    pub(crate) fn open(&self) -> Result<Client, Verdict> {
        if self.limitation("auth_required") == Some(&json!(true)) {
            return self.authenticated(&[&Key::random()]);
        }
        Ok(self.open_bare()?)
    }

    /// A connection without a key.
    pub(crate) fn open_bare(&self) -> Result<Client, String> {
        Client::open(&self.target)
    }

    /// A value of `limitation` in the document of NIP-11.
    pub(crate) fn limitation(&self, name: &str) -> Option<&Value> {
        self.document.as_ref().ok()?.get("limitation")?.get(name)
    }

    /// A number of `limitation`; the rule is skipped if it is missing.
    pub(crate) fn limit(&self, name: &str) -> Result<u64, Verdict> {
        let limit = self.limitation(name).and_then(Value::as_u64);
        limit.ok_or_else(|| skipped(format!("the relay's limitation has no {name}")))
    }

    /// Whether the document lists the NIP.
    pub(crate) fn lists(&self, nip: u64) -> bool {
        let document = self.document.as_ref().ok();
        let listed = document.and_then(|document| document.get("supported_nips")?.as_array());
        listed.is_some_and(|listed| listed.contains(&json!(nip)))
    }

    /// The proof of work that the relay wants, in bits.
    pub(crate) fn pow_bits(&self) -> u32 {
        let bits = self.limitation("min_pow_difficulty");
        bits.and_then(Value::as_u64).unwrap_or(0) as u32
    }

    /// Signs a draft so that the relay may accept it.
    pub(crate) fn sign(&self, key: &Key, draft: Draft) -> Event {
        match self.pow_bits() {
            0 => draft.signed(key),
            bits => draft.mined(key, bits, bits),
        }
    }

    /// A connection that has received a challenge.
    pub(crate) fn challenged(&self) -> Result<Client, Verdict> {
        let mut client = self.open_bare()?;
        client.send_request("challenge", &[json!({"kinds": [1059], "limit": 1})])?;
        while client.challenge.is_none() {
            let answer = client.next()?;
            if matches!(answer.verb(), "CLOSED" | "EOSE") {
                break;
            }
        }
        client.close("challenge")?;
        if client.challenge.is_none() {
            let draft = Draft::new(1, "").tag(&["-"]);
            client.publish(&self.sign(&Key::random(), draft))?;
        }
        if client.challenge.is_none() {
            return Err(skipped("the relay sends no challenge"));
        }
        Ok(client)
    }

    /// The event that answers the challenge of a connection.
    pub(crate) fn auth_event(&self, client: &Client, key: &Key) -> Event {
        self.auth_draft(client).signed(key)
    }

    pub(crate) fn auth_draft(&self, client: &Client) -> Draft {
        let challenge = client.challenge.clone().unwrap_or_default();
        Draft::new(AUTH_KIND, "")
            .tag(&["relay", &self.auth_url])
            .tag(&["challenge", &challenge])
    }

    /// A connection with these keys.
    pub(crate) fn authenticated(&self, keys: &[&Key]) -> Result<Client, Verdict> {
        let mut client = self.challenged()?;
        for key in keys {
            let event = self.auth_event(&client, key);
            client.send(&json!(["AUTH", event.json()]))?;
            let receipt = client.receipt(&event.id)?;
            if !receipt.is_accepted {
                let url = &self.auth_url;
                let reason = receipt.reason;
                return Err(format!("no AUTH with the relay's URL {url}: {reason}").into());
            }
        }
        Ok(client)
    }

    /// Two connections, a key and its events.
    pub(crate) fn stage(&self) -> Result<Stage<'_>, Verdict> {
        Ok(Stage {
            context: self,
            publisher: self.open()?,
            reader: self.open()?,
            key: Key::random(),
            now: now(),
        })
    }
}

/// A publisher and a reader.
pub(crate) struct Stage<'a> {
    pub(crate) context: &'a Context,
    pub(crate) publisher: Client,
    pub(crate) reader: Client,
    /// A new key: any event found of it was published here.
    pub(crate) key: Key,
    now: u64,
}

impl Stage<'_> {
    /// The time `seconds` before this stage began.
    pub(crate) fn ago(&self, seconds: u64) -> u64 {
        self.now - seconds
    }

    pub(crate) fn sign(&self, draft: Draft) -> Event {
        self.context.sign(&self.key, draft)
    }

    /// Publishes an event that must be accepted.
    pub(crate) fn publish(&mut self, draft: Draft) -> Result<Event, String> {
        let event = self.sign(draft);
        self.publisher.accept(&event)?;
        Ok(event)
    }

    /// Publishes a note of kind 1, `seconds` old.
    pub(crate) fn note(&mut self, seconds: u64) -> Result<Event, String> {
        let draft = Draft::new(1, &random_hex()).at(self.ago(seconds));
        self.publish(draft)
    }

    /// A filter of this key's events, with more fields.
    pub(crate) fn mine(&self, more: Value) -> Value {
        let mut filter = json!({"authors": [self.key.public]});
        if let (Some(filter), Value::Object(more)) = (filter.as_object_mut(), more) {
            filter.extend(more);
        }
        filter
    }

    /// The ids that a filter of this key's events finds.
    pub(crate) fn found(&mut self, more: Value) -> Result<Vec<String>, String> {
        let filter = self.mine(more);
        self.reader.found(&[filter])
    }

    /// All events published since then reach the subscription before a note that is published now.
    pub(crate) fn nothing_before_a_note(&mut self, sub: &str) -> Result<(), String> {
        let note = self.note(0)?;
        self.reader.expect_live(sub, &note)
    }
}
