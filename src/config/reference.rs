//! `docs/configuration.md`: the keys as a page, and the keys one by one for a terminal.

use std::fmt::Write as _;

use super::endpoint::{EndpointConfig, EndpointKind};
use super::keys::{
    ENDPOINT_KEYS, EXAMPLES, Found, KEYS, Key, PLAIN_ENDPOINT_ENVIRONMENT, all_paths,
    environment_name, find, section_text,
};
use super::model::Config;
use super::texts::{plain, wrapped, written};
use crate::suggest;

/// The width of an explanation in a terminal.
const COLUMNS: usize = 80;

const HEAD: &str = "\
# Configuration

<!-- Written by `corecast config --page`: change the rows in src/config/keys instead. -->

Corecast runs without a configuration. To change something, write the keys that you change into
`config.yaml` in the working directory, or name another file with `--config-file`.

- `corecast --print-config` writes `config.yaml` with every key, its default and its explanation.
- `corecast --config-file config.yaml --check` checks a file and prints what would be in effect.
- `corecast config KEY` explains a key, or all keys of a section.
- `corecast config --schema` writes the JSON Schema by which editors complete and check keys; the
  first line of `config.yaml` names it.

A flag beats the environment, the environment beats the file, and the file beats the defaults. Every
key can be set by `--set KEY=VALUE` and by an environment variable: `limits.message_bytes` is
`CORECAST_LIMITS_MESSAGE_BYTES`, and `endpoints.hub.echo` is `CORECAST_ENDPOINTS_HUB_ECHO`.

For a first try on your own machine, five lines are enough: they serve the demo pages at
<http://127.0.0.1:8443/demo/>, the dashboard at <http://127.0.0.1:9090/> and the API for back ends
with the key in the fourth line.

```yaml config
server: {host: 127.0.0.1}
metrics: {host: 127.0.0.1}
pages: {enabled: true}
api: {keys: [a-key-for-trying-only]}
logging: {level: debug}
```

For the internet, begin with `deploy/config.example.yaml`.

## Reload

`SIGHUP` reads the configuration again. The keys below that say *live* change at once, also for
connections that are open; those that say *restart* wait for the next start, and the log names them.

## Values

- Sizes: bytes as a bare number, or with `KiB`, `MiB` or `GiB`; `KB`, `MB` and `GB` mean the same.
- Durations: with a unit, as in `250ms`, `10s`, `1m30s` or `1h`. Only `0` needs none.
- Lists: `[a, b]` in the file, `a,b` in the environment and for `--set`.
- Files: a relative path starts at the working directory.

";

const ENDPOINTS: &str = "\
Each kind has options of its own, which are listed with their kinds. An option of another kind is an
error. The keys after that are common to all kinds.

";

/// The text of `docs/configuration.md`.
pub fn reference_page() -> String {
    let mut page = HEAD.to_owned();
    let config = Config::default();
    let mut sections: Vec<&str> = Vec::new();
    for key in KEYS.iter() {
        if key.path == "networks.allow" {
            endpoints(&mut page);
        }
        let top = key.path.split('.').next().unwrap_or_default();
        if !sections.contains(&top) {
            sections.push(top);
            heading(&mut page, top);
        }
        let section = key.path.rsplit_once('.').map_or("", |(section, _)| section);
        if section != top && !sections.contains(&section) {
            sections.push(section);
            paragraph(&mut page, section_text(section).unwrap_or_default());
        }
        let facts = facts(
            key,
            key.path,
            &written(&key.show(&config)),
            key.plain_environment,
        );
        entry(&mut page, key.path, &facts, key.text);
    }
    page
}

fn heading(page: &mut String, section: &str) {
    let _ = writeln!(page, "## `{section}`\n");
    paragraph(page, section_text(section).unwrap_or_default());
}

fn endpoints(page: &mut String) {
    heading(page, "endpoints");
    page.push_str(ENDPOINTS);
    for key in ENDPOINT_KEYS.iter() {
        let path = format!("endpoints.NAME.{}", key.path);
        let text = match key.text {
            "" => format!(
                "In place of `{}` for this endpoint. null: the value there.",
                key.path
            ),
            text => text.to_owned(),
        };
        let facts = facts(key, &path, &defaults(key), None);
        entry(page, &path, &facts, &text);
    }
}

/// The defaults of a key of endpoints, which can differ from kind to kind.
fn defaults(key: &Key<EndpointConfig>) -> String {
    let of_kind = |kind: EndpointKind| {
        let examples = EXAMPLES.iter().find(|example| example.kind == kind);
        let path = examples.map_or("", |example| example.path);
        written(&key.show(&EndpointConfig::new(kind, path)))
    };
    let kinds = EndpointKind::ALL.iter().map(|(_, kind)| *kind);
    let all: Vec<(EndpointKind, String)> = kinds
        .filter(|kind| key.is_of(*kind))
        .map(|kind| (kind, of_kind(kind)))
        .collect();
    let common = all.first().map_or("", |(_, value)| value).to_owned();
    let others = all.iter().filter(|(_, value)| *value != common);
    let others: String = others
        .map(|(kind, value)| format!("; {} {value}", kind.name()))
        .collect();
    format!("{common}{others}")
}

/// The facts about a key, such as its type and default: names and values.
fn facts<S>(
    key: &Key<S>,
    path: &str,
    default: &str,
    plain: Option<&str>,
) -> Vec<(&'static str, String)> {
    let variable = environment_name(path);
    let variables = match plain {
        Some(plain) => format!("{variable}, {plain}"),
        None => variable,
    };
    let default = match key.secret {
        true => "null",
        false => default,
    };
    let kinds: Vec<&str> = key.kinds.iter().map(|kind| kind.name()).collect();
    let mut facts = vec![
        ("Type", key.form().words),
        ("Default", default.to_owned()),
        ("Reload", key.reload_word().to_owned()),
        ("Environment", variables),
    ];
    if !kinds.is_empty() {
        facts.insert(0, ("Kinds", kinds.join(", ")));
    }
    facts
}

fn entry(page: &mut String, path: &str, facts: &[(&str, String)], text: &str) {
    let _ = writeln!(page, "### `{path}`\n");
    paragraph(page, text);
    let shown = facts.iter().map(|(name, value)| match *name {
        "Default" | "Environment" => format!("{name}: `{}`", value.replace(", ", "`, `")),
        _ => format!("{name}: {value}"),
    });
    let shown: Vec<String> = shown.collect();
    let _ = writeln!(page, "{}\n", shown.join(" · "));
}

/// Writes a paragraph. Markdown needs an empty line before and after a list.
fn paragraph(page: &mut String, text: &str) {
    let mut was_item = false;
    for line in text.lines() {
        let is_item = line.starts_with("- ");
        if is_item != was_item {
            page.push('\n');
        }
        was_item = is_item;
        page.push_str(line);
        page.push('\n');
    }
    page.push('\n');
}

/// The text that `corecast config` prints about a key, or about the keys of a section.
///
/// # Errors
///
/// Neither a key nor a section has this path; the message suggests a similar one.
pub fn explain(path: &str) -> Result<String, String> {
    let config = Config::default();
    match find(path) {
        Found::Key(key) => {
            let default = written(&key.show(&config));
            let facts = facts(key, path, &default, key.plain_environment);
            Ok(explanation(path, &facts, key.text))
        }
        Found::EndpointKey(name, key) => {
            let plain = PLAIN_ENDPOINT_ENVIRONMENT
                .iter()
                .find(|(_, set)| *set == path);
            let default = match config.endpoints.get(&name) {
                Some(endpoint) if key.is_of(endpoint.kind.which()) => written(&key.show(endpoint)),
                _ => defaults(key),
            };
            let facts = facts(key, path, &default, plain.map(|(plain, _)| *plain));
            let text = match key.text {
                "" => &format!(
                    "In place of {} for this endpoint. null: the value there.",
                    key.path
                ),
                text => text,
            };
            Ok(explanation(path, &facts, text))
        }
        Found::Section => Ok(overview(path)),
        Found::Nothing => {
            let names = config.endpoints.keys().map(String::as_str);
            let paths = all_paths(names);
            let meant = suggest::nearest(path, paths.iter().map(String::as_str));
            let meant = meant.map_or_else(
                || "corecast config lists all keys".to_owned(),
                |meant| format!("did you mean {meant}?"),
            );
            Err(format!("unknown key {path:?}; {meant}"))
        }
    }
}

fn explanation(path: &str, facts: &[(&str, String)], text: &str) -> String {
    let mut shown = format!("{path}\n\n");
    for line in wrapped(&plain(text), COLUMNS - 2) {
        let _ = writeln!(shown, "  {line}");
    }
    shown.push('\n');
    for (name, value) in facts {
        let label = format!("{name}:");
        let _ = writeln!(shown, "  {label:<13}{value}");
    }
    shown
}

/// All keys below a section, or all keys if it is empty, each with its default.
pub fn overview(section: &str) -> String {
    let config = Config::default();
    let mut shown = String::new();
    for line in wrapped(&plain(section_text(section).unwrap_or_default()), COLUMNS) {
        let _ = writeln!(shown, "{line}");
    }
    if !shown.is_empty() {
        shown.push('\n');
    }
    let is_below = |path: &str| {
        let rest = path.strip_prefix(section);
        section.is_empty() || rest.is_some_and(|rest| rest.starts_with('.'))
    };
    let mut rows: Vec<(String, String)> = Vec::new();
    for key in KEYS.iter().filter(|key| is_below(key.path)) {
        rows.push((key.path.to_owned(), written(&key.show(&config))));
    }
    for (name, endpoint) in &config.endpoints {
        let kind = endpoint.kind.which();
        for key in ENDPOINT_KEYS.iter().filter(|key| key.is_of(kind)) {
            let path = format!("endpoints.{name}.{}", key.path);
            if is_below(&path) {
                rows.push((path, written(&key.show(endpoint))));
            }
        }
    }
    if rows.is_empty() {
        rows.extend(of_another_endpoint(section));
    }
    let width = rows.iter().map(|(path, _)| path.len()).max().unwrap_or(0);
    for (path, value) in rows {
        let _ = writeln!(shown, "{path:<width$}  {value}");
    }
    shown
}

/// Keys below a section of an endpoint that is not built in, whose kind may be any.
fn of_another_endpoint(section: &str) -> Vec<(String, String)> {
    let mut parts = section.split('.');
    let name = parts.nth(1).unwrap_or_default();
    let keys = ENDPOINT_KEYS.iter();
    let rows = keys.map(|key| (format!("endpoints.{name}.{}", key.path), defaults(key)));
    rows.filter(|(path, _)| path.starts_with(&format!("{section}.")))
        .collect()
}
