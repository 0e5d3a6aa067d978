//! `config.yaml`: every key with its default, its type and its explanation.

use std::collections::BTreeSet;

use super::endpoint::{EndpointConfig, EndpointKind};
use super::keys::{ENDPOINT_KEYS, EXAMPLES, KEYS, Key, PLAIN_ENDPOINT_ENVIRONMENT, section_text};
use super::model::Config;
use super::texts::{plain, wrapped, written};

/// The width of the file.
const COLUMNS: usize = 100;

const HEAD: &str = "\
# yaml-language-server: $schema=config.schema.json
#
# Corecast's configuration: every key with its default. The same values apply without this file, so
# keep only the lines that you change. It is written by `corecast --print-config`; the schema in the
# first line, by which editors complete and check keys, by `corecast config --schema`.
#
#   corecast --config-file config.yaml --check     check a file and print what would be in effect
#   corecast config limits                         explain the keys below limits
#
# A flag beats the environment, and the environment beats this file. Every key can be set with
#   --set limits.message_bytes=64KiB               or with
#   CORECAST_LIMITS_MESSAGE_BYTES=64KiB            (the path in capitals, _ for each dot; commas
#                                                  separate the items of a list; an empty variable
#                                                  counts as not set).
#
# In brackets: the type of a key and its bounds; live if a reload (SIGHUP) changes it, restart if a
# change waits for the next start; and a plain environment variable that sets it too.
#
# Sizes:     bytes as a bare number, or with KiB, MiB or GiB; KB, MB and GB mean the same (2^10,
#            2^20, 2^30).
# Durations: with a unit: 250ms, 10s, 1m30s or 1h. Only 0 needs none.
# Files:     relative paths start at the working directory. null: none.
";

/// The text of `config.yaml`.
pub fn print_config() -> String {
    let mut page = Page {
        text: HEAD.to_owned(),
        open: Vec::new(),
        prefix: "",
        explained: BTreeSet::new(),
    };
    let config = Config::default();
    for key in KEYS.iter() {
        // Endpoints come before `networks`, as in a `Config`.
        if key.path == "networks.allow" {
            page.endpoints();
        }
        let comment = comment(key, key.plain_environment);
        page.entry("", key.path, &comment, &written(&key.show(&config)));
    }
    page.text
}

/// A key's text, then its type in brackets.
fn comment<S>(key: &Key<S>, plain_environment: Option<&str>) -> String {
    let also = plain_environment.map(|name| format!("; also {name}"));
    format!(
        "{}\n[{}; {}{}]",
        plain(key.text),
        key.form().words,
        key.reload_word(),
        also.unwrap_or_default()
    )
}

/// The part of the file that has been written.
struct Page {
    text: String,
    /// The sections in which the last key is.
    open: Vec<String>,
    /// The mark before each line of an example that is commented out; else empty.
    prefix: &'static str,
    /// Keys and sections of endpoints that have been explained already.
    explained: BTreeSet<&'static str>,
}

impl Page {
    /// Writes the key at `base` and `path`, after the sections of which it is the first key.
    fn entry(&mut self, base: &str, path: &str, comment: &str, value: &str) {
        let whole = format!("{base}{path}");
        let parts: Vec<&str> = whole.split('.').collect();
        let Some((name, sections)) = parts.split_last() else {
            return;
        };
        let same = self.open.iter().zip(sections);
        let same = same.take_while(|(open, section)| open == section).count();
        self.open.truncate(same);
        for depth in same..sections.len() {
            self.section(base, &sections[..=depth]);
        }
        self.comment(comment, sections.len());
        self.line(&format!("{name}: {value}"), sections.len());
    }

    fn section(&mut self, base: &str, parts: &[&str]) {
        let Some((name, above)) = parts.split_last() else {
            return;
        };
        if above.is_empty() {
            self.text.push('\n');
        }
        let path = parts.join(".");
        // The name of an endpoint has no text, even if a section has the same name.
        let text = match (base, path.strip_prefix(base)) {
            ("", _) => section_text(&path),
            (_, Some(below)) => self.endpoint_section(below),
            (_, None) => None,
        };
        self.comment(&plain(text.unwrap_or_default()), above.len());
        self.line(&format!("{name}:"), above.len());
        self.open.push((*name).to_owned());
    }

    /// The text of a section of endpoints, unless it has been explained already.
    fn endpoint_section(&mut self, below: &str) -> Option<&'static str> {
        let text = section_text(&format!("endpoints.{below}"))?;
        self.explained.insert(text).then_some(text)
    }

    fn comment(&mut self, text: &str, depth: usize) {
        let columns = COLUMNS - 2 * depth - "# ".len() - self.prefix.len();
        for line in wrapped(text, columns) {
            if !line.trim().is_empty() {
                self.line(&format!("# {line}"), depth);
            }
        }
    }

    /// Writes a line. In an example that is commented out, the mark stands where the endpoint's
    /// name would begin.
    fn line(&mut self, text: &str, depth: usize) {
        let indent = "  ".repeat(depth);
        let line = match self.prefix {
            "" => format!("{indent}{text}\n"),
            prefix => format!("  {prefix}{}{text}\n", &indent[2..]),
        };
        self.text.push_str(&line);
    }

    /// Writes the built-in endpoints, then the examples of the other kinds.
    fn endpoints(&mut self) {
        let hub = EndpointConfig::new(EndpointKind::Hub, "");
        for example in &EXAMPLES {
            let endpoint = EndpointConfig::new(example.kind, example.path);
            let name = example.kind.name();
            self.open.truncate(1);
            self.prefix = "";
            if self.open.is_empty() {
                self.section("", &["endpoints"]);
            }
            self.comment(&plain(example.text), 1);
            self.prefix = if example.is_built_in { "" } else { "# " };
            for key in ENDPOINT_KEYS.iter().filter(|key| key.is_of(example.kind)) {
                let is_new = self.explained.insert(key.path);
                let is_told = is_new || matches!(key.path, "kind" | "path");
                if is_told || key.differs(&endpoint, &hub) {
                    self.endpoint_key(name, key, is_new, &endpoint);
                }
            }
        }
        self.prefix = "";
    }

    fn endpoint_key(
        &mut self,
        name: &str,
        key: &Key<EndpointConfig>,
        is_new: bool,
        endpoint: &EndpointConfig,
    ) {
        let base = format!("endpoints.{name}.");
        let mut plain_names = PLAIN_ENDPOINT_ENVIRONMENT.iter();
        let path = format!("{base}{}", key.path);
        let also = plain_names.find(|(_, set)| *set == path);
        let also = also.map(|(plain, _)| *plain);
        let comment = match (is_new && !key.text.is_empty(), also) {
            (true, also) => comment(key, also),
            (false, Some(also)) => format!("[also {also}]"),
            (false, None) => String::new(),
        };
        self.entry(&base, key.path, &comment, &written(&key.show(endpoint)));
    }
}
