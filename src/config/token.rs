//! `corecast token`: makes and checks tokens as the configuration says.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::quantity::parse_duration;
use super::{AuthConfig, Config};
use crate::guard::token::{Claims, NewToken, SigningKey};
use crate::guard::{Guard, GuardSettings, Pattern, Rooms};

/// The longest life of a token that is made here.
const LIFE_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3_600);

/// Most bytes that are read of a token from standard input, or of a file with a private key.
const INPUT_BYTES_MAX: u64 = 64 * 1024;

/// Tokens that let clients in (auth.jwt)
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it
    ///
    /// It is signed by the private key of --key-file, else by auth.jwt.secret.
    Make(Make),
    /// Print what a token permits, or why it is invalid (exit code 1)
    Check(Check),
}

/// The contents of a new token.
#[derive(Debug, Args)]
pub struct Make {
    /// The user's name (sub)
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// A room to read, such as /chat/a or /chat/*; may be repeated
    #[arg(long, value_name = "ROOM")]
    read: Vec<Pattern>,

    /// A room to write; may be repeated. Without --read and --write it is valid for all rooms
    #[arg(long, value_name = "ROOM")]
    write: Vec<Pattern>,

    /// How long the token is valid
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = span)]
    expires: Duration,

    /// How long from now it becomes valid (nbf)
    #[arg(long, value_name = "DURATION", value_parser = span)]
    begins: Option<Duration>,

    /// A private key in PEM (PKCS#8): RSA, P-256 or Ed25519
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,

    /// The key's name in the set of JSON Web Keys (kid)
    #[arg(long, value_name = "NAME")]
    key_id: Option<String>,

    /// The endpoint whose auth.jwt applies [default: the common one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
}

/// The token to check.
#[derive(Debug, Args)]
pub struct Check {
    /// The token; - reads it from standard input, which keeps it out of the shell's history
    #[arg(value_name = "TOKEN")]
    token: String,

    /// The endpoint whose auth.jwt applies [default: the common one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
}

impl TokenCommand {
    /// Runs the subcommand with this config.
    pub(crate) fn run(&self, config: &Config) -> ExitCode {
        let result = match self {
            TokenCommand::Make(make) => make.run(config),
            TokenCommand::Check(check) => check.run(config),
        };
        let printed = result.and_then(|line| Ok(writeln!(io::stdout(), "{line}")?));
        match printed {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = writeln!(io::stderr(), "corecast: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

impl Make {
    fn run(&self, config: &Config) -> anyhow::Result<String> {
        let auth = auth_of(config, self.endpoint.as_deref())?;
        let now = SystemTime::now();
        let rooms = (self.read.clone(), self.write.clone());
        let token = NewToken {
            user: self.user.clone(),
            rooms: Some(rooms).filter(|(read, write)| !read.is_empty() || !write.is_empty()),
            begins: self.begins.map(|begins| now + begins),
            expires: now + self.expires,
            key_id: self.key_id.clone(),
            issuer: auth.jwt.issuer.clone(),
            audience: auth.jwt.audience.clone(),
        };
        let signed = self.signing_key(&auth)?.sign(&token);
        signed.context("the operating system provides no random numbers")
    }

    fn signing_key(&self, auth: &AuthConfig) -> anyhow::Result<SigningKey> {
        if let Some(path) = &self.key_file {
            let named = || path.display().to_string();
            let file = fs::File::open(path).with_context(named)?;
            return SigningKey::of_pem(&read(file).with_context(named)?).with_context(named);
        }
        let secret = auth.jwt.secret.as_ref();
        let secret =
            secret.context("there is nothing to sign with; use --key-file or auth.jwt.secret")?;
        Ok(SigningKey::of_secret(secret)?)
    }
}

impl Check {
    fn run(&self, config: &Config) -> anyhow::Result<String> {
        let guard = Guard::new(GuardSettings {
            auth: auth_of(config, self.endpoint.as_deref())?.settings(),
            ..GuardSettings::default()
        })?;
        let input;
        let token = match self.token.as_str() {
            "-" => {
                input = read(io::stdin())?;
                input.trim()
            }
            token => token,
        };
        let checked = guard.check(token, SystemTime::now());
        let checked = checked.context("there is nothing to check with: set auth.jwt")?;
        let claims = checked.context("the token is invalid")?;
        Ok(shown(&claims))
    }
}

/// The `auth` of one endpoint, or the common one.
fn auth_of(config: &Config, endpoint: Option<&str>) -> anyhow::Result<AuthConfig> {
    let Some(name) = endpoint else {
        return Ok(config.auth.clone());
    };
    let endpoint = config.endpoints.get(name);
    let endpoint = endpoint.with_context(|| format!("endpoint {name:?} does not exist"))?;
    Ok(config.auth_of(endpoint))
}

fn shown(claims: &Claims) -> String {
    let rooms = |rooms: &Rooms| match rooms {
        Rooms::All => vec!["*".to_owned()],
        Rooms::Matching(patterns) => patterns.iter().map(ToString::to_string).collect(),
    };
    // RFC 3339 cannot express years after 9999; `expires` is null then.
    let expires = claims.expires.duration_since(UNIX_EPOCH);
    let expires = expires.unwrap_or_default().as_secs() as i64;
    let expires = OffsetDateTime::from_unix_timestamp(expires);
    let expires = expires
        .ok()
        .and_then(|expires| expires.format(&Rfc3339).ok());
    let claims = json!({
        "user": claims.identity.user,
        "expires": expires,
        "read": rooms(&claims.identity.read),
        "write": rooms(&claims.identity.write),
    });
    claims.to_string()
}

fn read(from: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(INPUT_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn span(text: &str) -> Result<Duration, String> {
    let span = parse_duration(text).filter(|span| *span <= LIFE_MAX);
    span.ok_or_else(|| "is not a duration; write 10m, 12h or 720h".to_owned())
}
