//! `corecast top`: the dashboard in a terminal.
//!
//! Called by [`crate::config::cli`], in a process that does nothing else. It connects to the same
//! stream as the page (`stream.rs`) and draws each snapshot when it arrives (`view.rs`). If the
//! output is not a terminal, it prints one snapshot and ends.

mod colors;
mod heat;
mod numbers;
mod seen;
mod stream;
mod text;
mod view;
mod words;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::style::Print;
use ratatui::crossterm::terminal::SetTitle;
use thiserror::Error;

use self::seen::Seen;
use self::stream::{Stream, StreamError};
use crate::admin::dashboard::{FORMAT, Snapshot};
use crate::config::{ApiKey, Config};

/// The longest time until a pressed key takes effect.
const LOOK: Duration = Duration::from_millis(50);

/// The pause after a failed connect.
const RETRY: Duration = Duration::from_secs(1);

/// Saves the terminal's title, to be restored at the end (XTWINOPS; others ignore it).
const PUSH_TITLE: &str = "\x1b[22;2t";
const POP_TITLE: &str = "\x1b[23;2t";

/// `corecast top`
#[derive(Debug, Args)]
pub struct TopCommand {
    /// The URL of the relay's admin listener [default: from the config and flags]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// Print one snapshot and end; this is the default if the output is not a terminal
    #[arg(long)]
    pub once: bool,

    /// Print one snapshot as JSON; docs/dashboard.md explains the fields
    #[arg(long)]
    pub json: bool,
}

/// Why nothing can be shown.
#[derive(Debug, Error)]
enum TopError {
    /// The config has no admin port to connect to.
    #[error("the config has no fixed admin port: set metrics.enabled to true, or give a URL")]
    NoPort,
    /// The relay does not answer, or refuses the request.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The answer is not a snapshot that this version can read.
    #[error("the relay's answer is not a snapshot that this version can read: {0}")]
    Snapshot(String),
    /// An error of the terminal or other output.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// The messages of the reading thread to the drawing one.
enum News {
    Snapshot(Box<Snapshot>),
    /// The connection is lost, and is retried.
    Lost(String),
    /// Retrying would not help.
    Over(TopError),
}

impl TopCommand {
    /// Shows snapshots until `q` is pressed. The exit code is 1 if nothing can be shown.
    pub fn run(&self, config: &Config) -> ExitCode {
        match self.show(config) {
            // If the reader of the pipe has gone, the error has no receiver.
            Ok(()) => ExitCode::SUCCESS,
            Err(TopError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            Err(error) => {
                let _ = writeln!(io::stderr(), "corecast top: {error}");
                ExitCode::FAILURE
            }
        }
    }

    fn show(&self, config: &Config) -> Result<(), TopError> {
        let url = self.url.clone().map_or_else(|| url(config), Ok)?;
        let token = config.admin.token.clone();
        if self.once || self.json || !io::stdout().is_terminal() {
            return self.print(&url, token.as_ref());
        }
        // Connect before taking over the screen, so that a first error appears on the normal one.
        let first = Stream::connect(&url, token.as_ref())?;
        let (sender, news) = mpsc::channel();
        let name = url.clone();
        thread::spawn(move || {
            let mut stream = Some(first);
            // The thread ends when the receiver is dropped.
            while sender.send(read(&mut stream, &url, token.as_ref())).is_ok() {}
        });
        let mut terminal = ratatui::try_init()?;
        let _ = execute!(io::stdout(), Print(PUSH_TITLE));
        let shown = draw(&mut terminal, &name, &news);
        let _ = execute!(io::stdout(), Print(POP_TITLE));
        ratatui::restore();
        shown
    }

    fn print(&self, url: &str, token: Option<&ApiKey>) -> Result<(), TopError> {
        let text = Stream::connect(url, token)?.next()?;
        let snapshot = parse(&text)?;
        let text = match self.json {
            true => text + "\n",
            false => text::text(&snapshot),
        };
        Ok(io::stdout().write_all(text.as_bytes())?)
    }
}

/// The URL of the admin listener of a relay with this config.
fn url(config: &Config) -> Result<String, TopError> {
    if !config.metrics.enabled || config.metrics.port == 0 {
        return Err(TopError::NoPort);
    }
    let host = match config.metrics_host() {
        host if host.is_unspecified() => "127.0.0.1".to_owned(),
        host if host.is_ipv6() => format!("[{host}]"),
        host => host.to_string(),
    };
    Ok(format!("http://{host}:{}", config.metrics.port))
}

fn parse(text: &str) -> Result<Snapshot, TopError> {
    let snapshot: Snapshot =
        serde_json::from_str(text).map_err(|error| TopError::Snapshot(error.to_string()))?;
    match snapshot.format {
        FORMAT => Ok(snapshot),
        other => Err(TopError::Snapshot(format!("format {other}"))),
    }
}

/// The next snapshot, or why it could not be read. Reconnects if necessary.
fn read(stream: &mut Option<Stream>, url: &str, token: Option<&ApiKey>) -> News {
    let next = match stream {
        Some(stream) => stream.next(),
        None => {
            thread::sleep(RETRY);
            let connected = Stream::connect(url, token);
            connected.and_then(|connected| stream.insert(connected).next())
        }
    };
    match next {
        Ok(text) => match parse(&text) {
            Ok(snapshot) => News::Snapshot(Box::new(snapshot)),
            Err(error) => News::Over(error),
        },
        Err(error) if error.is_final() => News::Over(error.into()),
        Err(error) => {
            *stream = None;
            News::Lost(error.to_string())
        }
    }
}

/// Draws incoming snapshots until the user quits.
fn draw(terminal: &mut DefaultTerminal, name: &str, news: &Receiver<News>) -> Result<(), TopError> {
    let mut seen = Seen::default();
    let mut title = String::new();
    let mut is_changed = true;
    let mut shown_stale_s = None;
    loop {
        let now = Instant::now();
        // Redraw without news too: the age of stale figures grows.
        let stale_s = seen.stale_s(now);
        if is_changed || stale_s != shown_stale_s {
            let next = view::window_title(name, &seen, now);
            if next != title {
                execute!(io::stdout(), SetTitle(&next))?;
                title = next;
            }
            terminal.draw(|frame| view::draw(frame, name, &seen, now))?;
            shown_stale_s = stale_s;
        }
        is_changed = match news.recv_timeout(LOOK) {
            Ok(News::Snapshot(snapshot)) => {
                seen.take(*snapshot, Instant::now());
                true
            }
            Ok(News::Lost(error)) => {
                seen.lost = Some(error);
                true
            }
            Ok(News::Over(error)) => return Err(error),
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        while event::poll(Duration::ZERO)? {
            match event::read()? {
                Event::Key(key) if quits(key) => return Ok(()),
                Event::Resize(..) => is_changed = true,
                _ => {}
            }
        }
    }
}

fn quits(key: KeyEvent) -> bool {
    let is_control_c =
        key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    let is_quit = matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc);
    key.kind == KeyEventKind::Press && (is_quit || is_control_c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_the_admin_listener_of_the_config() {
        let of = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            url(&config).ok()
        };
        let local = |port| Some(format!("http://127.0.0.1:{port}"));
        assert_eq!(of(|_| {}), local(9090));
        assert_eq!(of(|config| config.metrics.port = 1), local(1));
        let loopback = |config: &mut Config| config.metrics.host = "::1".parse().ok();
        assert_eq!(of(loopback).as_deref(), Some("http://[::1]:9090"));
        assert_eq!(of(|config| config.metrics.port = 0), None);
        assert_eq!(of(|config| config.metrics.enabled = false), None);
    }

    #[test]
    fn q_escape_and_control_c_quit_and_nothing_else_does() {
        let key = |code, modifiers| quits(KeyEvent::new(code, modifiers));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(key(KeyCode::Esc, KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE));
        assert!(!key(KeyCode::Enter, KeyModifiers::NONE));
    }

    #[test]
    fn a_snapshot_of_another_format_is_said_to_be_one() {
        let other = r#"{"format":2}"#;
        assert!(matches!(parse(other), Err(TopError::Snapshot(_))));
        assert!(matches!(parse("[]"), Err(TopError::Snapshot(_))));
    }
}
