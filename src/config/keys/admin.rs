//! Rows of `metrics`, `admin`, `health`, `cors`, `pages` and `logging`.

use super::codecs::{AUTO_OR_SWITCH, FORMAT, HEADER_VALUE, LEVEL, ORIGIN};
use super::row::{Key, discreet, is_live, key};
use crate::config::Config;
use crate::config::form::Formed as _;
use crate::config::value::{Address, Codec as _, OneKey, OrNull, Output, Port, Switch, Text};

pub(super) static ADMIN: &[Key<Config>] = &[
    key!(metrics.enabled, Switch, restart;
        "false: the admin listener does not exist."),
    key!(metrics.host, OrNull(Address), restart;
        "IP address to listen on. null: that of `server.host`. Anybody who reaches it can see how \
         busy the relay is, so put it behind a firewall or on 127.0.0.1."),
    key!(metrics.port, Port, restart;
        "TCP port. 0 takes any free port and logs it."),
    key!(admin.dashboard, Switch, restart;
        "false: the dashboard is not served."),
    discreet(key!(admin.token, OrNull(OneKey { bytes_min: 16 }), live;
        "The password of the dashboard, 16 to 512 visible ASCII characters; `openssl rand -hex 24` \
         makes one. null: no password is needed if `metrics.host` is a loopback address, and \
         otherwise the dashboard is closed. It protects the dashboard alone: /metrics, /health and \
         the probes need no password. A reload does not remove the token of a dashboard that has \
         one.")),
    key!(admin.addresses, Switch, live;
        "Whether the dashboard shows the addresses of slow clients, which are personal data."),
    key!(health.status_word, Text { bytes_max: 64 }, restart;
        "The value of `status` while all is well. Some monitors of earlier relays expect \"ok\"."),
    key!(health.users, AUTO_OR_SWITCH, live;
        "Whether /health lists the users of named endpoints: the first thousand, up to 64 KiB of \
         names; the others are only counted. User names are personal data. auto: only those of \
         endpoints that need no credentials, and on the admin port only if neither `networks` nor \
         `server.tls.client_ca_file` excludes anybody. true: always, to everybody. false: never."),
    key!(cors.origin, ORIGIN, restart;
        "One origin such as `https://example.org`, or `*` for all. off: no such headers, so that \
         only pages of the relay's own origin can read the answers."),
    key!(cors.methods, HEADER_VALUE, restart;
        "The methods that these pages may use."),
    key!(cors.headers, HEADER_VALUE, restart;
        "The headers that these pages may send."),
];

pub(super) static PAGES_AND_LOGGING: &[Key<Config>] = &[
    key!(pages.enabled, Switch, restart;
        "true: the demo pages are served below /demo/. Everybody who can reach the relay can open \
         them; they can do no more than any other client."),
    key!(logging.level, LEVEL, live;
        "The least important events that are logged."),
    key!(logging.format, FORMAT, restart;
        "text: one line per event, for people. json: one object per event, for machines."),
    key!(logging.output, Output, restart;
        "`stderr`, `stdout` or the path of a file to append to. A file that does not exist is \
         created for the relay's user and group (mode 640)."),
];
