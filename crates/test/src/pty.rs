//! A program in a terminal of its own, and the screen that it draws.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Reached only if something is wrong.
const DEADLINE: Duration = Duration::from_secs(60);

/// The end of what ratatui writes for a frame.
const HIDE_CURSOR: &[u8] = b"\x1b[?25l";

/// The terminals that users have at the least, most often, and on a large screen: columns and rows.
pub const SIZES: [(u16, u16); 3] = [(60, 15), (80, 24), (120, 40)];

/// A terminal with a program in it, which is killed when it is dropped.
pub struct Pty {
    child: Child,
    keys: File,
    pieces: Receiver<Vec<u8>>,
    emulator: vt100::Parser<Title>,
    /// All that was written to it.
    pub raw: Vec<u8>,
}

/// The title that the program gives to the window.
#[derive(Default)]
struct Title(String);

impl vt100::Callbacks for Title {
    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        self.0 = String::from_utf8_lossy(title).into_owned();
    }
}

impl Pty {
    /// Starts a program, whose standard output goes elsewhere if `stdout` says so.
    pub fn start(
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        (columns, rows): (u16, u16),
        stdout: Option<Stdio>,
    ) -> Pty {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&terminal).expect("granted");
        unlockpt(&terminal).expect("unlocked");
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&terminal, size).expect("a size");
        let name = ptsname(&terminal, Vec::new()).expect("its name");
        let name = name.into_string().expect("UTF-8");
        let end = || {
            File::options()
                .read(true)
                .write(true)
                .open(&name)
                .expect("its other end")
        };
        // A session of its own, so that /dev/tty is this terminal too.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait", program])
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TERM", "xterm-256color")
            .envs(environment.iter().copied())
            .stdin(end())
            .stdout(stdout.unwrap_or_else(|| end().into()))
            .stderr(end())
            .spawn()
            .expect("it runs");
        let keys = File::from(terminal);
        let pieces = read_all(keys.try_clone().expect("the same terminal"));
        let [columns, rows] = [columns, rows].map(|size| NonZeroU16::new(size).expect("a size"));
        let emulator = vt100::Parser::new_with_callbacks(rows, columns, 0, Title::default());
        Pty {
            child,
            keys,
            pieces,
            emulator,
            raw: Vec::new(),
        }
    }

    /// The screen as it is.
    pub fn screen(&self) -> String {
        self.emulator.screen().contents()
    }

    /// The title that the window has.
    pub fn title(&self) -> &str {
        &self.emulator.callbacks().0
    }

    /// Whether no frame is half drawn.
    fn is_whole(&self) -> bool {
        !self.emulator.screen().alternate_screen() || self.raw.ends_with(HIDE_CURSOR)
    }

    /// Reads on until the screen is as wanted, and returns it.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&str) -> bool) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let screen = self.screen();
            if self.is_whole() && holds(&screen) {
                return screen;
            }
            let is_over = Instant::now() > deadline || !self.read();
            assert!(!is_over, "not on the screen: {what}\n{screen}");
        }
    }

    /// Reads what comes next. Returns whether more may come.
    fn read(&mut self) -> bool {
        let Ok(piece) = self.pieces.recv_timeout(DEADLINE) else {
            return false;
        };
        self.emulator.process(&piece);
        self.raw.extend(piece);
        true
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("keys");
    }

    /// Reads all that is left. Returns whether the program ended well.
    pub fn end(&mut self) -> bool {
        while self.read() {}
        self.child.wait().expect("it ended").success()
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_all(mut terminal: File) -> Receiver<Vec<u8>> {
    let (sender, pieces) = channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        // Ends with an error (EIO) when the last one who has it open is gone.
        while let Ok(read) = terminal.read(&mut piece)
            && sender.send(piece[..read].to_vec()).is_ok()
        {}
    });
    pieces
}

/// Units that a screen has by chance, since figures change.
const UNITS: [&str; 7] = ["ns", "µs", "ms", "min", "KiB", "MiB", "GiB"];

/// The words on a screen, numbers, units and single letters aside.
pub fn words(screen: &str) -> BTreeSet<String> {
    let words = screen.split(|letter: char| !letter.is_alphanumeric());
    let is_word = |word: &&str| word.chars().count() > 1 && word.chars().all(char::is_alphabetic);
    let words = words.filter(is_word).filter(|word| !UNITS.contains(word));
    words.map(str::to_owned).collect()
}
