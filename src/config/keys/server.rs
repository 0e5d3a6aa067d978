//! Rows of `server`, `engine`, `networks` and `origins`.

use super::codecs::{BUFFER_BYTES, LISTENERS, NETWORKS, ORIGINS, SHARDS, SPIN_US, TRUSTED_PROXIES};
use super::row::{Key, is_live, key};
use crate::config::Config;
use crate::config::form::Formed as _;
use crate::config::value::{Address, Codec as _, File, FileMode, Or, OrNull, Port, Switch};

pub(super) static SERVER: &[Key<Config>] = &[
    key!(server.host, Address, restart;
        "IP address to listen on. `::` means every address of the machine, IPv4 and IPv6; \
         `0.0.0.0` means all IPv4 addresses; `127.0.0.1` means this machine only, for a proxy in \
         front on the same machine."),
    key!(server.port, Port, restart, or "PORT";
        "TCP port. 0 takes any free port and logs it."),
    key!(server.listen, LISTENERS, restart;
        "Further listeners, each in one of these forms:\n\
         - `http://ADDRESS:PORT`: an IP address, as in `http://[::]:8080` or \
         `http://127.0.0.1:8080`\n\
         - `https://ADDRESS:PORT`: the same with TLS, which needs the files of `server.tls`; \
         `server.tls.enabled` is about `server.port` alone\n\
         - `unix:/PATH`: a Unix socket, for a proxy on the same machine; a socket file that a dead \
         process left behind is replaced\n\
         - `systemd`: the sockets that the service manager passes (socket activation), in place of \
         `server.host` and `server.port`; with TLS if `FileDescriptorName=` contains \"tls\"\n\
         `[::]` accepts IPv4 too, unless `0.0.0.0` has a listener of its own on the same port."),
    key!(server.unix_mode, FileMode, restart;
        "Permissions of the files of Unix sockets."),
    key!(server.trusted_proxies, TRUSTED_PROXIES, live;
        "Proxies in front of the relay: networks, and `unix` for every peer at a Unix socket. The \
         address of a client behind one comes from Forwarded or X-Forwarded-For, or from PROXY \
         headers, and the limits per address count the client, not the proxy. Such headers are \
         ignored if anybody else sends them. Clients that a proxy does not name (unknown, unix:, \
         unreadable, PROXY UNKNOWN) count together, and are refused if `networks` excludes \
         anybody."),
    key!(server.proxy_protocol, Switch, live;
        "true: every connection of a trusted proxy begins with a header of the PROXY protocol, \
         version 1 or 2, before TLS and HTTP. Other connections never do."),
    key!(server.tls.enabled, Switch, restart;
        "true: the port speaks TLS and nothing else; `cert_file` and `key_file` are required. The \
         admin port never speaks TLS."),
    key!(server.tls.cert_file, OrNull(File), live;
        "The certificate, followed by the intermediate certificates, if any."),
    key!(server.tls.key_file, OrNull(File), live;
        "The certificate's private key."),
    key!(server.tls.client_ca_file, OrNull(File), live;
        "Authorities of client certificates. If it is set, every client must present a \
         certificate that one of them has signed; otherwise the handshake fails (alert \
         certificate_required). null: clients need no certificate. A reload does not make it null \
         again."),
];

pub(super) static ENGINE: &[Key<Config>] = &[
    key!(engine.shards, SHARDS, restart;
        "Threads that relay. auto: one for each core that the process may use (its CPU set and the \
         quota of its control group count)."),
    key!(engine.pin, Switch, restart;
        "Bind each shard to a core of its own. It helps if nothing else runs on those cores, and \
         hurts otherwise."),
    key!(engine.spin_us, SPIN_US, restart;
        "How long a shard without work polls before it sleeps, in microseconds. 0: it sleeps at \
         once. More saves a few microseconds of latency and keeps a core busy while idle."),
    key!(engine.read_buffer_bytes, BUFFER_BYTES, restart, or "READ_BUFFER_SIZE";
        "Receive buffer of a shard. All connections of a shard share it."),
    key!(engine.send_buffer_bytes, Or(&["auto"], BUFFER_BYTES), restart, or "WRITE_BUFFER_SIZE";
        "Send buffer of each client's socket in the kernel. auto: the kernel decides, and adapts \
         it to the connection."),
];

pub(super) static NETWORKS_AND_ORIGINS: &[Key<Config>] = &[
    key!(networks.allow, NETWORKS, live;
        "The networks that may connect. An empty list allows all."),
    key!(networks.deny, NETWORKS, live;
        "Networks that may not connect, even if `networks.allow` contains them."),
    key!(origins.allow, ORIGINS, live;
        "Any of:\n\
         - `https://example.com`: one origin, with its port if that is not the scheme's default\n\
         - `https://*.example.com`: all hosts below it\n\
         - `same`: the page comes from this very host and port, by the Host header\n\
         - `null`: a local file (write it in quotes)\n\
         - `*`: all\n\
         An Origin with a path, a user name or anything else that no browser sends matches none of \
         these, unless `*` stands together with `allow_missing: true`, which accept everything."),
    key!(origins.allow_missing, Switch, live;
        "Whether a request without an Origin is accepted: programs send none, browsers always do."),
];
