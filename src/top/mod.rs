//! `corecast top`: the dashboard in a terminal.
//!
//! Called by [`crate::config::cli`], in a process that does nothing else. It is connected to the
//! same stream as the page (`stream.rs`), and draws each snapshot as it comes (`view.rs`). Where
//! there is no terminal it prints one snapshot and ends.

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

/// How long a key waits at the most until it is heard.
const LOOK: Duration = Duration::from_millis(50);

/// How long after a failure the relay is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The terminal keeps its title, and gets it back (XTWINOPS; terminals without them ignore these).
const PUSH_TITLE: &str = "\x1b[22;2t";
const POP_TITLE: &str = "\x1b[23;2t";

/// `corecast top`
#[derive(Debug, Args)]
pub struct TopCommand {
    /// Where the relay's admin listener is [default: as config and flags have it]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// Print one snapshot and end, as is done where the output is no terminal
    #[arg(long)]
    pub once: bool,

    /// Print it as JSON; docs/dashboard.md explains the fields
    #[arg(long)]
    pub json: bool,
}

/// Why there is nothing to be seen.
#[derive(Debug, Error)]
enum TopError {
    /// The config has no port that could be asked.
    #[error("the config has no fixed admin port: turn metrics on, or name a URL")]
    NoPort,
    /// The relay does not answer, or not to us.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// What came is no snapshot.
    #[error("what came is no snapshot that this version knows: {0}")]
    Snapshot(String),
    /// The terminal, or whatever the output is.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// What the thread that reads says to the one that draws.
enum News {
    Snapshot(Box<Snapshot>),
    /// There is no connection at the moment.
    Lost(String),
    /// Trying again is of no use.
    Over(TopError),
}

impl TopCommand {
    /// Shows what happens until `q` is pressed. The exit code is 1 where there is nothing to see.
    pub fn run(&self, config: &Config) -> ExitCode {
        match self.show(config) {
            // Nobody is left to tell where the other end of a pipe is closed.
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
        // Before the screen is ours: what is wrong at once is said on an ordinary one.
        let first = Stream::connect(&url, token.as_ref())?;
        let (sender, news) = mpsc::channel();
        let name = url.clone();
        thread::spawn(move || {
            let mut stream = Some(first);
            // It ends when nobody draws any more.
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

/// The admin listener of a relay with this config.
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
        other => Err(TopError::Snapshot(format!("its format is {other}"))),
    }
}

/// The next snapshot, or why there is none. Connects again where that is needed.
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

/// Draws what comes until it is told to quit.
fn draw(terminal: &mut DefaultTerminal, name: &str, news: &Receiver<News>) -> Result<(), TopError> {
    let mut seen = Seen::default();
    let mut title = String::new();
    let mut is_changed = true;
    let mut shown_stale_s = None;
    loop {
        let now = Instant::now();
        // The age of figures that are out of date counts on by itself.
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
