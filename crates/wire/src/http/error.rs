//! Why a request is refused.

use strum::IntoStaticStr;

/// A request that RFC 9112 or a limit forbids. One variant for each offence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum HttpError {
    /// More empty lines than are tolerated before the request line (RFC 9112 §2.2).
    #[error("too many empty lines before the request")]
    EmptyLines,
    /// A line that ends in LF without CR, or in CR without LF (RFC 9112 §2.2).
    #[error("lines must end in CR LF")]
    BadLineEnd,
    /// A malformed method or request line (RFC 9112 §3).
    #[error("malformed request line")]
    BadRequestLine,
    /// A method that this server does not know (RFC 9110 §9.1), such as CONNECT.
    #[error("the method is not implemented")]
    UnknownMethod,
    /// A target whose form this server does not accept (RFC 9112 §3.2).
    #[error("malformed request target")]
    BadTarget,
    /// A target over the limit.
    #[error("request target is too long")]
    TargetTooLong,
    /// An HTTP version other than 1.0 and 1.1.
    #[error("only HTTP/1.0 and HTTP/1.1 are supported")]
    UnsupportedVersion,
    /// A header name that is not a token: a space before the colon, a folded line (RFC 9112 §5).
    #[error("malformed header name")]
    BadHeaderName,
    /// A header value with a control byte (RFC 9110 §5.5).
    #[error("malformed header value")]
    BadHeaderValue,
    /// More headers than [`HEADERS_MAX`](super::HEADERS_MAX).
    #[error("too many headers")]
    TooManyHeaders,
    /// A head over the limit.
    #[error("request head is too large")]
    HeadTooLarge,
    /// HTTP/1.1 without Host (RFC 9112 §3.2).
    #[error("Host is missing")]
    MissingHost,
    /// More than one Host (RFC 9112 §3.2).
    #[error("Host is repeated")]
    RepeatedHost,
    /// A Host that is not a host and port (RFC 9110 §7.2).
    #[error("malformed Host")]
    BadHost,
    /// A target in absolute form whose authority is not the Host (RFC 9112 §3.2.2).
    #[error("Host differs from the request target")]
    HostMismatch,
    /// More than one Content-Length, equal or not (RFC 9112 §6.3).
    #[error("Content-Length is repeated")]
    RepeatedLength,
    /// A Content-Length that is not a decimal number of 64 bits (RFC 9110 §8.6).
    #[error("malformed Content-Length")]
    BadLength,
    /// Content-Length and Transfer-Encoding in one request (RFC 9112 §6.1).
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// More than one Transfer-Encoding.
    #[error("Transfer-Encoding is repeated")]
    RepeatedEncoding,
    /// Transfer-Encoding in HTTP/1.0 (RFC 9112 §6.1).
    #[error("Transfer-Encoding in HTTP/1.0")]
    EncodingInHttp10,
    /// A transfer coding other than `chunked` (RFC 9112 §6.1).
    #[error("unknown transfer coding")]
    UnknownEncoding,
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    #[error("the expectation cannot be met")]
    UnknownExpectation,
    /// A chunk that is malformed or whose extensions are too long (RFC 9112 §7.1).
    #[error("malformed chunk")]
    BadChunk,
    /// A body over the limit.
    #[error("request body is too large")]
    BodyTooLarge,
    /// A trailer with a control byte or a bad line end (RFC 9112 §7.1.2).
    #[error("malformed trailer")]
    BadTrailer,
    /// Trailers over their limit.
    #[error("request trailers are too large")]
    TrailersTooLarge,
}

impl HttpError {
    /// The status of the answer (RFC 9110 §15). Close the connection after it.
    pub fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::TooManyHeaders | Self::HeadTooLarge | Self::TrailersTooLarge => 431,
            Self::BodyTooLarge => 413,
            Self::UnknownExpectation => 417,
            Self::UnknownMethod | Self::UnknownEncoding => 501,
            Self::UnsupportedVersion => 505,
            _ => 400,
        }
    }

    /// A fixed word for metric labels and logs.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// A line of text for the body of the answer.
    pub fn message(self) -> String {
        self.to_string()
    }
}
