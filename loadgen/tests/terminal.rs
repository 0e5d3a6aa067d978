//! The live view in windows of several sizes, completions and the manual page.

use std::collections::BTreeSet;
use std::process::Stdio;

use corecast_test::describe::{assert_completes, assert_manual};
use corecast_test::generator::{Behaviour, serve};
use corecast_test::pty::{Pty, SIZES, words};

const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");
const LOAD: &str = "--clients 2 --rate 100 --duration 1500ms --warmup 0";
/// Larger than anything that is shown.
const LARGE: (u16, u16) = (240, 70);

/// A run whose report goes nowhere.
fn start(option: &str, size: (u16, u16)) -> Pty {
    let url = serve(Behaviour::default());
    let options = LOAD.split(' ').chain(option.split_whitespace());
    let arguments: Vec<&str> = ["--url", &url].into_iter().chain(options).collect();
    Pty::start(LOADGEN, &arguments, &[], size, Some(Stdio::null()))
}

#[test]
fn a_terminal_gets_the_live_view_and_its_own_window_back() {
    let (enter, leave) = ("\u{1b}[?1049h", "\u{1b}[?1049l");
    let mut run = start("", (100, 40));
    run.until("the phase", |screen| screen.contains("measuring"));
    assert!(run.end());
    let shown = String::from_utf8_lossy(&run.raw).into_owned();
    assert!(
        shown.trim_end().ends_with("\u{1b}[?25h"),
        "the cursor is back: {shown}"
    );
    assert!(
        shown.contains(enter) && shown.rfind(leave) > shown.rfind(enter),
        "{shown}"
    );
}

#[test]
fn in_every_window_words_are_whole() {
    let shown = |size| {
        let mut run = start("", size);
        let screen = run.until("figures", |screen| {
            screen.contains("measuring") && screen.contains("latency so far")
        });
        assert!(run.end());
        screen
    };
    let all: BTreeSet<String> = words(&shown(LARGE));
    for size in SIZES {
        let screen = shown(size);
        let cut: Vec<String> = words(&screen).difference(&all).cloned().collect();
        assert!(cut.is_empty(), "{size:?}: {cut:?}\n{screen}");
        for word in ["deliveries", "connected", "faults", "max"] {
            assert!(screen.contains(word), "{size:?}: no {word}\n{screen}");
        }
    }
}

#[test]
fn one_line_stays_one_however_narrow_the_terminal_is() {
    for size in [(30, 15), (60, 15), (80, 24)] {
        let mut run = start("--no-live", size);
        run.until("the phase", |screen| screen.contains("measuring"));
        assert!(run.end());
        let shown = String::from_utf8_lossy(&run.raw).into_owned();
        assert!(!shown.contains("\u{1b}[?1049h"), "{shown}");
        for line in shown.split('\r') {
            let columns = line.trim_end_matches("\u{1b}[K").chars().count();
            assert!(columns < usize::from(size.0), "{columns} columns: {line}");
        }
    }
}

#[test]
fn completions_and_the_manual_know_every_subcommand() {
    assert_completes(LOADGEN, &["find-max", "dashboard", "history", "pairs"]);
    let said = [
        "--find-max",
        "loadgen ab",
        "loadgen dashboard",
        "loadgen history",
        "Exit codes:",
    ];
    assert_manual(LOADGEN, &said);
}
