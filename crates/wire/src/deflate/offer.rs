//! Negotiation of `Sec-WebSocket-Extensions` (RFC 6455 §9.1, RFC 7692 §5.1 and §7.1).

use std::borrow::Cow;
use std::fmt::{self, Display};

use super::WINDOW_BITS;

/// permessage-deflate as negotiated: without context takeover in either direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreement {
    /// The window that the client asked us not to exceed, as a power of two.
    server_max_window_bits: Option<u8>,
}

impl Agreement {
    /// The window that messages deflated for this client must fit, as a power of two.
    pub fn window_bits(self) -> u8 {
        self.server_max_window_bits.unwrap_or(*WINDOW_BITS.end())
    }
}

/// The value of the response header. `client_max_window_bits` is omitted: our window holds any
/// window of the client (RFC 7692 §7.1.2.2).
impl Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permessage-deflate; server_no_context_takeover; client_no_context_takeover")?;
        match self.server_max_window_bits {
            Some(bits) => write!(f, "; server_max_window_bits={bits}"),
            None => Ok(()),
        }
    }
}

/// A header that does not follow the grammar: the handshake fails (RFC 6455 §9.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MalformedExtensions;

/// The first offer in the headers' values that can be accepted as it is.
///
/// # Errors
///
/// A value that does not follow the grammar, no matter which extension it offers.
pub fn negotiate<'b>(
    values: impl Iterator<Item = &'b str>,
) -> Result<Option<Agreement>, MalformedExtensions> {
    let mut agreed = None;
    for value in values {
        let mut list = Cursor { rest: value };
        while !list.is_at_end() {
            // Empty items are allowed (RFC 9110 §5.6.1).
            if list.take(',') {
                continue;
            }
            let offered = list.extension()?;
            agreed = agreed.or(offered);
            if !list.is_at_end() && !list.take(',') {
                return Err(MalformedExtensions);
            }
        }
    }
    Ok(agreed)
}

/// One offer, while its parameters are read. An unknown parameter, an invalid value or a repeated
/// parameter declines it as a whole (RFC 7692 §7.1).
struct Offer {
    is_acceptable: bool,
    seen: [bool; 4],
    agreement: Agreement,
}

impl Offer {
    fn of(extension: &str) -> Offer {
        Offer {
            is_acceptable: extension == "permessage-deflate",
            seen: [false; 4],
            agreement: Agreement {
                server_max_window_bits: None,
            },
        }
    }

    fn add(&mut self, parameter: &str, value: Option<&str>) {
        let bits = value.and_then(window_bits);
        let (place, is_valid) = match parameter {
            "server_no_context_takeover" => (0, value.is_none()),
            "client_no_context_takeover" => (1, value.is_none()),
            "server_max_window_bits" => {
                self.agreement.server_max_window_bits = bits;
                (2, bits.is_some())
            }
            "client_max_window_bits" => (3, value.is_none() || bits.is_some()),
            _ => return self.is_acceptable = false,
        };
        self.is_acceptable &= is_valid && !self.seen[place];
        self.seen[place] = true;
    }
}

/// RFC 7692 §7.1.2: 8 to 15, without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [b'8' | b'9'] | [b'1', b'0'..=b'5'] => value.parse().ok(),
        _ => None,
    }
}

/// The unread rest of a header's value.
struct Cursor<'b> {
    rest: &'b str,
}

impl<'b> Cursor<'b> {
    fn is_at_end(&mut self) -> bool {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        self.rest.is_empty()
    }

    /// Takes a delimiter if it is next, ignoring blanks.
    fn take(&mut self, delimiter: char) -> bool {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        let after = self.rest.strip_prefix(delimiter);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn token(&mut self) -> Result<&'b str, MalformedExtensions> {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        let len = self.rest.bytes().take_while(|byte| is_token(*byte)).count();
        let (token, rest) = self.rest.split_at(len);
        self.rest = rest;
        match token {
            "" => Err(MalformedExtensions),
            token => Ok(token),
        }
    }

    /// An extension with its parameters.
    fn extension(&mut self) -> Result<Option<Agreement>, MalformedExtensions> {
        let mut offer = Offer::of(self.token()?);
        while self.take(';') {
            let parameter = self.token()?;
            let value = if self.take('=') {
                Some(self.value()?)
            } else {
                None
            };
            offer.add(parameter, value.as_deref());
        }
        Ok(offer.is_acceptable.then_some(offer.agreement))
    }

    /// A token, in quotes or not.
    fn value(&mut self) -> Result<Cow<'b, str>, MalformedExtensions> {
        if !self.take('"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = String::new();
        let mut bytes = self.rest.bytes().enumerate();
        loop {
            let (at, byte) = bytes.next().ok_or(MalformedExtensions)?;
            let byte = match byte {
                b'"' => {
                    self.rest = &self.rest[at + 1..];
                    break;
                }
                b'\\' => bytes.next().ok_or(MalformedExtensions)?.1,
                other => other,
            };
            // A quoted value must be a token, too (RFC 6455 §9.1).
            if !is_token(byte) {
                return Err(MalformedExtensions);
            }
            value.push(char::from(byte));
        }
        match value.is_empty() {
            true => Err(MalformedExtensions),
            false => Ok(Cow::Owned(value)),
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    /// The answer to the offers of these headers; empty if none is accepted.
    fn answer(values: &[&str]) -> String {
        let agreed = negotiate(values.iter().copied()).expect("well-formed");
        agreed.map_or(String::new(), |agreed| agreed.to_string())
    }

    #[test]
    fn the_offers_of_the_standard_are_accepted() {
        // RFC 7692 §7.1.3, in its order.
        assert_eq!(answer(&["permessage-deflate"]), PLAIN);
        assert_eq!(
            answer(&["permessage-deflate; client_max_window_bits; server_max_window_bits=10"]),
            format!("{PLAIN}; server_max_window_bits=10")
        );
        let with_fallback = "permessage-deflate; client_max_window_bits; \
             server_max_window_bits=10, permessage-deflate; client_max_window_bits";
        assert_eq!(
            answer(&[with_fallback]),
            format!("{PLAIN}; server_max_window_bits=10")
        );
        // §5.1 and §7.1.2: other parameters, all windows, and quotes.
        assert_eq!(
            answer(&["permessage-deflate; server_no_context_takeover; client_no_context_takeover"]),
            PLAIN
        );
        for bits in 8..=15 {
            let offer = format!("permessage-deflate;server_max_window_bits={bits}");
            let agreed = negotiate([offer.as_str()].into_iter()).unwrap().unwrap();
            assert_eq!(agreed.window_bits(), bits);
            let offer = format!("permessage-deflate; client_max_window_bits=\"{bits}\"");
            assert_eq!(answer(&[&offer]), PLAIN);
        }
        let agreed = negotiate(["permessage-deflate"].into_iter()).unwrap();
        assert_eq!(agreed.unwrap().window_bits(), 15);
    }

    #[test]
    fn the_first_offer_that_can_be_accepted_is() {
        let ours = format!("{PLAIN}; server_max_window_bits=9");
        for values in [
            &["x-other; a=b, permessage-deflate; server_max_window_bits=9"][..],
            &[
                "x-other",
                "permessage-deflate; server_max_window_bits = \"\\9\"",
            ],
            &["permessage-deflate; unknown, permessage-deflate; server_max_window_bits=9"],
            &[
                "permessage-deflate; server_max_window_bits=7",
                ",, permessage-deflate ;\tserver_max_window_bits=9 ,permessage-deflate",
            ],
        ] {
            assert_eq!(answer(values), ours, "{values:?}");
        }
    }

    #[test]
    fn an_offer_with_anything_wrong_is_declined() {
        for parameters in [
            "unknown",
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover; client_no_context_takeover",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=08",
            "server_max_window_bits=+9",
            "server_max_window_bits=10; server_max_window_bits=10",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=015",
            "client_max_window_bits; client_max_window_bits",
            "Server_Max_Window_Bits=10",
        ] {
            let offer = format!("permessage-deflate; {parameters}");
            assert_eq!(answer(&[&offer]), "", "{offer}");
        }
        assert_eq!(answer(&["x-webkit-deflate-frame, Permessage-Deflate"]), "");
        assert_eq!(answer(&["", " , "]), "");
        assert_eq!(answer(&[]), "");
    }

    #[test]
    fn malformed_extension_headers_fail() {
        for value in [
            "permessage-deflate;",
            "permessage-deflate; =8",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=\"10",
            "permessage-deflate; server_max_window_bits=\"\"",
            "permessage-deflate; server_max_window_bits=\"1 0\"",
            "permessage-deflate; server_max_window_bits=\"10\\",
            "permessage-deflate server_max_window_bits=10",
            "permessage-deflate, \"x\"",
            "a/b",
            "permessage-deflate; é",
            "permessage-deflate; a=\"é\"",
        ] {
            assert_eq!(
                negotiate([value].into_iter()),
                Err(MalformedExtensions),
                "{value}"
            );
        }
    }
}
