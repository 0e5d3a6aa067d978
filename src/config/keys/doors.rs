//! Rows of `auth` and `api`: keys and tokens.

use super::codecs::{AUTH_ENABLED, CLAIM, CLOSE_REVOKED, JWT_SECRET, LEEWAY};
use super::row::{Key, discreet, is_live, key};
use crate::config::Config;
use crate::config::form::Formed as _;
use crate::config::value::{ApiKeys, Codec as _, File, OrNull, Switch};

pub(super) static AUTH: &[Key<Config>] = &[
    key!(auth.enabled, AUTH_ENABLED, live;
        "auto: a client needs a credential if any key, file or secret is configured below, even if \
         the file is empty or missing: then nobody can connect. true: the same, and it is an error \
         if none is configured. false: anybody can connect. A reload opens an endpoint that needed \
         credentials only if this is false."),
    discreet(key!(auth.keys, OrNull(ApiKeys), live;
        "API keys, each of 1 to 512 visible ASCII characters without commas: make them long and \
         random (`openssl rand -hex 24`). Several are valid at once, so that you can add a new \
         key, change the clients and then remove the old one. The bearer of a key may read and \
         write all rooms and use any name. `{key: KEY, scopes: [connect]}` limits a key to these \
         scopes (see `api.keys`); connecting needs the scope connect. An empty list means the same \
         as null, with a warning.")),
    key!(auth.keys_file, OrNull(File), live;
        "A file with further keys, one on each line, optionally followed by scopes (`KEY \
         connect,push`). Lines that begin with # are comments. It is read again within seconds of \
         a change. Keys that are removed from it are revoked, also by removing the file; while it \
         cannot be understood, the old keys stay valid, and the log says so."),
    key!(auth.close_revoked, CLOSE_REVOKED, live;
        "Which connections are closed (1008, \"auth: revoked\") when the credential that they were \
         opened with is revoked:\n\
         - `keys`: those opened with an API key\n\
         - `all`: also those opened with a token whose signing key is gone\n\
         - `off`: none"),
    discreet(key!(auth.jwt.secret, OrNull(JWT_SECRET), live;
        "The secret of HS256.")),
    key!(auth.jwt.keys_file, OrNull(File), live;
        "A file with public keys: PEM, or a set of JSON Web Keys. It is read again within seconds \
         of a change."),
    key!(auth.jwt.issuer, OrNull(CLAIM), live;
        "The required value of the claim `iss`. null: any value or none."),
    key!(auth.jwt.audience, OrNull(CLAIM), live;
        "The value that the claim `aud` must have or contain. null: a token with an `aud` is \
         refused, since it is meant for another service."),
    key!(auth.jwt.leeway, LEEWAY, live;
        "Tolerated difference between clocks, for `exp` and `nbf`."),
];

pub(super) static API: &[Key<Config>] = &[
    key!(api.enabled, Switch, restart;
        "false: /api/publish, /api/rooms, /api/members, /api/disconnect and /api/info do not \
         exist. The push API of push endpoints stays."),
    discreet(key!(api.keys, OrNull(ApiKeys), live, or "RELAY_API_KEY";
        "Keys of back ends, each of 1 to 512 visible ASCII characters. Several are valid at once, \
         so that a key can be replaced without a gap. A key alone permits everything; `{key: KEY, \
         scopes: [push, read]}` permits only these:\n\
         - `push`: the push API\n\
         - `publish`: publishing to rooms and users\n\
         - `read`: rooms, members and info\n\
         - `disconnect`: disconnecting clients\n\
         - `connect`: opening a WebSocket (see `auth.keys`)\n\
         Without a key the API answers 401 to everything. In CORECAST_API_KEYS commas separate \
         keys; RELAY_API_KEY is a single key.")),
    key!(api.keys_file, OrNull(File), live;
        "A file with further keys, one on each line, optionally followed by scopes (`KEY \
         push,read`). Lines that begin with # are comments. It is read again within seconds of a \
         change, as `auth.keys_file` is."),
];
