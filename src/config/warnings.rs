//! Warnings about a config that works, but perhaps not as it was meant.

use std::path::Path;

use super::{ApiKey, AuthConfig, Config, EndpointConfig, EndpointKind, Need, nostr};
use crate::guard::Files;

impl Config {
    /// The warnings, one sentence each: first about common keys, then about endpoints. Key files
    /// are read for it; [`Config::guards`] reports those that cannot be read.
    pub fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        found.extend(open_by_emptiness(
            "auth",
            self.auth.keys.as_deref(),
            &self.auth,
        ));
        found.extend(unasked("auth", self.auth.has_keys(), &self.auth));
        found.extend(weak_keys("auth.keys", self.auth.keys.as_deref()));
        found.extend(weak_file("auth.keys_file", self.auth.keys_file.as_deref()));
        for (name, endpoint) in self.endpoints.iter().filter(|(_, each)| each.enabled) {
            let (own, auth) = (&endpoint.auth, self.auth_of(endpoint));
            let place = format!("endpoints.{name}.auth");
            found.extend(open_by_emptiness(&place, own.keys.as_deref(), &auth));
            found.extend(unasked(&place, own.has_keys(), &auth));
            found.extend(weak_keys(&format!("{place}.keys"), own.keys.as_deref()));
            let file = own.keys_file.as_deref();
            found.extend(weak_file(&format!("{place}.keys_file"), file));
            found.extend(self.hidden_room(name, endpoint));
            found.extend(self.excluded_base(name, endpoint));
            found.extend(nostr::warnings(name, endpoint));
        }
        found.extend(weak_keys("api.keys", self.api.keys.as_deref()));
        found.extend(weak_file("api.keys_file", self.api.keys_file.as_deref()));
        found
    }

    /// A warning if nobody can reach the default room of a hub, in which clients without a path
    /// meet, because another endpoint has its path.
    fn hidden_room(&self, name: &str, endpoint: &EndpointConfig) -> Option<String> {
        const DEFAULT_ROOM: &str = "/";
        let mut others = self.endpoints.iter().filter(|(_, each)| each.enabled);
        let (hub, _) = others.find(|(other, each)| {
            *other != name && each.kind == EndpointKind::Hub && each.path == "/**"
        })?;
        (endpoint.path == DEFAULT_ROOM).then(|| {
            format!(
                "endpoints.{name}.path: endpoint {hub} loses its default room {DEFAULT_ROOM} to \
                 endpoint {name}, since an exact path beats {DEFAULT_ROOM}**"
            )
        })
    }
}

/// Warnings about patterns that do not cover their own base.
impl Config {
    /// A warning if the base of a pattern, such as `/lobby` of `/lobby/**`, falls to another
    /// endpoint that admits other clients. An endpoint with exactly that path is intended.
    fn excluded_base(&self, name: &str, endpoint: &EndpointConfig) -> Option<String> {
        let path = &endpoint.path;
        let base = base_of(path)?;
        let (other, owner) = self.owner_of(base)?;
        let are_open = [owner, endpoint].map(|each| self.need_of(each)) == [Need::Nothing; 2];
        let is_alike = are_open || self.auth_of(owner) == self.auth_of(endpoint);
        if owner.path == base || is_alike {
            return None;
        }
        let needs = |endpoint| match self.need_of(endpoint) {
            Need::Nothing => "lets everybody in",
            Need::Credentials => "needs a key or a token",
        };
        let (own, others) = (needs(endpoint), needs(owner));
        let others = match own == others {
            true => "accepts other keys or tokens".to_owned(),
            false => format!("{others}, while {name} {own}"),
        };
        Some(format!(
            "endpoints.{name}.path: {path} does not cover {base}, which falls to endpoint {other} \
             ({}): that one {others}; for {base} as well, add an endpoint with the path {base}",
            owner.path
        ))
    }

    /// The endpoint that gets `path`, in the order of the router: exact paths, then parameters,
    /// then `**`; longer patterns before shorter ones.
    fn owner_of(&self, path: &str) -> Option<(&String, &EndpointConfig)> {
        let enabled = self.endpoints.iter().filter(|(_, each)| each.enabled);
        let matching = enabled.filter_map(|(name, each)| {
            let prefix = prefix_of(&each.path);
            let rest = path.strip_prefix(prefix)?;
            let rank = match &each.path[prefix.len()..] {
                "**" => 2,
                "" => (rest.is_empty()).then_some(0)?,
                _ => (!rest.is_empty() && !rest.contains('/')).then_some(1)?,
            };
            Some(((rank, std::cmp::Reverse(prefix.len())), (name, each)))
        });
        let first = matching.min_by_key(|(rank, _)| *rank);
        first.map(|(_, owner)| owner)
    }
}

/// The path above the last part of a pattern; `None` if that is the root or the path is exact.
fn base_of(pattern: &str) -> Option<&str> {
    let prefix = prefix_of(pattern);
    let base = prefix.strip_suffix('/')?;
    (prefix.len() < pattern.len() && !base.is_empty()).then_some(base)
}

/// A pattern without its wildcard or parameter; an exact path is returned whole.
fn prefix_of(pattern: &str) -> &str {
    let at = pattern.find(['{', '*']);
    at.map_or(pattern, |at| &pattern[..at])
}

fn open_by_emptiness(place: &str, keys: Option<&[ApiKey]>, auth: &AuthConfig) -> Option<String> {
    let is_open = auth.enabled.is_none() && auth.need() == Need::Nothing;
    (keys?.is_empty() && is_open).then(|| {
        format!(
            "{place}.keys: an empty list requires no credential, so anybody can connect; write \
             null if that is intended, or else enabled: true and a key"
        )
    })
}

fn unasked(place: &str, has_keys: bool, auth: &AuthConfig) -> Option<String> {
    let is_unasked = has_keys && auth.need() == Need::Nothing;
    is_unasked.then(|| {
        format!(
            "{place}: enabled is false, so anybody can connect, even though keys are configured"
        )
    })
}

fn weak_keys(place: &str, keys: Option<&[ApiKey]>) -> Option<String> {
    let short = keys?.iter().filter(|key| key.is_short()).count();
    (short > 0).then(|| {
        format!(
            "{place}: {short} of these keys can be guessed, as they have less than {} characters; \
             openssl rand -hex 24 makes a good one",
            ApiKey::SHORT_BYTES
        )
    })
}

fn weak_file(place: &str, path: Option<&Path>) -> Option<String> {
    let files = Files {
        keys: Some(path?.to_owned()),
        tokens: None,
    };
    let keys = files.read_keys().ok()?;
    match keys.is_empty() {
        true => Some(format!(
            "{place}: {} holds no key, so nobody can connect by it",
            path?.display()
        )),
        false => weak_keys(place, Some(&keys)),
    }
}
