use super::*;

fn signer() -> Signer {
    Signer::new([7; 32]).expect("a key")
}

fn draft(content: &str) -> Draft {
    Draft {
        created_at: 1_700_000_000,
        kind: 1,
        tags: vec![vec!["t".into(), "\u{1}ä".into()], vec!["-".into()]],
        content: content.into(),
    }
}

fn limits() -> EventLimits {
    EventLimits {
        bytes: 1 << 18,
        tags: 5,
        content_chars: None,
        future_s: 900,
        past_s: None,
        pow: 0,
        kinds: None,
    }
}

#[test]
fn signed_events_verify_and_keep_their_form() {
    let event = signer().sign(draft("a\n\"\\/\u{0}\u{1f}\u{7f}\u{fdd1}😀"));
    let json = event.json();
    let parsed = ParsedEvent::parse(json).expect("an event");
    assert_eq!(parsed.check_id(), Ok(()));
    let again = parsed.into_unverified().verify().expect("a signature");
    assert_eq!(again.json(), json);
    assert_eq!(again.body()[..], [json.as_bytes(), b"]"].concat());
    assert!(again.is_protected());
    assert_eq!(
        again.single_letter_tags().collect::<Vec<_>>(),
        [(b't', "\u{1}ä")]
    );
}

#[test]
fn another_spelling_is_the_same_event() {
    let event = signer().sign(draft("a/é\u{1}"));
    let spelled = event
        .json()
        .replace("a/é", " \\u0061\\/\\u00e9")
        .replace(" \\u0061", "\\u0061");
    let spelled = spelled
        .replace("[[", "[ [")
        .replace(",\"sig\"", ", \"x\":{\"y\":[1]},\n\"sig\"");
    assert_ne!(spelled, event.json());
    let parsed = ParsedEvent::parse(&spelled).expect("an event");
    assert_eq!(parsed.check_id(), Ok(()));
    assert_eq!(parsed.into_unverified().event().json(), event.json());
}

/// An event made by another implementation, with its id and signature.
#[test]
fn an_event_from_elsewhere_holds() {
    let json = include_str!("elsewhere.json").trim_end();
    let parsed = ParsedEvent::parse(json).expect("an event");
    assert_eq!(parsed.check_id(), Ok(()));
    assert_eq!(
        parsed
            .into_unverified()
            .verify()
            .expect("a signature")
            .json(),
        json
    );
}

/// By nostr-tools, which hashes the output of `JSON.stringify`.
#[test]
fn an_id_may_be_the_hash_of_escaped_control_characters() {
    let json = concat!(
        r#"{"id":"8f2475696578e5091929e578a751ef83d7884d532d2717da59d313589853a4c0","pubkey":"98"#,
        r#"9c0b76cb563971fdc9bef31ec06c3560f3249d6ee9e5d83c57625596e05f6f","created_at":17000000"#,
        r#"00,"kind":1,"tags":[["t","\u0001x"]],"content":"a\u0000b\u001fé","sig":"badfba9aeadea"#,
        r#"4a0965b111d33b761434ab7cee650ba6ca6498427bf3509a987f9c20fd59e94111cbeaf8320a46fa3da77"#,
        r#"82397edb40a2696ad6c5e4e9223674"}"#,
    );
    let parsed = ParsedEvent::parse(json).expect("an event");
    assert_eq!(parsed.check_id(), Ok(()));
    let event = parsed.into_unverified().verify().expect("a signature");
    assert_eq!(event.json(), json);
    let other_spelling = json.replace("a\\u0000", "\\u0061\\u0000");
    assert_ne!(other_spelling, json);
    let parsed = ParsedEvent::parse(&other_spelling).expect("an event");
    assert_eq!(parsed.check_id(), Ok(()));
    // A hash of neither form, and one that mixes the forms, belong to another event.
    for (of, wrong) in [("a\\u0000", "a"), ("\\u0001x", "x")] {
        let changed = json.replace(of, wrong);
        assert_ne!(changed, json);
        let parsed = ParsedEvent::parse(&changed).expect("an event");
        assert_eq!(parsed.check_id(), Err(EventError::WrongId));
    }
}

#[test]
fn invalid_events_are_refused_by_name() {
    let event = signer().sign(draft("x"));
    let id = hex::to_hex(event.id());
    let cases = [
        ("{", "[", "an event is an object"),
        (",\"kind\":1", "", "missing field `kind`"),
        (
            "\"kind\":1",
            "\"kind\":1,\"kind\":1",
            "duplicate field `kind`",
        ),
        ("\"kind\":1", "\"kind\":65536", "invalid value"),
        ("\"kind\":1", "\"kind\":1.0", "invalid type"),
        ("1700000000", "17e8", "invalid type"),
        ("1700000000", "-1", "invalid value"),
        (
            "1700000000",
            "1099511627776",
            "created_at must be below 2^40",
        ),
        (
            &id,
            &id.to_uppercase(),
            "id must be 64 lower-case hex digits",
        ),
        (&id, &id[1..], "id must be 64 lower-case hex digits"),
        ("[\"-\"]", "[1]", "tags must be arrays of strings"),
        ("[\"-\"]", "\"-\"", "tags must be arrays of strings"),
        (
            "\"content\":\"x\"",
            "\"content\":null",
            "content must be a string",
        ),
        (
            "\"content\":\"x\"",
            "\"content\":\"\\ud800\"",
            "content has a lone surrogate",
        ),
        (
            "\"content\":\"x\"",
            "\"content\":\"\\udc00\\ud800\"",
            "content has a lone surrogate",
        ),
    ];
    for (from, to, told) in cases {
        let json = event.json().replacen(from, to, 1);
        let error = ParsedEvent::parse(&json).expect_err(&json).to_string();
        assert!(
            error.starts_with("invalid: ") && error.contains(told),
            "{error} for {json}"
        );
    }
}

#[test]
fn a_wrong_id_and_a_wrong_signature_differ_in_their_errors() {
    let event = signer().sign(draft("x"));
    let json = event
        .json()
        .replace("\"content\":\"x\"", "\"content\":\"y\"");
    let parsed = ParsedEvent::parse(&json).expect("an event");
    assert_eq!(parsed.check_id(), Err(EventError::WrongId));
    let other = signer().sign(draft("y"));
    let sig = |event: &Event| event.json()[event.json().len() - 130..].to_owned();
    let json = event.json().replace(&sig(&event), &sig(&other));
    let verify = |json: &str| {
        ParsedEvent::parse(json)
            .expect("an event")
            .into_unverified()
            .verify()
    };
    assert_eq!(verify(&json).err(), Some(EventError::WrongSignature));
    let json = event
        .json()
        .replace(&hex::to_hex(event.pubkey()), &"f".repeat(64));
    assert_eq!(verify(&json).err(), Some(EventError::NoKey));
}

const NOW: u64 = 1_700_000_000;

/// The reason for which the event of this draft is refused.
fn check(draft: Draft, limits: &EventLimits) -> Option<EventError> {
    let event = signer().sign(draft);
    let parsed = ParsedEvent::parse(event.json()).expect("an event");
    let checked = parsed.check(limits, NOW);
    checked
        .and_then(|()| parsed.check_further(limits, NOW))
        .err()
}

#[test]
fn limits_are_checked_cheapest_first() {
    let with = |change: fn(&mut Draft)| {
        let mut draft = draft("x");
        change(&mut draft);
        check(draft, &limits())
    };
    assert_eq!(with(|_| {}), None);
    assert_eq!(with(|draft| draft.created_at += 900), None);
    assert_eq!(
        with(|draft| draft.created_at += 901),
        Some(EventError::TooNew)
    );
    assert_eq!(
        with(|draft| draft.kind = 22_242),
        Some(EventError::ForAuth(22_242))
    );
    assert_eq!(
        with(|draft| draft.tags = vec![vec![]; 6]),
        Some(EventError::TooManyTags(5))
    );
    let content = |text: &str, chars| {
        let limits = EventLimits {
            content_chars: Some(chars),
            ..limits()
        };
        check(draft(text), &limits)
    };
    assert_eq!(content("a\\\n\\\"é", 6), None);
    assert_eq!(
        content("a\\\n\\\"é", 5),
        Some(EventError::ContentTooLong(5))
    );
    assert_eq!(content("\u{1}b", 1), Some(EventError::ContentTooLong(1)));
    let old = EventLimits {
        past_s: Some(10),
        ..limits()
    };
    let aged = Draft {
        created_at: NOW - 11,
        ..draft("x")
    };
    assert_eq!(check(aged, &old), Some(EventError::TooOld));
    let kinds = EventLimits {
        kinds: Some([7].into()),
        ..limits()
    };
    assert_eq!(check(draft("x"), &kinds), Some(EventError::KindNotTaken(1)));
    let large = check(
        draft(&"x".repeat(200)),
        &EventLimits {
            bytes: 400,
            ..limits()
        },
    );
    assert_eq!(large, Some(EventError::TooLarge(400)));
}

#[test]
fn expired_events_are_refused() {
    let expiring = |time: &str| {
        let mut draft = draft("x");
        draft
            .tags
            .push(vec!["expiration".to_owned(), time.to_owned()]);
        check(draft, &limits())
    };
    assert_eq!(expiring("1700000000"), Some(EventError::Expired));
    assert_eq!(expiring("1700000001"), None);
    assert!(matches!(expiring("soon"), Some(EventError::Form(_))));
}

#[test]
fn work_counts_if_it_was_aimed_at() {
    let needs = |pow| EventLimits { pow, ..limits() };
    let mined = |target: Option<&str>| {
        (0..).find_map(|nonce: u32| {
            let mut tag = vec!["nonce".to_owned(), nonce.to_string()];
            tag.extend(target.map(str::to_owned));
            let event = signer().sign(Draft {
                tags: vec![tag],
                ..draft("x")
            });
            (event.id()[0] == 0).then_some(event)
        })
    };
    let check = |event: &Event, pow| {
        let parsed = ParsedEvent::parse(event.json()).expect("an event");
        parsed.check_further(&needs(pow), 0)
    };
    let aimed = mined(Some("8")).expect("a number");
    assert_eq!(check(&aimed, 8), Ok(()));
    let lucky = mined(Some("7")).expect("a number");
    assert_eq!(
        check(&lucky, 8),
        Err(EventError::TooLittleWork {
            needed: 8,
            found: 7
        })
    );
    assert_eq!(check(&mined(None).expect("a number"), 8), Ok(()));
    assert!(matches!(
        check(&lucky, 255),
        Err(EventError::TooLittleWork { .. })
    ));
}

#[test]
fn a_repost_of_a_protected_event_is_refused() {
    let protected = signer().sign(draft("x"));
    let repost = |kind, content: &str| {
        let event = signer().sign(Draft {
            kind,
            content: content.into(),
            ..Draft::default()
        });
        let parsed = ParsedEvent::parse(event.json()).expect("an event");
        parsed.check_further(&limits(), 0)
    };
    assert_eq!(
        repost(6, protected.json()),
        Err(EventError::EmbedsProtected)
    );
    assert_eq!(
        repost(16, protected.json()),
        Err(EventError::EmbedsProtected)
    );
    assert_eq!(repost(1, protected.json()), Ok(()));
    assert_eq!(repost(6, "not JSON"), Ok(()));
    assert_eq!(
        repost(6, &protected.json().replace("[\"-\"]", "[\"+\"]")),
        Ok(())
    );
}
