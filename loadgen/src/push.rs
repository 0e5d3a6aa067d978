//! Messages that go in over HTTP: requests to a push API, its answers, and its messages to clients.
//!
//! The connections that push are kept alive, and requests are pipelined without waiting for
//! answers. The payload is the `subject`, which the API passes on byte for byte.

use std::io::Write;

use crate::stamp::{Payloads, Stamp};

/// A push API on the target's own listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Path of the API.
    pub path: String,
    /// Sent as `X-API-KEY`.
    pub key: Option<String>,
}

/// The most bytes of a message around its subject.
pub(crate) const AROUND_BYTES_MAX: usize = 1024;
/// The most bytes of one answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 64;

const BODY_HEAD: &str = "{\"event_name\":\"load\",\"subject\":";
const SUBJECT: &[u8] = b"\"subject\":";

/// Appends a request that pushes one message to everybody or to one room.
pub(crate) fn append_request(
    out: &mut Vec<u8>,
    push: &Push,
    authority: &str,
    room: Option<u32>,
    payloads: &Payloads,
    stamp: &Stamp,
) {
    let digits = |room: u32| room.checked_ilog10().unwrap_or(0) as usize + 1;
    let token_bytes = room.map_or(0, |room| ",\"token\":\"room\"".len() + digits(room));
    let bytes = BODY_HEAD.len() + payloads.size() + token_bytes + 1;
    // Writing into a vector cannot fail.
    let _ = write!(out, "POST {} HTTP/1.1\r\nHost: {authority}\r\n", push.path);
    if let Some(key) = &push.key {
        let _ = write!(out, "X-API-KEY: {key}\r\n");
    }
    let _ = write!(
        out,
        "Content-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n{BODY_HEAD}"
    );
    payloads.append_plain(out, stamp);
    if let Some(room) = room {
        let _ = write!(out, ",\"token\":\"room{room}\"");
    }
    out.push(b'}');
}

/// The payload within a message that a push API sends.
pub(crate) fn subject_of(message: &[u8], payload_bytes: usize) -> Option<&[u8]> {
    let head = &message[..message.len().min(AROUND_BYTES_MAX)];
    let found = head
        .windows(SUBJECT.len())
        .position(|part| part == SUBJECT)?;
    let from = found + SUBJECT.len();
    Some(&message[from..message.len().min(from + payload_bytes)])
}

/// Parses complete answers. Returns their number, if all are successful, and their bytes.
///
/// # Errors
/// An invalid answer, or one that refuses a message.
pub(crate) fn answers(bytes: &[u8]) -> Result<(u32, usize), String> {
    let (mut count, mut at) = (0, 0);
    while let Some(taken) = answer(&bytes[at..])? {
        count += 1;
        at += taken;
    }
    Ok((count, at))
}

/// Bytes of the first answer; `None` until it is complete.
fn answer(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes);
    let parsed = parsed.map_err(|error| format!("the push API's answer is not HTTP: {error}"))?;
    let httparse::Status::Complete(head_bytes) = parsed else {
        return whole_or_wait(bytes, usize::MAX);
    };
    let length = response.headers.iter().find_map(|header| {
        let is_length = header.name.eq_ignore_ascii_case("content-length");
        let value = std::str::from_utf8(header.value)
            .ok()
            .filter(|_| is_length)?;
        value.trim().parse::<usize>().ok()
    });
    let body_bytes = length.ok_or("the push API's answer has no Content-Length")?;
    let whole = whole_or_wait(bytes, head_bytes.saturating_add(body_bytes))?;
    let code = response.code.unwrap_or(0);
    match whole {
        Some(until) if code != 200 => {
            let body = String::from_utf8_lossy(&bytes[head_bytes..until]);
            Err(format!(
                "the push API answered {code}: {}",
                body.trim().escape_debug()
            ))
        }
        whole => Ok(whole),
    }
}

fn whole_or_wait(bytes: &[u8], until: usize) -> Result<Option<usize>, String> {
    if bytes.len() >= until {
        return Ok(Some(until));
    }
    match bytes.len() {
        0..ANSWER_BYTES_MAX => Ok(None),
        _ => Err("the push API's answer is too large".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::{Form, Reading};

    #[test]
    fn a_request_is_whole_json_and_its_subject_is_the_payload() {
        let payloads = Payloads::new(300, Form::Json, 1, 9);
        let stamp = Stamp {
            measured: true,
            publisher: 3,
            seq: 9,
            due_ns: 16,
            sent_ns: 32,
            is_held: false,
        };
        let push = Push {
            path: "/api/push".to_owned(),
            key: Some("secret".to_owned()),
        };
        for (room, token) in [
            (None, "null"),
            (Some(0), "\"room0\""),
            (Some(10), "\"room10\""),
        ] {
            let mut request = Vec::new();
            append_request(&mut request, &push, "h:1", room, &payloads, &stamp);
            let text = String::from_utf8(request).expect("text");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert!(
                head.contains(&format!("Content-Length: {}", body.len())),
                "{head}"
            );
            assert!(head.contains("X-API-KEY: secret"), "{head}");
            let value: serde_json::Value = serde_json::from_str(body).expect("JSON");
            assert_eq!(value["token"].to_string(), token);
            let sent = format!("{{\"event\":\"load\",\"data\":{}}}", &body[21..]);
            let subject = subject_of(sent.as_bytes(), 300).expect("a subject");
            assert!(matches!(payloads.read(subject), Reading::Intact(read, _) if read == stamp));
        }
        assert_eq!(subject_of(b"{}", 300), None);
    }

    #[test]
    fn split_push_answers_are_counted_and_refusals_reported() {
        let good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        let both = [&good[..], good].concat();
        for len in 0..both.len() {
            let whole = len / good.len();
            assert_eq!(
                answers(&both[..len]),
                Ok((whole as u32, whole * good.len()))
            );
        }
        let bad = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nkey";
        assert!(answers(bad).is_err_and(|told| told.contains("401") && told.contains("key")));
        assert!(answers(b"SSH-2.0-x\r\n").is_err());
        assert!(answers(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
