//! Answers to plain requests and to refused upgrades.

use std::borrow::Cow;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use httpdate::HttpDate;

/// The last second of an HTTP date: 9999-12-31 23:59:59 (RFC 9110 §5.6.7).
const LAST_DATE: Duration = Duration::from_secs(253_402_300_799);

/// A whole response, without the headers that [`Response::append_to`] adds for framing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// Names and values. `Content-Length`, `Transfer-Encoding`, `Connection` and `Date` belong to
    /// the sender: values given for them are ignored.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// Sent unchanged, with its length.
    pub body: Bytes,
}

impl Response {
    /// A response without a body.
    pub fn new(status: u16) -> Response {
        Response {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// A body of `text/plain` in UTF-8.
    pub fn text(status: u16, body: impl Into<String>) -> Response {
        Response::with_body(status, "text/plain; charset=utf-8", body.into())
    }

    /// A body of `application/json`, which the caller has encoded.
    pub fn json(status: u16, body: impl Into<String>) -> Response {
        Response::with_body(status, "application/json", body.into())
    }

    fn with_body(status: u16, content_type: &str, body: String) -> Response {
        let response = Response {
            body: body.into(),
            ..Response::new(status)
        };
        response.with_header("Content-Type", content_type)
    }

    /// Adds a header. A header that would break out of its line (CR, LF or another control
    /// character in the value, a name that is not a token) is dropped.
    #[must_use]
    pub fn with_header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Response {
        let (name, value) = (name.into(), value.into());
        if is_emittable(&name, &value) {
            self.headers.push((name, value));
        }
        self
    }

    /// The standard's phrase for a status, or an empty string (RFC 9110 §15).
    pub fn status_reason(status: u16) -> &'static str {
        match status {
            200 => "OK",
            201 => "Created",
            202 => "Accepted",
            204 => "No Content",
            301 => "Moved Permanently",
            302 => "Found",
            303 => "See Other",
            304 => "Not Modified",
            307 => "Temporary Redirect",
            308 => "Permanent Redirect",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            406 => "Not Acceptable",
            408 => "Request Timeout",
            409 => "Conflict",
            410 => "Gone",
            411 => "Length Required",
            413 => "Content Too Large",
            414 => "URI Too Long",
            415 => "Unsupported Media Type",
            417 => "Expectation Failed",
            421 => "Misdirected Request",
            422 => "Unprocessable Content",
            426 => "Upgrade Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            _ => "",
        }
    }

    /// Appends the response, with `now` for its date (RFC 9110 §6.6.1).
    ///
    /// `head_only` omits the body but not its length, as for HEAD (RFC 9110 §9.3.2). Without
    /// `keep_alive` the response announces the end of the connection (RFC 9112 §9.6).
    pub fn append_to(&self, out: &mut Vec<u8>, now: SystemTime, keep_alive: bool, head_only: bool) {
        debug_assert!((200..600).contains(&self.status), "status {}", self.status);
        append_status_line(out, self.status);
        // A wrong clock is not a reason to fail.
        let date = HttpDate::from(now.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST_DATE));
        append_header(out, "Date", &date.to_string());
        let mut has_upgrade = false;
        for (name, value) in &self.headers {
            if !is_framing(name) && is_emittable(name, value) {
                has_upgrade |= name.eq_ignore_ascii_case("Upgrade");
                append_header(out, name, value);
            }
        }
        // RFC 9110 §7.8: a sender of Upgrade must name it in Connection too.
        match (has_upgrade, keep_alive) {
            (true, true) => append_header(out, "Connection", "Upgrade"),
            (true, false) => append_header(out, "Connection", "Upgrade, close"),
            (false, false) => append_header(out, "Connection", "close"),
            (false, true) => {}
        }
        let may_have_body = !matches!(self.status, 204 | 304);
        if may_have_body {
            append_header(out, "Content-Length", &self.body.len().to_string());
        }
        out.extend_from_slice(b"\r\n");
        if may_have_body && !head_only {
            out.extend_from_slice(&self.body);
        }
    }
}

fn append_status_line(out: &mut Vec<u8>, status: u16) {
    // Writing to a `Vec` cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 {status} {}\r\n",
        Response::status_reason(status)
    );
}

fn append_header(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn is_framing(name: &str) -> bool {
    ["Content-Length", "Transfer-Encoding", "Connection", "Date"]
        .iter()
        .any(|framing| name.eq_ignore_ascii_case(framing))
}

/// Whether a header stays within its line: a token, and a value without control characters.
pub(crate) fn is_emittable(name: &str, value: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_text = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
    !name.is_empty() && name.bytes().all(is_token) && value.bytes().all(is_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

    #[test]
    fn a_response_is_dated_whatever_the_clock_says() {
        let dated = |now| {
            let mut out = Vec::new();
            Response::new(200).append_to(&mut out, now, true, false);
            String::from_utf8(out).unwrap()
        };
        let sunday = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (now, date) in [
            (sunday, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (
                UNIX_EPOCH - Duration::from_secs(1),
                "Thu, 01 Jan 1970 00:00:00 GMT",
            ),
            (UNIX_EPOCH + LAST_DATE * 2, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let expected = format!("HTTP/1.1 200 OK\r\nDate: {date}\r\n");
            assert!(dated(now).starts_with(&expected), "{date}");
        }
    }

    fn written(response: &Response, keep_alive: bool, head_only: bool) -> String {
        let mut out = Vec::new();
        response.append_to(&mut out, UNIX_EPOCH, keep_alive, head_only);
        String::from_utf8(out).unwrap().replacen(DATE, "", 1)
    }

    #[test]
    fn a_response_has_its_length_and_says_when_the_connection_ends() {
        let response = Response::text(409, "Username already connected\n").with_header("X-A", "b");
        let head = "HTTP/1.1 409 Conflict\r\nContent-Type: text/plain; charset=utf-8\r\nX-A: b\r\n";
        let body = "Username already connected\n";
        assert_eq!(
            written(&response, true, false),
            format!("{head}Content-Length: 27\r\n\r\n{body}")
        );
        assert_eq!(
            written(&response, false, false),
            format!("{head}Connection: close\r\nContent-Length: 27\r\n\r\n{body}")
        );
        assert_eq!(
            written(&response, true, true),
            format!("{head}Content-Length: 27\r\n\r\n")
        );
    }

    #[test]
    fn an_empty_body_has_length_zero_but_204_has_no_length() {
        let ok = written(&Response::new(200), true, false);
        assert_eq!(ok, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let none = written(&Response::new(204), true, false);
        assert_eq!(none, "HTTP/1.1 204 No Content\r\n\r\n");
        let unknown = written(&Response::new(299), true, false);
        assert!(unknown.starts_with("HTTP/1.1 299 \r\n"));
    }

    #[test]
    fn a_header_cannot_break_out_of_its_line() {
        for (name, value) in [
            ("X-A", "b\r\nX-Evil: 1"),
            ("X-A", "b\nX-Evil: 1"),
            ("X-A", "b\rX-Evil: 1"),
            ("X-A", "b\0"),
            ("X-A\r\nX-Evil", "1"),
            ("X A", "1"),
            ("X-A:", "1"),
            ("", "1"),
        ] {
            let response = Response::new(200).with_header(name, value);
            assert_eq!(response, Response::new(200), "{name:?}: {value:?}");
            let mut pushed = Response::new(200);
            pushed.headers.push((name.into(), value.into()));
            let plain = written(&Response::new(200), true, false);
            assert_eq!(written(&pushed, true, false), plain, "{name:?}: {value:?}");
        }
    }

    #[test]
    fn the_framing_is_not_the_callers() {
        let response = Response::json(200, "{}")
            .with_header("content-length", "99")
            .with_header("Connection", "keep-alive")
            .with_header("date", "today")
            .with_header("Transfer-Encoding", "chunked");
        let text = written(&response, true, false);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n";
        assert_eq!(text, format!("{head}\r\n{{}}"));
    }

    #[test]
    fn an_upgrade_header_is_named_in_connection() {
        let response = Response::new(426).with_header("Upgrade", "websocket");
        assert!(written(&response, true, false).contains("\r\nConnection: Upgrade\r\n"));
        assert!(written(&response, false, false).contains("\r\nConnection: Upgrade, close\r\n"));
    }
}
