//! Request heads: parsed once, strictly, borrowed from the receive buffer (RFC 9112 §2 to §6).

use httparse::Status;

use super::HttpError;
use super::headers::{HeaderSpace, Headers};

/// The methods that a path may answer (RFC 9110 §9.3, RFC 5789). CONNECT is for proxies.
const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH",
];

/// Empty lines that are skipped before a request line (RFC 9112 §2.2 asks for at least one).
const EMPTY_LINES_MAX: usize = 4;

/// The bounds of a request head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Largest head: request line, headers and the empty line after them. Over it: 431.
    pub head_bytes: usize,
    /// Largest request target. Over it: 414.
    pub target_bytes: usize,
}

/// The body that follows a head (RFC 9112 §6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyLength {
    /// No body was announced.
    None,
    /// This many bytes; may be zero.
    Length(u64),
    /// For a [`ChunkedDecoder`](super::ChunkedDecoder).
    Chunked,
}

/// A request head that violates no rule or limit. Everything in it is borrowed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Head<'b> {
    /// As sent; methods are case-sensitive.
    pub method: &'b str,
    /// As sent: visible ASCII.
    pub target: &'b str,
    /// The target's path up to `?`, not decoded; `/` if the absolute form has none, `*` for
    /// `OPTIONS *`.
    pub path: &'b str,
    /// The part after the first `?`, not decoded.
    pub query: Option<&'b str>,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub version: u8,
    /// As sent, values without the white space around them.
    pub headers: Headers<'b>,
    /// The body that follows the head.
    pub body: BodyLength,
    /// Whether the client waits for a 100 before it sends the body (RFC 9110 §10.1.1).
    pub expects_continue: bool,
}

impl<'b> Head<'b> {
    /// The head at the front of `bytes` and its length, or `None` if it is not whole yet.
    ///
    /// Head and header space share one lifetime, so a `HeaderSpace` is made for each call:
    ///
    /// ```
    /// use corecast_wire::http::{Head, HeadLimits, HeaderSpace};
    ///
    /// let limits = HeadLimits { head_bytes: 8192, target_bytes: 2048 };
    /// let bytes = b"GET /chat?x=1 HTTP/1.1\r\nHost: example.com\r\n\r\n";
    /// let mut space = HeaderSpace::new();
    /// let (head, len) = Head::parse(bytes, &mut space, &limits)?.ok_or("not whole")?;
    /// assert_eq!((head.path, head.query, len), ("/chat", Some("x=1"), bytes.len()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The first offence. Offences in the lines themselves are reported before the head is whole,
    /// so the result does not depend on how the bytes are split.
    pub fn parse(
        bytes: &'b [u8],
        space: &'b mut HeaderSpace<'b>,
        limits: &HeadLimits,
    ) -> Result<Option<(Head<'b>, usize)>, HttpError> {
        let skipped = skip_empty_lines(bytes)?;
        // Only bytes that may belong to the head are examined, no matter how many follow in the
        // buffer.
        let text = &bytes[..bytes.len().min(limits.head_bytes)];
        let text = text.get(skipped..).unwrap_or_default();
        let mut request = httparse::Request::new(&mut []);
        let status = request.parse_with_uninit_headers(text, &mut space.slots);
        if let Some(method) = request.method {
            let target_len = request.path.map_or_else(
                || open_target_len(text.get(method.len() + 1..).unwrap_or_default()),
                str::len,
            );
            if target_len > limits.target_bytes {
                return Err(HttpError::TargetTooLong);
            }
        }
        match status.map_err(|error| name_offence(error, &request, text))? {
            Status::Partial if has_bare_lf(text) => Err(HttpError::BadLineEnd),
            Status::Partial if bytes.len() >= limits.head_bytes => Err(HttpError::HeadTooLarge),
            Status::Partial => Ok(None),
            Status::Complete(len) if has_bare_lf(&text[..len]) => Err(HttpError::BadLineEnd),
            Status::Complete(len) => Ok(Some((Head::judge(request)?, skipped + len))),
        }
    }

    /// Checks the parts that httparse does not: method, target, Host, and the end of the body.
    fn judge(request: httparse::Request<'b, 'b>) -> Result<Head<'b>, HttpError> {
        let httparse::Request {
            method: Some(method),
            path: Some(target),
            version: Some(version),
            headers,
        } = request
        else {
            return Err(HttpError::BadRequestLine);
        };
        let headers = Headers(headers);
        if !METHODS.contains(&method) {
            return Err(HttpError::UnknownMethod);
        }
        let target_parts = TargetParts::split(method, target)?;
        let framing = Framing::read(headers)?;
        framing.judge_host(version, target_parts.authority)?;
        let (path, query) = (target_parts.path, target_parts.query);
        let body = framing.body(version)?;
        let expects_continue = expects_continue(headers, version)?;
        Ok(Head {
            method,
            target,
            path,
            query,
            version,
            headers,
            body,
            expects_continue,
        })
    }

    /// The value of the first header of this name, case-insensitively; `None` if it is absent or
    /// not UTF-8.
    pub fn header(&self, name: &str) -> Option<&'b str> {
        let header = self
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    }

    /// The values of all headers of this name, case-insensitively, that are UTF-8.
    pub fn headers_named<'n>(&self, name: &'n str) -> impl Iterator<Item = &'b str> + use<'b, 'n> {
        headers_named(self.headers, name)
    }

    /// Whether a comma-separated header, or several of that name, has this token,
    /// case-insensitively.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        let mut headers = self.headers.iter();
        headers.any(|header| {
            header.name.eq_ignore_ascii_case(name) && has_item(header.value, token.as_bytes())
        })
    }

    /// Whether another request may follow on the connection (RFC 9112 §9.3).
    ///
    /// HTTP/1.0 clients get one answer per connection: keeping it open would need another header,
    /// and the few remaining ones gain nothing from it.
    pub fn keep_alive(&self) -> bool {
        self.version == 1 && !self.has_token("connection", "close")
    }

    /// Whether it asks for a WebSocket, even if incorrectly: see [`crate::handshake::check`].
    pub fn is_upgrade(&self) -> bool {
        self.has_token("upgrade", "websocket")
    }
}

/// Whether a comma-separated value has this item, case-insensitively. Compares bytes: the rest of
/// the value need not be UTF-8.
fn has_item(value: &[u8], wanted: &[u8]) -> bool {
    let mut items = value.split(|byte| *byte == b',');
    let is_it = |item: &[u8]| {
        item.len() >= wanted.len() && trim_white_space(item).eq_ignore_ascii_case(wanted)
    };
    !wanted.is_empty() && items.any(is_it)
}

/// Without the white space around it (RFC 9110 §5.6.3).
fn trim_white_space(mut item: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = item {
        item = rest;
    }
    item
}

fn headers_named<'b, 'n>(
    headers: Headers<'b>,
    name: &'n str,
) -> impl Iterator<Item = &'b str> + use<'b, 'n> {
    headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case(name))
        .filter_map(|header| std::str::from_utf8(header.value).ok())
}

/// The items of a comma-separated header over all its occurrences, without empty ones
/// (RFC 9110 §5.6.1).
pub(crate) fn list_items<'b, 'n>(
    headers: Headers<'b>,
    name: &'n str,
) -> impl Iterator<Item = &'b str> + use<'b, 'n> {
    headers_named(headers, name)
        .flat_map(|value| value.split(','))
        .map(|item| item.trim_matches([' ', '\t']))
        .filter(|item| !item.is_empty())
}

/// Bytes of the empty lines at the front.
fn skip_empty_lines(bytes: &[u8]) -> Result<usize, HttpError> {
    let mut skipped = 0;
    while bytes[skipped..].starts_with(b"\r\n") {
        skipped += 2;
        if skipped > 2 * EMPTY_LINES_MAX {
            return Err(HttpError::EmptyLines);
        }
    }
    match bytes.get(skipped) {
        Some(b'\n') => Err(HttpError::BadLineEnd),
        _ => Ok(skipped),
    }
}

/// Whether a line ends in LF alone. The loop has no branch, so it can be vectorised.
fn has_bare_lf(text: &[u8]) -> bool {
    let followers = text.get(1..).unwrap_or_default();
    text.iter()
        .zip(followers)
        .fold(false, |found, (&before, &byte)| {
            found | ((byte == b'\n') & (before != b'\r'))
        })
}

/// Bytes of a target that does not end in a space (yet).
fn open_target_len(text: &[u8]) -> usize {
    text.iter()
        .position(|&byte| byte <= b' ' || byte == 0x7F)
        .unwrap_or(text.len())
}

fn name_offence(
    error: httparse::Error,
    request: &httparse::Request<'_, '_>,
    text: &[u8],
) -> HttpError {
    if has_bare_lf_before_offence(text) {
        return HttpError::BadLineEnd;
    }
    match error {
        httparse::Error::HeaderName => HttpError::BadHeaderName,
        httparse::Error::HeaderValue => HttpError::BadHeaderValue,
        httparse::Error::NewLine => HttpError::BadLineEnd,
        httparse::Error::TooManyHeaders => HttpError::TooManyHeaders,
        httparse::Error::Token if request.method.is_some() => HttpError::BadTarget,
        httparse::Error::Token | httparse::Error::Status => HttpError::BadRequestLine,
        httparse::Error::Version => {
            let version_at = request.method.map_or(0, str::len) + request.path.map_or(0, str::len);
            name_version_offence(text.get(version_at + 2..).unwrap_or_default())
        }
    }
}

/// Whether a line ended in LF alone, which httparse tolerates, before the byte at which httparse
/// failed.
fn has_bare_lf_before_offence(text: &[u8]) -> bool {
    let bare_lf = text
        .windows(2)
        .position(|pair| pair[1] == b'\n' && pair[0] != b'\r');
    bare_lf.is_some_and(|before| {
        let mut space = HeaderSpace::new();
        let mut request = httparse::Request::new(&mut []);
        let up_to_it = &text[..before + 2];
        request
            .parse_with_uninit_headers(up_to_it, &mut space.slots)
            .is_ok()
    })
}

/// Distinguishes an unsupported HTTP version from a malformed one by the first differing byte, so
/// that the result does not depend on the bytes after it.
fn name_version_offence(version: &[u8]) -> HttpError {
    let first_other = version
        .iter()
        .zip(b"HTTP/1.1")
        .find(|(byte, form)| byte != form);
    match first_other {
        Some((byte, b'1')) if byte.is_ascii_digit() => HttpError::UnsupportedVersion,
        _ => HttpError::BadRequestLine,
    }
}

/// A request target in its parts (RFC 9112 §3.2).
struct TargetParts<'b> {
    /// Only in the absolute form.
    authority: Option<&'b str>,
    path: &'b str,
    query: Option<&'b str>,
}

impl<'b> TargetParts<'b> {
    fn split(method: &str, target: &'b str) -> Result<TargetParts<'b>, HttpError> {
        // A fragment is never sent, and non-ASCII characters are sent percent-encoded.
        if !target
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        {
            return Err(HttpError::BadTarget);
        }
        if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
            let (path, query) = split_query(target);
            return Ok(TargetParts {
                authority: None,
                path,
                query,
            });
        }
        let (scheme, rest) = target.split_once("://").ok_or(HttpError::BadTarget)?;
        let schemes = ["http", "https", "ws", "wss"];
        if !schemes
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
        {
            return Err(HttpError::BadTarget);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err(HttpError::BadTarget);
        }
        let (path, query) = split_query(path);
        let path = if path.is_empty() { "/" } else { path };
        Ok(TargetParts {
            authority: Some(authority),
            path,
            query,
        })
    }
}

fn split_query(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// The headers that decide a request's host and where it ends.
#[derive(Default)]
struct Framing<'b> {
    host: Option<&'b [u8]>,
    length: Option<u64>,
    coding: Option<&'b [u8]>,
}

impl<'b> Framing<'b> {
    fn read(headers: Headers<'b>) -> Result<Framing<'b>, HttpError> {
        let mut framing = Framing::default();
        for header in headers {
            if header.name.eq_ignore_ascii_case("host") {
                if framing.host.replace(header.value).is_some() {
                    return Err(HttpError::RepeatedHost);
                }
            } else if header.name.eq_ignore_ascii_case("content-length") {
                if framing
                    .length
                    .replace(content_length(header.value)?)
                    .is_some()
                {
                    return Err(HttpError::RepeatedLength);
                }
            } else if header.name.eq_ignore_ascii_case("transfer-encoding")
                && framing.coding.replace(header.value).is_some()
            {
                return Err(HttpError::RepeatedEncoding);
            }
        }
        Ok(framing)
    }

    fn judge_host(&self, version: u8, authority: Option<&str>) -> Result<(), HttpError> {
        let Some(host) = self.host else {
            return if version == 1 {
                Err(HttpError::MissingHost)
            } else {
                Ok(())
            };
        };
        // Names, addresses in brackets, a port; no user, path or second host.
        let is_host_byte =
            |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(byte);
        if !host.iter().all(is_host_byte) {
            return Err(HttpError::BadHost);
        }
        match authority {
            Some(authority) if !authority.as_bytes().eq_ignore_ascii_case(host) => {
                Err(HttpError::HostMismatch)
            }
            _ => Ok(()),
        }
    }

    fn body(&self, version: u8) -> Result<BodyLength, HttpError> {
        match (self.length, self.coding) {
            (None, None) => Ok(BodyLength::None),
            (Some(length), None) => Ok(BodyLength::Length(length)),
            (Some(_), Some(_)) => Err(HttpError::LengthAndEncoding),
            (None, Some(_)) if version == 0 => Err(HttpError::EncodingInHttp10),
            (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => {
                Ok(BodyLength::Chunked)
            }
            (None, Some(_)) => Err(HttpError::UnknownEncoding),
        }
    }
}

/// Whether the client waits for a 100. HTTP/1.0 has no expectations and no 100 (RFC 9110 §10.1.1).
fn expects_continue(headers: Headers<'_>, version: u8) -> Result<bool, HttpError> {
    if version == 0 {
        return Ok(false);
    }
    let mut expectations = list_items(headers, "expect").peekable();
    let is_asked = expectations.peek().is_some();
    if expectations.all(|each| each.eq_ignore_ascii_case("100-continue")) {
        Ok(is_asked)
    } else {
        Err(HttpError::UnknownExpectation)
    }
}

/// Only digits: `parse` alone would accept a sign.
fn content_length(value: &[u8]) -> Result<u64, HttpError> {
    std::str::from_utf8(value)
        .ok()
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or(HttpError::BadLength)
}

#[cfg(test)]
mod tests;
