//! The command line: raw arguments first, then their meaning together with file and environment.
//!
//! `main` calls [`start`] and gets a checked config or the exit code of a process that is done.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{CommandFactory as _, Parser, Subcommand};
use corecast_terminal::describe::Describe;

use crate::config::command::{self, ConfigCommand};
use crate::config::token::TokenCommand;
use crate::config::{
    Config, ConfigError, ConfigFile, FlagValue, Problem, is_config, load, print_config,
};
use crate::doctor::DoctorCommand;
use crate::engine::Tls;
use crate::health_check::{self, HealthCheckError};
use crate::nostr_tool::NostrCommand;
use crate::relay::api_keys::ApiKeys;
use crate::top::TopCommand;

/// `EX_CONFIG` of sysexits.h: the file, the environment or the flags contain an error.
pub const EXIT_CONFIG: u8 = 78;

/// The file that is read if none is named.
pub const DEFAULT_FILE: &str = "./config.yaml";

/// The file that is read if [`DEFAULT_FILE`] does not exist: users of go-websocket-relay have one
/// and start their binary without arguments.
const EARLIER_FILE: &str = "./config.json";

/// Largest size of a config file, in bytes; a sensible one is far smaller.
const FILE_BYTES_MAX: u64 = 1 << 20;

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("CORECAST_COMMIT"),
    ", built ",
    env!("CORECAST_BUILD_DATE"),
    ")"
);

const AFTER_HELP: &str = "\
Examples:
  corecast                                   ./config.yaml, else ./config.json, else the defaults
  corecast --config-file /etc/corecast.yaml --check
  corecast --print-config > config.yaml      every key with its default and an explanation
  corecast config limits.message_bytes       a key's purpose, type and default
  corecast --health-check                    check that the relay with this config is alive
  corecast --port 8080 --shards 4 --log-level debug
  corecast --set endpoints.hub.echo=false --set limits.message_bytes=64KiB
  CORECAST_SERVER_PORT=8080 CORECAST_ENDPOINTS_HUB_PATH='/chat/**' corecast
  corecast token make --user ada --read '/chat/*' --write /chat/ada --expires 12h
  corecast token check - < token.txt
  corecast top --url http://127.0.0.1:9090   a relay's figures, updated every second
  corecast doctor                            check this machine's limits against the config
  corecast nostr import events.jsonl         load events into the store of a Nostr endpoint
  corecast completions bash >~/.local/share/bash-completion/completions/corecast
  corecast man | man -l -                    the help of all subcommands as a manual page

A flag beats the environment, the environment beats the file, the file beats the defaults.
Every key has a variable: limits.message_bytes is CORECAST_LIMITS_MESSAGE_BYTES. An empty variable
counts as not set; that of a secret is an error. PORT, MAX_MESSAGE_SIZE, READ_BUFFER_SIZE,
WRITE_BUFFER_SIZE, RELAY_API_KEY, WS_PATH and PUSH_PATH work as well.

Exit codes:
  0   success: stopped by a signal, or done with --check, --help or --version
  1   startup or runtime failure (for example, the port is in use); failed health check; invalid
      token; or limits of the machine that do not fit the config
  2   invalid command line
  3   nostr import has refused lines
  78  invalid configuration; all problems are on standard error, one per line
  130 nostr import, export or stats were interrupted";

/// The command line as it was given; [`start`] resolves it.
#[derive(Debug, Parser)]
#[command(name = "corecast", version = VERSION, about, after_help = AFTER_HELP)]
pub struct Arguments {
    /// The config file, YAML or JSON [default: ./config.yaml, else ./config.json, else none]
    #[arg(short, long, value_name = "PATH", global = true)]
    pub config_file: Option<PathBuf>,

    /// Set any key, such as server.port=8080; may be repeated, the last one counts
    #[arg(long, value_name = "KEY=VALUE", value_parser = FlagValue::from_set, global = true)]
    pub set: Vec<FlagValue>,

    /// Load and check the config, print the effective config as YAML, and exit
    #[arg(long)]
    pub check: bool,

    /// Print config.yaml: every key with its default and an explanation
    #[arg(long, conflicts_with = "check")]
    pub print_config: bool,

    /// Check that a running relay is alive, and exit with 0 or 1 [default URL: /livez of the admin
    /// port, or of the relaying port if that is off, by config and flags]
    #[arg(long, value_name = "URL", conflicts_with = "check")]
    pub health_check: Option<Option<String>>,

    /// Address to listen on; beats --set server.host
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<String>,

    /// TCP port to listen on; beats --set server.port
    #[arg(short, long, value_name = "PORT")]
    pub port: Option<String>,

    /// Number of relaying threads, or auto; beats --set engine.shards
    #[arg(long, value_name = "COUNT")]
    pub shards: Option<String>,

    /// Log level: error, warn, info, debug or trace; beats --set logging.level
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// A subcommand to run instead of the relay
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The subcommands, which run instead of the relay.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make and check tokens for clients
    #[command(subcommand)]
    Token(TokenCommand),

    /// Show the figures of a running relay, updated every second
    Top(TopCommand),

    /// Explain a key of the configuration, or list the keys
    Config(ConfigCommand),

    /// Check this machine's limits against the config, and suggest how to fix each problem
    Doctor(DoctorCommand),

    /// Move the events of a Nostr endpoint in and out, or examine them, while the relay is stopped
    #[command(subcommand)]
    Nostr(NostrCommand),

    /// Completions and the manual page.
    #[command(flatten)]
    Describe(Describe),
}

/// The result of a start that is to run the relay.
#[derive(Debug)]
pub struct Started {
    /// The command line, to load the config again ([`Arguments::reload`]).
    pub arguments: Arguments,
    /// The config.
    pub loaded: Loaded,
    /// The TLS setup, if TLS is enabled.
    pub tls: Option<Tls>,
}

/// A config that is ready to run.
#[derive(Debug)]
pub struct Loaded {
    /// The config in force.
    pub config: Config,
    /// One line for the log that names its source.
    pub notice: String,
    /// A sentence for the log about a file that was not read, although it may be meant.
    pub warning: Option<String>,
}

/// Reads this process's command line, file and environment.
///
/// # Errors
///
/// The exit code if no relay is to run: 0 after `--check`, 0 or 1 after `--health-check`, 78 after
/// problems, which were printed. `--help`, `--version` and invalid arguments end the process in
/// this function.
pub fn start() -> Result<Started, ExitCode> {
    let arguments = Arguments::parse();
    let told = |error: ConfigError| {
        // If standard error is closed, the error cannot be reported.
        let _ = writeln!(io::stderr(), "{error}");
        ExitCode::from(EXIT_CONFIG)
    };
    if let Some(Command::Describe(what)) = &arguments.command {
        return Err(what.run(Arguments::command()));
    }
    // These work without a configuration, so that they help if it cannot be loaded.
    if arguments.print_config {
        return Err(command::print(&print_config()));
    }
    if let Some(Command::Config(command)) = &arguments.command {
        return Err(command.run());
    }
    if let Some(Some(url)) = &arguments.health_check {
        return Err(health_check(Ok(url.clone())));
    }
    let loaded = arguments.load(environment()).map_err(told)?;
    if arguments.health_check.is_some() {
        return Err(health_check(health_check::url(&loaded.config)));
    }
    match &arguments.command {
        Some(Command::Token(command)) => return Err(command.run(&loaded.config)),
        Some(Command::Top(command)) => return Err(command.run(&loaded.config)),
        Some(Command::Doctor(command)) => return Err(command.run(&loaded.config)),
        Some(Command::Nostr(command)) => return Err(command.run(&loaded.config)),
        Some(Command::Config(_) | Command::Describe(_)) | None => {}
    }
    let tls = loaded.config.server.load_tls(SystemTime::now());
    let tls = tls.map_err(told)?;
    // Read only for the exit code here; the endpoints read them again.
    ApiKeys::load(&loaded.config.api).map_err(told)?;
    loaded.config.guards().map_err(told)?;
    if !arguments.check {
        return Ok(Started {
            arguments,
            loaded,
            tls,
        });
    }
    let _ = writeln!(io::stderr(), "{}", loaded.notice);
    for warning in loaded.warning.into_iter().chain(loaded.config.warnings()) {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    match io::stdout().write_all(loaded.config.to_yaml().as_bytes()) {
        Ok(()) => Err(ExitCode::SUCCESS),
        Err(_) => Err(ExitCode::FAILURE),
    }
}

/// Prints the result of the health check, which container engines keep with the exit code.
fn health_check(url: Result<String, HealthCheckError>) -> ExitCode {
    let place = url.as_deref().unwrap_or("health check").to_owned();
    match url.and_then(|url| health_check::ask(&url)) {
        Ok(said) => {
            let _ = writeln!(io::stdout(), "{place}: {said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "{place}: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    /// Loads the config file again, which may have changed, with this process's environment.
    ///
    /// # Errors
    ///
    /// As [`Arguments::load`].
    pub fn reload(&self) -> Result<Loaded, ConfigError> {
        self.load(environment())
    }

    /// Loads the config from file, environment and flags.
    ///
    /// # Errors
    ///
    /// All problems at once. It is a problem if a named file cannot be read, or if a default file
    /// exists and cannot be read or belongs to another program.
    pub fn load(
        &self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigError> {
        let source = self.source()?;
        let file = source.text.as_deref();
        let file = file.map(|text| ConfigFile {
            name: &source.name,
            text,
        });
        let config = load(file, environment, &self.flag_values());
        let config = config.map_err(|error| match source.is_earlier {
            true => explained(error, &source.name),
            false => error,
        })?;
        Ok(Loaded {
            config,
            notice: source.notice,
            warning: source.warning,
        })
    }

    /// The named file, else `config.yaml`, else `config.json`, else none.
    fn source(&self) -> Result<Source, ConfigError> {
        if let Some(path) = &self.config_file {
            let name = name_of(path);
            let text = read_file(path).map_err(|error| unreadable(&name, &error))?;
            return Ok(Source::of(name, text));
        }
        let (own, earlier) = (read_default(DEFAULT_FILE)?, read_default(EARLIER_FILE));
        let (own_name, earlier_name) = (name_of(DEFAULT_FILE), name_of(EARLIER_FILE));
        if let Some(text) = own {
            let is_ignored = earlier.is_ok_and(|text| text.is_some_and(|text| is_config(&text)));
            return Ok(Source {
                warning: is_ignored.then(|| {
                    format!("{earlier_name} is not read, since there is a {own_name} here")
                }),
                ..Source::of(own_name, text)
            });
        }
        match earlier? {
            Some(text) if !is_config(&text) && !text.trim().is_empty() => {
                let message = "none of its keys is one of this relay";
                let error = problem(&earlier_name, message);
                Err(explained(error, &earlier_name))
            }
            Some(text) => Ok(Source {
                notice: format!("config: {earlier_name}, since there is no {own_name} here"),
                is_earlier: true,
                ..Source::of(earlier_name, text)
            }),
            None => Ok(Source {
                name: own_name.clone(),
                text: None,
                notice: format!("config: no {own_name} here, so the built-in defaults hold"),
                warning: None,
                is_earlier: false,
            }),
        }
    }

    fn flag_values(&self) -> Vec<FlagValue> {
        let short = [
            ("--host", "server.host", &self.host),
            ("--port", "server.port", &self.port),
            ("--shards", "engine.shards", &self.shards),
            ("--log-level", "logging.level", &self.log_level),
        ];
        let short = short.into_iter().filter_map(|(flag, path, value)| {
            let value = value.clone()?;
            Some(FlagValue {
                flag: flag.to_owned(),
                path: path.to_owned(),
                value,
            })
        });
        self.set.iter().cloned().chain(short).collect()
    }
}

/// The source of a config.
struct Source {
    name: String,
    /// `None`: no file exists.
    text: Option<String>,
    notice: String,
    warning: Option<String>,
    /// It is [`EARLIER_FILE`], and was not named by the user.
    is_earlier: bool,
}

impl Source {
    fn of(name: String, text: String) -> Source {
        Source {
            notice: format!("config: {name}"),
            name,
            text: Some(text),
            warning: None,
            is_earlier: false,
        }
    }
}

/// The name of a file in messages.
fn name_of(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    let path = path.strip_prefix("./").unwrap_or(path);
    path.display().to_string()
}

/// Reads a file that need not exist.
fn read_default(path: &str) -> Result<Option<String>, ConfigError> {
    match read_file(Path::new(path)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&name_of(path), &error)),
    }
}

/// Adds to the problems of an unnamed file what to do if it belongs to another program.
fn explained(mut error: ConfigError, name: &str) -> ConfigError {
    let message = format!(
        "it was read since there is no {} here; if it belongs to another program, create that \
         file, which may be empty, or name one with --config-file",
        name_of(DEFAULT_FILE)
    );
    error.problems.push(Problem {
        place: name.to_owned(),
        message,
    });
    error
}

/// This process's environment. Invalid UTF-8 is replaced, so that it is reported in the value of a
/// key and ignored elsewhere.
fn environment() -> Vec<(String, String)> {
    let text = |raw: &OsStr| raw.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(&name), text(&value)))
        .collect()
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "it is larger than {FILE_BYTES_MAX} bytes"
        )));
    }
    Ok(text)
}

fn unreadable(name: &str, error: &io::Error) -> ConfigError {
    let message = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::InvalidData => "is not UTF-8 text".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    problem(name, message)
}

fn problem(place: &str, message: impl Into<String>) -> ConfigError {
    ConfigError {
        problems: vec![Problem {
            place: place.to_owned(),
            message: message.into(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn short_flags_beat_set_and_set_beats_the_environment() {
        let parse = |arguments: &[&str]| Arguments::try_parse_from(arguments).expect("arguments");
        let environment = [("CORECAST_SERVER_PORT".to_owned(), "1".to_owned())];
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("c.yaml");
        fs::write(&file, "server: {port: 9}\n").expect("a file");
        let file = file.to_str().expect("UTF-8");
        let port = |arguments: &[&str]| {
            let arguments = [&["corecast", "-c", file], arguments].concat();
            parse(&arguments)
                .load(environment.clone())
                .expect("a config")
                .config
                .server
                .port
        };
        assert_eq!(port(&[]), 1);
        assert_eq!(port(&["--set", "server.port=2"]), 2);
        assert_eq!(
            port(&["--set", "server.port=2", "--set", "server.port=3"]),
            3
        );
        assert_eq!(port(&["--port", "4", "--set", "server.port=2"]), 4);
    }

    #[test]
    fn a_file_that_is_too_large_or_not_text_is_rejected() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("large.yaml");
        fs::write(&file, "#".repeat(FILE_BYTES_MAX as usize + 1)).expect("a file");
        assert!(read_file(&file).is_err());
        fs::write(&file, [0xff, 0xfe, b'a']).expect("a file");
        assert_eq!(
            read_file(&file).expect_err("no text").kind(),
            io::ErrorKind::InvalidData
        );
    }
}
