//! Events as NIP-01 defines them, serialised, hashed, signed and checked by this suite's own code,
//! so that it shares no mistake with a relay.

use std::time::{SystemTime, UNIX_EPOCH};

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use secp256k1::{Keypair, XOnlyPublicKey, schnorr};
use serde_json::{Value, json};

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A secret key with its public one.
pub(crate) struct Key {
    pair: Keypair,
    /// 64 hex digits.
    pub(crate) public: String,
}

impl Key {
    /// A new key: a relay that keeps events has none of it.
    pub(crate) fn random() -> Key {
        loop {
            // Zero and numbers past the curve's order are not valid keys.
            if let Ok(pair) = Keypair::from_secret_bytes(random_bytes()) {
                return Key::from(pair);
            }
        }
    }

    /// The key with this secret half: 64 hex digits.
    pub(crate) fn of_secret(secret: &str) -> Option<Key> {
        let pair = Keypair::from_secret_bytes(bytes_of(secret)?);
        pair.ok().map(Key::from)
    }

    /// The signature of an id, in hex.
    fn sign(&self, id: &[u8]) -> String {
        hex(schnorr::sign_no_aux_rand(id, &self.pair).as_byte_array())
    }
}

impl From<Keypair> for Key {
    fn from(pair: Keypair) -> Key {
        let public = hex(&pair.x_only_public_key().0.to_byte_array());
        Key { pair, public }
    }
}

fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.expect("the system has random bytes");
    bytes
}

/// 64 hex digits that identify nothing.
pub(crate) fn random_hex() -> String {
    hex(&random_bytes())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn bytes_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_hex = |letter: u8| matches!(letter, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * N || !text.bytes().all(is_hex) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// A string as it is hashed: seven characters are escaped, all others are verbatim.
fn hashed_string(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '\n' => out.push_str("\\n"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn hashed_tags(tags: &[Vec<String>]) -> String {
    let tag = |tag: &Vec<String>| {
        let values: Vec<String> = tag.iter().map(|value| hashed_string(value)).collect();
        format!("[{}]", values.join(","))
    };
    let tags: Vec<String> = tags.iter().map(tag).collect();
    format!("[{}]", tags.join(","))
}

/// The content of an event, before it is signed.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) created_at: u64,
    kind: u32,
    tags: Vec<Vec<String>>,
    content: String,
}

impl Draft {
    /// Of this second.
    pub(crate) fn new(kind: u32, content: &str) -> Draft {
        Draft {
            created_at: now(),
            kind,
            tags: Vec::new(),
            content: content.to_owned(),
        }
    }

    pub(crate) fn at(mut self, created_at: u64) -> Draft {
        self.created_at = created_at;
        self
    }

    pub(crate) fn tag(mut self, values: &[&str]) -> Draft {
        self.tags
            .push(values.iter().map(|&each| each.to_owned()).collect());
        self
    }

    pub(crate) fn signed(self, key: &Key) -> Event {
        let id = self.id(&key.public);
        Event {
            id: hex(&id),
            pubkey: key.public.clone(),
            sig: key.sign(&id),
            draft: self,
        }
    }

    /// With a nonce that gives the id this many leading zero bits; it commits to `target`.
    pub(crate) fn mined(self, key: &Key, bits: u32, target: u32) -> Event {
        let mut nonce = 0_u64;
        loop {
            let draft = (self.clone()).tag(&["nonce", &nonce.to_string(), &target.to_string()]);
            if zero_bits(&draft.id(&key.public)) >= bits {
                return draft.signed(key);
            }
            nonce += 1;
        }
    }

    fn id(&self, pubkey: &str) -> Vec<u8> {
        id_of(
            pubkey,
            &self.created_at.to_string(),
            &self.kind.to_string(),
            &hashed_tags(&self.tags),
            &hashed_string(&self.content),
        )
    }
}

/// The SHA-256 of the serialised event, its parts as JSON.
fn id_of(pubkey: &str, created_at: &str, kind: &str, tags: &str, content: &str) -> Vec<u8> {
    let serialised = format!("[0,\"{pubkey}\",{created_at},{kind},{tags},{content}]");
    digest(&SHA256, serialised.as_bytes()).as_ref().to_vec()
}

/// The leading zero bits of an id.
pub(crate) fn zero_bits(id: &[u8]) -> u32 {
    let zero_bytes = id.iter().take_while(|&&byte| byte == 0).count();
    let next = id.get(zero_bytes).map_or(0, |byte| byte.leading_zeros());
    8 * zero_bytes as u32 + next
}

/// A signed event.
#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) pubkey: String,
    pub(crate) sig: String,
    pub(crate) draft: Draft,
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id,
            "pubkey": self.pubkey,
            "created_at": self.draft.created_at,
            "kind": self.draft.kind,
            "tags": self.draft.tags,
            "content": self.draft.content,
            "sig": self.sig,
        })
    }

    /// With another key's signature of the same id.
    pub(crate) fn signed_by(self, key: &Key) -> Event {
        let id: [u8; 32] = bytes_of(&self.id).unwrap_or_default();
        Event {
            sig: key.sign(&id),
            ..self
        }
    }

    /// With another pubkey and the id that follows from it; the signature stays.
    pub(crate) fn claimed_by(self, pubkey: &str) -> Event {
        Event {
            id: hex(&self.draft.id(pubkey)),
            pubkey: pubkey.to_owned(),
            ..self
        }
    }

    /// The fields as they go over the wire.
    pub(crate) fn fields(&self) -> Fields {
        let json = self.json();
        let field = |name: &'static str| (name, json[name].to_string());
        Fields(FIELDS.map(field).to_vec())
    }
}

const FIELDS: [&str; 7] = [
    "id",
    "pubkey",
    "created_at",
    "kind",
    "tags",
    "content",
    "sig",
];

/// The fields of an event as JSON, so that any of them can be wrong.
#[derive(Clone)]
pub(crate) struct Fields(Vec<(&'static str, String)>);

impl Fields {
    /// An event of these parts, which are JSON and are hashed as they are.
    pub(crate) fn signed(
        key: &Key,
        created_at: &str,
        kind: &str,
        tags: &str,
        content: &str,
    ) -> Fields {
        let id = id_of(&key.public, created_at, kind, tags, content);
        let quoted = |text: &str| format!("\"{text}\"");
        let parts = [
            quoted(&hex(&id)),
            quoted(&key.public),
            created_at.to_owned(),
            kind.to_owned(),
            tags.to_owned(),
            content.to_owned(),
            quoted(&key.sign(&id)),
        ];
        Fields(FIELDS.into_iter().zip(parts).collect())
    }

    /// With another value for a field.
    pub(crate) fn with(mut self, name: &str, json: &str) -> Fields {
        for (field, value) in &mut self.0 {
            if *field == name {
                json.clone_into(value);
            }
        }
        self
    }

    /// With one field more, at the end.
    pub(crate) fn and(mut self, name: &'static str, json: &str) -> Fields {
        self.0.push((name, json.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Fields {
        self.0.retain(|(field, _)| *field != name);
        self
    }

    pub(crate) fn reversed(mut self) -> Fields {
        self.0.reverse();
        self
    }

    /// A field's JSON.
    pub(crate) fn get(&self, name: &str) -> &str {
        let field = self.0.iter().find(|(field, _)| *field == name);
        field.map_or("", |(_, value)| value)
    }

    /// The id without its quotes.
    pub(crate) fn id(&self) -> &str {
        self.get("id").trim_matches('"')
    }

    /// The event, `between` after each comma and colon.
    pub(crate) fn text(&self, between: &str) -> String {
        let fields = self.0.iter();
        let fields = fields.map(|(name, value)| format!("\"{name}\":{between}{value}"));
        let fields: Vec<String> = fields.collect();
        format!("{{{}}}", fields.join(&format!(",{between}")))
    }
}

/// Checks the shape, the id and the signature of an event that came from a relay.
pub(crate) fn verify(event: &Value) -> Result<(), String> {
    let text = |name: &str| event[name].as_str().ok_or(format!("{name} is no string"));
    let number = |name: &str| event[name].as_u64().ok_or(format!("{name} is no number"));
    let tags: Vec<Vec<String>> = serde_json::from_value(event["tags"].clone())
        .map_err(|error| format!("tags are no arrays of strings: {error}"))?;
    let draft = Draft {
        created_at: number("created_at")?,
        kind: u32::try_from(number("kind")?).map_err(|_| "kind is too large")?,
        tags,
        content: text("content")?.to_owned(),
    };
    let id = draft.id(text("pubkey")?);
    if hex(&id) != text("id")? {
        return Err(format!("the id is not that of the event: {event}"));
    }
    let key = bytes_of(text("pubkey")?).ok_or("pubkey is not in hex")?;
    let key = XOnlyPublicKey::from_byte_array(key).map_err(|_| "pubkey is no key")?;
    let sig = bytes_of(text("sig")?).ok_or("sig is not in hex")?;
    schnorr::verify(&schnorr::Signature::from_byte_array(sig), &id, &key)
        .map_err(|_| format!("the signature is wrong: {event}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array<const N: usize>(text: &str) -> [u8; N] {
        bytes_of(&text.to_ascii_lowercase()).expect("hex")
    }

    /// The second row of BIP-340's table.
    #[test]
    fn signs_and_verifies_as_the_standard_says() {
        let secret = array("B7E151628AED2A6ABF7158809CF4F3C762E7160F38B4DA56A784D9045190CFEF");
        let random = array("0000000000000000000000000000000000000000000000000000000000000001");
        let message: [u8; 32] =
            array("243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89");
        let signature: [u8; 64] = array(
            "6896BD60EEAE296DB48A229FF71DFE071BDE413E6D43F917DC8DCF8C78DE3341\
             8906D11AC976ABCCB20B091292BFF4EA897EFCB639EA871CFA95F6DE339E4B0A",
        );
        let pair = Keypair::from_secret_bytes(secret).expect("a key");
        let key = Key::from(pair);
        assert_eq!(
            key.public,
            "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659"
        );
        let signed = schnorr::sign_with_aux_rand(&message, &pair, &random);
        assert_eq!(signed.as_byte_array(), &signature);
        let (public, _) = pair.x_only_public_key();
        assert!(schnorr::verify(&signed, &message, &public).is_ok());
        assert!(schnorr::verify(&signed, &message[1..], &public).is_err());
    }

    /// The example of NIP-13, and one flaw at a time.
    #[test]
    fn an_event_of_the_nips_is_right_and_each_change_is_found() {
        let event = json!({
            "id": "000006d8c378af1779d2feebc7603a125d99eca0ccf1085959b307f64e5dd358",
            "pubkey": "a48380f4cfcc1ad5378294fcac36439770f9c878dd880ffa94bb74ea54a6f243",
            "created_at": 1_651_794_653,
            "kind": 1,
            "tags": [["nonce", "776797", "20"]],
            "content": "It's just me mining my own business",
            "sig": concat!(
                "284622fc0a3f4f1303455d5175f7ba962a3300d136085b9566801bc2e0699de0",
                "c7e31e44c81fb40ad9049173742e904713c3594a1da0fc5d2382a25c11aba977",
            ),
        });
        assert_eq!(verify(&event), Ok(()));
        let id: [u8; 32] = array(event["id"].as_str().expect("a string"));
        assert_eq!(zero_bits(&id), 21);
        let other = "a48380f4cfcc1ad5378294fcac36439770f9c878dd880ffa94bb74ea54a6f244";
        let changes = [
            ("id", json!(other)),
            ("pubkey", json!(other)),
            ("created_at", json!(1_651_794_654)),
            ("kind", json!(2)),
            ("tags", json!([["nonce", "776797", "21"]])),
            ("tags", json!([["nonce", 776_797]])),
            ("content", json!("It's just me mining my own business.")),
            ("sig", json!("28".repeat(64))),
            ("sig", json!("28".repeat(63))),
        ];
        for (name, value) in changes {
            let mut wrong = event.clone();
            wrong[name] = value.clone();
            assert!(verify(&wrong).is_err(), "{name}: {value}");
        }
    }

    #[test]
    fn seven_characters_are_escaped_and_no_other() {
        assert_eq!(
            hashed_string("\n\"\\\r\t\u{8}\u{c}/\u{1}\u{7f}\u{fdd1}\u{1f600}"),
            "\"\\n\\\"\\\\\\r\\t\\b\\f/\u{1}\u{7f}\u{fdd1}\u{1f600}\""
        );
    }

    #[test]
    fn signed_events_verify_and_mined_ones_have_their_bits() {
        let key = Key::random();
        let draft = Draft::new(1, "a \u{1} b").tag(&["t", "\n"]).at(5);
        let event = draft.clone().mined(&key, 9, 8);
        assert_eq!(verify(&event.json()), Ok(()));
        let id: [u8; 32] = array(&event.id);
        assert!(zero_bits(&id) >= 9 && zero_bits(&[0; 32]) == 256);
        let text = draft.signed(&key).fields().reversed().text(" ");
        let parsed: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(verify(&parsed), Ok(()));
        let raw = Fields::signed(&key, "5", "1", "[]", "\"x\"");
        let parsed: Value = serde_json::from_str(&raw.text("")).expect("JSON");
        assert_eq!(verify(&parsed), Ok(()));
    }
}
