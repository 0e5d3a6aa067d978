//! The live view of a run on a terminal.
//!
//! It is drawn on standard error, so that standard output can be a file or a pipe. It reads no
//! input, so Ctrl-C remains a signal.

use std::io::{self, IsTerminal, Stderr, Write};

use corecast_terminal::fit;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::prelude::CrosstermBackend;
use ratatui::{Terminal, TerminalOptions, Viewport};
use rustix::termios::tcgetwinsize;

use crate::snapshot::Snapshot;
use view::View;

mod view;

/// Columns of a terminal that does not report its size.
const COLUMNS: u16 = 80;

/// Shows snapshots. Dropping it restores the terminal.
pub struct Live {
    form: Form,
}

enum Form {
    /// Standard error is not a terminal.
    Nothing,
    /// One line, for `--no-live` and for terminals that support nothing else.
    Line,
    /// The whole window.
    Window(Box<Window>),
}

#[derive(Default)]
struct Window {
    view: View,
    /// Present from the first snapshot on.
    screen: Option<Terminal<CrosstermBackend<Stderr>>>,
}

impl Window {
    fn show(&mut self, now: &Snapshot) -> io::Result<()> {
        self.view.take(now);
        let screen = match &mut self.screen {
            Some(screen) => screen,
            none => none.insert(open()?),
        };
        screen.draw(|frame| self.view.draw(frame)).map(drop)
    }
}

impl Live {
    /// A view that suits standard error; with `no_live` at most one line.
    pub fn new(no_live: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let form = match io::stderr().is_terminal() {
            false => Form::Nothing,
            true if no_live || is_dumb => Form::Line,
            true => Form::Window(Box::default()),
        };
        Self { form }
    }

    /// Shows the state of the run. A failed write to the terminal is ignored.
    pub fn show(&mut self, now: &Snapshot) {
        match &mut self.form {
            Form::Nothing => {}
            Form::Line => line(now),
            Form::Window(window) => {
                if window.show(now).is_err() {
                    Self::restore();
                    self.form = Form::Line;
                }
            }
        }
    }

    /// Restores the terminal before the process ends.
    pub fn restore() {
        if io::stderr().is_terminal() {
            let _ = execute!(io::stderr(), LeaveAlternateScreen, Show);
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        match &self.form {
            Form::Nothing => {}
            Form::Line => {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
            Form::Window(window) => {
                if window.screen.is_some() {
                    Self::restore();
                }
            }
        }
    }
}

fn open() -> io::Result<Terminal<CrosstermBackend<Stderr>>> {
    execute!(io::stderr(), EnterAlternateScreen, Hide)?;
    let options = TerminalOptions {
        viewport: Viewport::Fullscreen,
    };
    Terminal::with_options(CrosstermBackend::new(io::stderr()), options)
}

/// Carriage return, what fits into the line, clear to the end of it.
fn line(now: &Snapshot) {
    let left = now.remaining_ms.map_or(String::new(), |left_ms| {
        format!(", {} s left", left_ms.div_ceil(1000))
    });
    let parts = vec![
        (0, now.phase.to_string().into()),
        (3, left.into()),
        (4, format!(" · {} connected", now.connected).into()),
        (2, format!(" · {} sent", now.sent).into()),
        (1, format!(" · {} delivered", now.received).into()),
    ];
    // The last column stays free: some terminals go on to the next line there.
    let columns = tcgetwinsize(io::stderr()).map_or(0, |size| size.ws_col);
    let columns = if columns == 0 { COLUMNS } else { columns };
    let text = fit::line(parts, columns.saturating_sub(1));
    let _ = write!(io::stderr(), "\r{text}\x1b[K");
}
