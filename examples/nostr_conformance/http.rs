//! Requests over HTTP at the relay's URL.

use std::io::{Read as _, Write as _};

use serde_json::Value;

use crate::client::Target;

/// A larger answer is not a valid document.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// A header's value; several are joined.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let values: Vec<&str> = lines
            .filter(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub(crate) fn json(&self) -> Result<Value, String> {
        if self.status != 200 {
            return Err(format!("status {}", self.status));
        }
        let parsed = serde_json::from_slice(&self.body);
        parsed.map_err(|error| format!("the body is no JSON: {error}"))
    }
}

/// Sends a request with additional header lines, each ended by CR LF.
pub(crate) fn request(target: &Target, method: &str, headers: &str) -> Result<Response, String> {
    request_with_body(target, method, headers, "")
}

/// Sends a POST with this body.
pub(crate) fn post(target: &Target, headers: &str, body: &str) -> Result<Response, String> {
    let headers = format!("Content-Length: {}\r\n{headers}", body.len());
    request_with_body(target, "POST", &headers, body)
}

fn request_with_body(
    target: &Target,
    method: &str,
    headers: &str,
    body: &str,
) -> Result<Response, String> {
    let (authority, path) = target.authority_and_path()?;
    let mut stream = target.dial()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{headers}\r\n{body}"
    );
    let failed = |error: std::io::Error| format!("{method}: {error}");
    stream.write_all(head.as_bytes()).map_err(failed)?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while !is_whole(&bytes, method) {
        match stream.read(&mut chunk).map_err(failed)? {
            0 => break,
            read => bytes.extend_from_slice(&chunk[..read]),
        }
        if bytes.len() as u64 > ANSWER_BYTES_MAX {
            return Err("the answer is too long".to_owned());
        }
    }
    parsed(&bytes)
}

fn parsed(bytes: &[u8]) -> Result<Response, String> {
    let (head, body) = split(bytes).ok_or("the answer ends within its head")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let mut response = Response {
        status: status.ok_or_else(|| format!("no status: {head}"))?,
        head: head.to_owned(),
        body: body.to_vec(),
    };
    let coding = response.header("transfer-encoding").unwrap_or_default();
    if coding.eq_ignore_ascii_case("chunked") {
        response.body = unchunked(body).ok_or("a chunk is incomplete")?;
    }
    Ok(response)
}

fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 4..]))
}

/// Whether the body's length shows that the answer is complete; otherwise the end of the connection
/// does.
fn is_whole(bytes: &[u8], method: &str) -> bool {
    let Some((head, body)) = split(bytes) else {
        return false;
    };
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = lengths
        .next()
        .and_then(|(_, value)| value.trim().parse().ok());
    length.is_some_and(|length: usize| method == "HEAD" || body.len() >= length)
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let chunk = rest.get(end + 2..end + 2 + size)?;
        body.extend_from_slice(chunk);
        rest = rest.get(end + 2 + size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_by_length_or_in_chunks() {
        let whole = b"HTTP/1.1 200 OK\r\nVary: a\r\ncontent-length: 2\r\nvary:b\r\n\r\n{}";
        assert!(is_whole(whole, "GET") && !is_whole(&whole[..whole.len() - 1], "GET"));
        let response = parsed(whole).expect("an answer");
        assert_eq!(
            (response.status, response.body.as_slice()),
            (200, &b"{}"[..])
        );
        assert_eq!(response.header("Vary").as_deref(), Some("a, b"));
        let chunked = b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let response = parsed(chunked).expect("an answer");
        assert_eq!(
            (response.status, response.body.as_slice()),
            (404, &b"abc"[..])
        );
        assert!(response.json().is_err() && parsed(b"HTTP/1.1 200 OK\r\n").is_err());
    }
}
