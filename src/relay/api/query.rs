//! Queries and bodies, parsed strictly: a misspelt name is an error, and is never ignored.

use std::borrow::Cow;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::error::{ApiError, Code};
use crate::engine::Request;
use crate::wire::http::form_decode;

/// Most entries of a page, and the number of entries if the query names no limit.
pub(super) const LIMIT_MAX: usize = 1_000;
const LIMIT_DEFAULT: usize = 100;

/// The parameters of a query. Each is known and occurs at most once.
pub(super) struct Query<'q>(Vec<(Cow<'q, str>, Cow<'q, str>)>);

impl<'q> Query<'q> {
    pub(super) fn parse(request: &Request<'q>, known: &[&str]) -> Result<Query<'q>, ApiError> {
        let query = request.head.query.unwrap_or_default();
        let mut parameters: Vec<(Cow<'q, str>, Cow<'q, str>)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (form_decode(name), form_decode(value)) else {
                return Err(bad("a parameter is not percent-encoded UTF-8"));
            };
            if !known.contains(&&*name) {
                let known = known.join(", ");
                return Err(bad(&format!(
                    "unknown parameter; the known ones are {known}"
                )));
            }
            if parameters.iter().any(|(other, _)| *other == name) {
                return Err(bad(&format!("{name} is given twice")));
            }
            parameters.push((name, value));
        }
        Ok(Query(parameters))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut parameters = self.0.iter();
        let (_, value) = parameters.find(|(other, _)| other == name)?;
        Some(value)
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, ApiError> {
        let missing = || bad(&format!("{name} is missing"));
        self.get(name).ok_or_else(missing)
    }

    pub(super) fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let value = self.get(name).map(str::parse);
        let bad = |_| bad(&format!("{name} has an invalid value"));
        value.transpose().map_err(bad)
    }

    /// The requested number of entries of a page.
    pub(super) fn limit(&self) -> Result<usize, ApiError> {
        let limit = self.parsed("limit")?.unwrap_or(LIMIT_DEFAULT);
        match limit {
            1..=LIMIT_MAX => Ok(limit),
            _ => Err(bad(&format!("limit must be 1 to {LIMIT_MAX}"))),
        }
    }
}

fn bad(text: &str) -> ApiError {
    ApiError::new(Code::BadQuery, text)
}

/// The body of a request: one JSON object, with the fields of `T` and no others.
pub(super) fn body<'b, T: Deserialize<'b>>(request: &Request<'b>) -> Result<T, ApiError> {
    Query::parse(request, &[])?;
    // serde would also accept an array for a struct.
    if !request.body.trim_ascii_start().starts_with(b"{") {
        let text = "the body must be a JSON object";
        return Err(ApiError::new(Code::BadJson, text));
    }
    serde_json::from_slice(request.body).map_err(|error| ApiError::of_body(&error))
}

/// Reads a field that may be absent but not null.
pub(super) fn present<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(from).map(Some)
}
