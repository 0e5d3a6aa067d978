//! The binary in a terminal: `corecast top` in windows of several sizes, also when the
//! relay is gone, the colours of the log, completions and the manual page.

use std::collections::BTreeSet;

use corecast::config::Config;

use crate::{Relay, config, relay_text};
use corecast_test::describe::{assert_completes, assert_manual};
use corecast_test::pty::{Pty, SIZES, words};

const CORECAST: &str = env!("CARGO_BIN_EXE_corecast");
/// Larger than anything that is shown.
const LARGE: (u16, u16) = (240, 70);

fn top(relay: &Relay, environment: &[(&str, &str)], size: (u16, u16)) -> Pty {
    let url = format!("http://{}", relay.admin());
    Pty::start(CORECAST, &["top", "--url", &url], environment, size, None)
}

/// A relay with two clients, and one that has left: every list but that of slow clients has rows.
fn busy() -> (Relay, [tungstenite::WebSocket<std::net::TcpStream>; 2]) {
    let relay = Relay::start(&config());
    let mut clients = [relay.join("/a"), relay.join("/a")];
    relay_text(&mut clients, "to both");
    relay.join("/a").close(None).expect("a close");
    relay.scrape_until("one has left", |scrape| {
        scrape
            .by_label("corecast_closed_total")
            .contains_key("client_closed")
    });
    (relay, clients)
}

#[test]
fn top_has_a_terminal_to_itself_until_q_is_pressed() {
    let (relay, _clients) = busy();
    let mut top = top(&relay, &[], (120, 40));
    top.until("what a key does", |screen| {
        screen.contains("  live") && screen.contains("q quits")
    });
    assert_eq!(top.title(), format!("Corecast http://{}", relay.admin()));
    top.press("q");
    assert!(top.end());
    let raw = String::from_utf8_lossy(&top.raw);
    let (enter, leave) = ("\u{1b}[?1049h", "\u{1b}[?1049l");
    assert!(
        raw.contains(enter) && raw.rfind(leave) > raw.rfind(enter),
        "{raw}"
    );
    let (push, pop) = ("\u{1b}[22;2t", "\u{1b}[23;2t");
    assert!(
        raw.contains(push) && raw.rfind(pop) > raw.rfind("\u{1b}]0;"),
        "{raw}"
    );
}

#[test]
fn in_every_window_words_are_whole_and_the_shards_are_there() {
    let (relay, mut clients) = busy();
    let mut shown = |size: (u16, u16)| {
        let mut top = top(&relay, &[], size);
        top.until("figures", |screen| {
            screen.contains("  live") && screen.contains("shard")
        });
        // At every look one more, since the first may be of a second that is over.
        top.until("a latency", |screen| {
            relay_text(&mut clients, "to both");
            !screen.contains("p50 –")
        })
    };
    let all: BTreeSet<String> = words(&shown(LARGE));
    assert!(all.contains("endpoint") && all.contains("wakes"), "{all:?}");
    for size in SIZES {
        let screen = shown(size);
        let cut: Vec<String> = words(&screen).difference(&all).cloned().collect();
        assert!(cut.is_empty(), "{size:?}: {cut:?}\n{screen}");
        for shard in ["│  0  ", "│  1  "] {
            assert!(screen.contains(shard), "{size:?}:\n{screen}");
        }
    }
}

#[test]
fn top_shows_a_lost_relay_and_resumes_when_it_is_back() {
    let relay = Relay::start(&config());
    let address = relay.admin();
    let mut top = top(&relay, &[], (120, 40));
    top.until("an uptime", |screen| {
        screen.contains("  live") && screen.contains("  up ")
    });
    drop(relay);
    let mut ages = BTreeSet::new();
    let screen = top.until("an age that grows", |screen| {
        let age = screen
            .split("last data ")
            .nth(1)
            .and_then(|rest| rest.split_once(" s ago"));
        ages.extend(
            age.filter(|_| screen.contains("retrying"))
                .map(|(age, _)| age.to_owned()),
        );
        ages.len() >= 3
    });
    assert!(
        !screen.contains("  up ") && !screen.contains("  live"),
        "{screen}"
    );
    assert!(
        screen.contains("Clients"),
        "the last figures stay: {screen}"
    );
    assert_eq!(
        top.title(),
        format!("connection lost: Corecast http://{address}")
    );
    let mut again: Config = config();
    again.metrics.port = address.port();
    let _relay = Relay::start(&again);
    top.until("an uptime", |screen| {
        screen.contains("  live") && screen.contains("  up ")
    });
    assert_eq!(top.title(), format!("Corecast http://{address}"));
}

#[test]
fn top_without_colours_still_shows_the_heat_map() {
    let (relay, mut clients) = busy();
    let is_coloured = |raw: &[u8]| raw.windows(5).any(|piece| piece == b"38;5;");
    for (environment, coloured) in [(&[][..], true), (&[("NO_COLOR", "1")][..], false)] {
        let mut top = top(&relay, environment, (100, 30));
        top.until("figures", |screen| screen.contains("  live"));
        (0..50).for_each(|_| relay_text(&mut clients, "to both"));
        let heat = |screen: &str| {
            let lines = screen
                .lines()
                .skip_while(|line| !line.contains("Relay latency"));
            let lines = lines.skip(1).take_while(|line| line.starts_with('│'));
            lines.collect::<String>().contains(['░', '▒', '▓', '█'])
        };
        top.until("a heat map", heat);
        assert_eq!(is_coloured(&top.raw), coloured, "{environment:?}");
    }
}

#[test]
fn the_log_honours_no_color_on_a_terminal() {
    let arguments = [
        "--port",
        "0",
        "--set",
        "metrics.port=0",
        "--set",
        "server.host=127.0.0.1",
    ];
    for (environment, coloured) in [
        (&[][..], true),
        (&[("NO_COLOR", "")][..], true),
        (&[("NO_COLOR", "1")][..], false),
    ] {
        let mut relay = Pty::start(CORECAST, &arguments, environment, (100, 30), None);
        relay.until("its address", |screen| screen.contains("listening"));
        assert_eq!(relay.raw.contains(&0x1b), coloured, "{environment:?}");
        // Control-C, as the terminal sends it.
        relay.press("\u{3}");
        assert!(relay.end(), "{}", relay.screen());
    }
}

#[test]
fn completions_and_manual_have_every_subcommand() {
    assert_completes(
        CORECAST,
        &["config-file", "doctor", "completions", "expires", "trusted"],
    );
    let said = [
        "--config-file",
        "corecast top",
        "--once",
        "corecast token make",
        "corecast nostr import",
        "--trusted",
        "Exit codes:",
    ];
    assert_manual(CORECAST, &said);
    // A relay that does not start for its config still tells how it is called.
    let output = std::process::Command::new(CORECAST)
        .args(["-c", "/nowhere.yaml", "man"])
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
}
