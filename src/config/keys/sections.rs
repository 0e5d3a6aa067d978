//! The explanations of the sections, and the endpoints that `config.yaml` shows.

use crate::config::endpoint::EndpointKind;

/// An endpoint of `config.yaml`.
pub(in crate::config) struct Example {
    /// Its kind; the endpoint has the kind's name.
    pub(in crate::config) kind: EndpointKind,
    /// Its path.
    pub(in crate::config) path: &'static str,
    /// Whether it exists without being configured; otherwise it is commented out.
    pub(in crate::config) is_built_in: bool,
    /// The comment above it.
    pub(in crate::config) text: &'static str,
}

const fn example(
    kind: EndpointKind,
    path: &'static str,
    is_built_in: bool,
    text: &'static str,
) -> Example {
    Example {
        kind,
        path,
        is_built_in,
        text,
    }
}

/// One endpoint of each kind: the built-in ones, then examples.
pub(in crate::config) static EXAMPLES: [Example; 5] = [
    example(EndpointKind::Hub, "/**", true, ""),
    example(
        EndpointKind::Named,
        "/ws/{username}",
        true,
        "It has the keys of `hub` and these, with the defaults of the relay that it replaces. If \
         `limits` and `keepalive` are not set here, but are set for all below, those values apply \
         here too.",
    ),
    example(
        EndpointKind::Push,
        "/ws",
        true,
        "It has the keys that every endpoint has and these, with the defaults of the relay that it \
         replaces.",
    ),
    example(
        EndpointKind::PubSub,
        "/pubsub",
        false,
        "One connection, many rooms (docs/pubsub.md). To get it, remove the first \"# \" of each \
         line.",
    ),
    example(
        EndpointKind::Nostr,
        "/nostr",
        false,
        "A relay for clients of Nostr (docs/nostr.md). To get it, remove the first \"# \" of each \
         line from \"nostr:\" on, or start with\n\
         `--set endpoints.nostr.kind=nostr --set endpoints.nostr.path=/nostr`\n\
         It needs an exact path. At / clients need no path in their URL; a hub at /** then loses \
         its room /.",
    ),
];

/// The paths of sections and their explanations, in Markdown.
static SECTIONS: &[(&str, &str)] = &[
    ("server", "Where the relay listens."),
    (
        "server.tls",
        "TLS 1.2 and 1.3. The files are PEM. A reload reads them again for new connections; open \
         ones go on as they are.",
    ),
    ("engine", "Threads and buffers."),
    (
        "endpoints",
        "The paths and their behaviour. The endpoints hub, named and push are built in. Add \
         further ones under names of your own (up to 32 lower-case letters, digits and _, a letter \
         first), each with a kind and a path:\n\
         `lobby: {kind: hub, path: \"/lobby/**\", echo: false}`",
    ),
    (
        "networks",
        "Which addresses may connect, as addresses or ranges such as 10.0.0.0/8. Other connections \
         are dropped before TLS and HTTP. Behind a trusted proxy, where only the request tells the \
         client's address, an excluded client gets 403, and so does one whose address the proxy \
         does not tell. Trusted proxies and peers at Unix sockets may always connect: the lists \
         are about their clients. A proxy that asks for a WebSocket without naming any client is \
         judged by its own address; at a Unix socket, which has none, it is refused. The admin \
         port has no such list. Open connections stay when the lists change.",
    ),
    (
        "origins",
        "Which web pages may open a connection, by the Origin header of their browser. This keeps \
         other people's pages from using your users' browsers, and nothing else: programs that \
         are not browsers send any Origin they like.",
    ),
    (
        "auth",
        "Credentials: a client needs one valid key or token. A refusal is a 401, its reason in \
         corecast_refused_total. Programs send `Authorization: Bearer TOKEN` (or `Bearer KEY`) or \
         `X-API-Key: KEY`. Pages cannot set headers: they offer the subprotocols corecast.v1 and \
         bearer.TOKEN (or key.KEY), of which corecast.v1 is selected, or write \
         ?access_token=TOKEN (or ?api_key=KEY) into the URL, which may end up in the logs of \
         proxies.",
    ),
    (
        "auth.jwt",
        "Tokens: JSON Web Tokens signed with HS256, RS256, ES256 or EdDSA; each key is for one of \
         them. The claim `exp` is required, and the connection is closed when it is reached \
         (1008, \"auth: expired\"). `sub` is the user's name; without it the bearer cannot use a \
         name. `rooms` is a list of the rooms that the token is valid for, or {\"read\": [...], \
         \"write\": [...]}; a room is a name, or the beginning of names followed by a *. Without \
         `rooms` it is valid for all. The rooms of a hub are its paths, `named` has the one room \
         /, and those of push endpoints are its tokens. `corecast token` makes and checks tokens.",
    ),
    ("limits", "Bounds on what clients can make the relay hold."),
    (
        "limits.connects_per_ip",
        "How often one IPv4 address or one IPv6 /64 may connect: a token bucket. A client that \
         connects more often gets 429 with Retry-After. Behind a trusted proxy each client counts, \
         never the proxy.",
    ),
    (
        "slow_client",
        "Clients that read more slowly than messages arrive. They never delay others.",
    ),
    (
        "rate",
        "How much each connection may send: token buckets. A message passes if at least one token \
         is left. It takes one for itself and one for each byte of its payload, even if fewer are \
         left; the client then waits until the debt is paid.",
    ),
    ("keepalive", "How clients that vanished silently are found."),
    (
        "deflate",
        "Compression of messages (permessage-deflate) for clients that offer it, as browsers do. A \
         message is compressed once for all its recipients; clients without it get the message \
         uncompressed.",
    ),
    (
        "timeouts",
        "Deadlines for the phases of a connection. None of them can be switched off.",
    ),
    (
        "shutdown",
        "Shutdown after SIGINT or SIGTERM. A second signal ends the process at once.",
    ),
    (
        "metrics",
        "The admin listener: the dashboard, /metrics (Prometheus), /health, /livez and /readyz. A \
          probe is always accepted: if there are too many connections, an idle one is closed for \
           it. Neither `networks` nor `limits` apply here.",
    ),
    (
        "admin",
        "The dashboard on the admin listener (docs/dashboard.md): open http://localhost:9090/, or \
         run `corecast top`.",
    ),
    ("health", "The contents of /health."),
    (
        "cors",
        "Which web pages may read the answers of /health, /test/benchmark and named endpoints, \
         refusals included. WebSockets do not depend on it.",
    ),
    (
        "api",
        "The HTTP API for back ends: publishing, rooms and their members, disconnecting \
         (docs/openapi.yaml).",
    ),
    (
        "pages",
        "Demo pages for a browser: a chat, an audio room and a push console.",
    ),
    ("logging", "Level, format and destination of the log."),
    (
        "endpoints.nostr",
        "The settings of a Nostr relay. It also has the keys that every endpoint has, of which \
         `slow_client.policy` can only be disconnect: a client could not know that it missed an \
         event.",
    ),
    (
        "endpoints.nostr.info",
        "The relay's description of itself (NIP-11). null: left out.",
    ),
    (
        "endpoints.nostr.auth",
        "Which actions need proof of a key (NIP-42), and so `urls`. `auth` beside `nostr` \
         decides which clients may connect at all.",
    ),
    (
        "endpoints.nostr.events",
        "The events that are accepted; others are refused with a reason.",
    ),
    (
        "endpoints.nostr.queries",
        "Bounds on queries; larger ones are refused with a reason.",
    ),
    (
        "endpoints.cors",
        "In place of the common `cors`. null: the value there.",
    ),
    (
        "endpoints.origins",
        "This endpoint's own settings in place of the sections of the same names below. null: the \
         value there.",
    ),
    (
        "endpoints.auth",
        "`enabled: false` opens this endpoint, whatever `auth` says below. Nothing else opens an \
         endpoint if `auth` requires credentials: an empty list of keys is an error.",
    ),
];

/// The explanation of a section; for a section of endpoints the path is `endpoints.<section>`.
pub(in crate::config) fn section_text(path: &str) -> Option<&'static str> {
    let found = SECTIONS.iter().find(|(section, _)| *section == path);
    found.map(|(_, text)| *text)
}
