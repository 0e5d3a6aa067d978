//! From texts to a checked [`Config`]: defaults, then the file, the environment, the flags.
//!
//! Every source becomes assignments of values to paths, applied in order of precedence, so a later
//! one wins. A bad value is a problem even if a later source overrides it. The source that set a
//! key last is kept, so that a conflict between keys is reported where an operator can change it.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::Value;

use super::check;
use super::error::Conflict;
use super::keys::{self, Found, Key};
use super::tree::{self, Part, Tree};
use super::value::{describe, quoted};
use super::{
    Config, ConfigError, EndpointConfig, EndpointKind, KeepaliveOverride, Kind, NostrConfig,
    Problem, nostr,
};
use crate::suggest;

/// A config file that was read.
#[derive(Debug, Clone, Copy)]
pub struct ConfigFile<'a> {
    /// Its name in messages, as the operator wrote it.
    pub name: &'a str,
    /// Its content: YAML, and therefore also JSON.
    pub text: &'a str,
}

/// A value from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagValue {
    /// Its name in messages: `--set server.port`, `--port`.
    pub flag: String,
    /// The path of the key.
    pub path: String,
    /// The value: a YAML scalar or list, or a comma-separated list.
    pub value: String,
}

/// Builds a config: defaults, overridden by the file, then the environment, then the flags.
///
/// In the environment the specific name of a key beats its plain one. An empty variable counts as
/// unset, except that of a secret, which is a problem: the secret was probably forgotten. Variables
/// of other programs are ignored. If two flags set one key, the later one wins.
///
/// # Errors
///
/// Every problem of every source at once.
pub fn load(
    file: Option<ConfigFile<'_>>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[FlagValue],
) -> Result<Config, ConfigError> {
    let mut loader = Loader {
        file,
        config: Config::default(),
        last_set_by: BTreeMap::new(),
        added: BTreeSet::new(),
        options: BTreeMap::new(),
        unreadable: BTreeSet::new(),
        problems: Vec::new(),
    };
    loader.take_file();
    let variables: Vec<_> = environment.into_iter().collect();
    loader.added = added_endpoints(&variables, flags);
    loader.take_environment(variables);
    for flag in flags {
        let origin = Origin::Flag(flag.flag.clone());
        if !loader.complain_of_nothing(&flag.path, &flag.value, &origin) {
            loader.assign(&flag.path, &value_of_text(&flag.value), origin);
        }
    }
    loader.finish()
}

/// Where a value came from.
#[derive(Debug, Clone)]
enum Origin {
    /// The path down the file: positions among the entries of each mapping.
    File(Vec<usize>),
    /// The variable.
    Environment(String),
    /// The flag.
    Flag(String),
}

/// An option of an endpoint that somebody has set.
struct Given {
    endpoint: String,
    key: &'static Key<EndpointConfig>,
    value: Value,
}

struct Loader<'a> {
    file: Option<ConfigFile<'a>>,
    config: Config,
    last_set_by: BTreeMap<String, Origin>,
    /// Endpoints whose kind is set by the environment or flags.
    added: BTreeSet<String>,
    /// Options of endpoints, by path: they are applied when the kind is known.
    options: BTreeMap<String, Given>,
    /// Paths whose value could not be read; conflicts that involve them are not reported.
    unreadable: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl Loader<'_> {
    fn take_file(&mut self) {
        let Some(file) = self.file else { return };
        match tree::parse(file.text) {
            Ok(Tree::Section(entries)) => self.take_section("", &mut Vec::new(), &entries),
            Ok(Tree::Leaf(Value::Null)) => {}
            Ok(Tree::Leaf(value)) => self.problems.push(Problem {
                place: file.name.to_owned(),
                message: format!(
                    "{} is not a configuration; write keys, such as server:",
                    describe(&value)
                ),
            }),
            Err(error) => {
                let at = error.place.map(|at| format!(":{}:{}", at.line, at.column));
                let place = format!("{}{}", file.name, at.unwrap_or_default());
                self.problems.push(Problem {
                    place,
                    message: error.message,
                });
            }
        }
    }

    fn take_section(&mut self, path: &str, steps: &mut Vec<usize>, entries: &[(String, Tree)]) {
        for (index, (name, node)) in entries.iter().enumerate() {
            let below = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            steps.push(index);
            if entries[..index].iter().any(|(earlier, _)| earlier == name) {
                self.complain_at_key(steps, &below, "is written twice; remove one".to_owned());
            } else {
                self.take_node(&below, steps, node);
            }
            steps.pop();
        }
    }

    fn take_node(&mut self, path: &str, steps: &mut Vec<usize>, node: &Tree) {
        if let Some(name) = path.strip_prefix("endpoints.")
            && keys::is_endpoint_name(name)
        {
            // The endpoint exists even if its section is empty.
            self.endpoint(name.to_owned());
            self.last_set_by
                .insert(path.to_owned(), Origin::File(steps.clone()));
        }
        if let Some((_, path)) = keys::FLAT_KEYS.iter().find(|(flat, _)| *flat == path) {
            return self.take_flat(path, steps, node);
        }
        match (keys::find(path), node) {
            (Found::Section, Tree::Section(entries)) => self.take_section(path, steps, entries),
            (Found::Section, Tree::Leaf(Value::Null)) => {}
            (Found::Section, Tree::Leaf(value)) => {
                let message = format!("is a section with keys below it, not {}", describe(value));
                self.complain(&Origin::File(steps.clone()), path, message);
            }
            (Found::Nothing, _) => {
                let message = self.unknown_key(path);
                self.complain_at_key(steps, path, message);
            }
            (_, Tree::Leaf(value)) => self.take_value(path, steps, value),
            (_, Tree::Section(_)) => {
                let value = Value::Mapping(serde_yaml::Mapping::new());
                self.take_value(path, steps, &value);
            }
        }
    }

    /// Applies a key of an earlier relay's file to the key at `path`.
    fn take_flat(&mut self, path: &str, steps: &[usize], node: &Tree) {
        let value = match node {
            Tree::Leaf(Value::String(text)) if text.is_empty() => return,
            Tree::Leaf(Value::String(text)) if path == "api.keys" => one_key(text),
            Tree::Leaf(value) => value.clone(),
            Tree::Section(_) => Value::Mapping(serde_yaml::Mapping::new()),
        };
        self.take_value(path, steps, &value);
    }

    fn take_value(&mut self, path: &str, steps: &[usize], value: &Value) {
        match self.last_set_by.get(path) {
            // Set twice: by a key of an earlier relay and by ours.
            Some(_) => {
                self.complain_at_key(steps, path, "is written twice; remove one".to_owned());
            }
            None => self.assign(path, value, Origin::File(steps.to_vec())),
        }
    }

    fn take_environment(&mut self, mut variables: Vec<(String, String)>) {
        variables.sort();
        variables.retain(|(name, value)| {
            let plain = keys::KEYS.iter();
            let mut plain = plain.filter(|key| key.plain_environment == Some(name.as_str()));
            let path = plain.next().map(|key| key.path.to_owned());
            let path = path.or_else(|| self.path_of_environment(name));
            let origin = Origin::Environment(name.clone());
            let is_missing =
                path.is_some_and(|path| self.complain_of_nothing(&path, value, &origin));
            !value.is_empty() && !is_missing
        });
        let plain = |name: &str| {
            keys::KEYS
                .iter()
                .find(|key| key.plain_environment == Some(name))
        };
        for (name, value) in &variables {
            let key = plain(name).map(|key| key.path);
            let value = match key {
                Some("api.keys") => one_key(value.trim()),
                _ => value_of_text(value),
            };
            let origin = Origin::Environment(name.clone());
            if let Some(path) = key {
                self.assign(path, &value, origin.clone());
            }
            let also = keys::PLAIN_ENDPOINT_ENVIRONMENT.iter();
            for (_, path) in also.filter(|(plain, _)| plain == name) {
                // An unreadable value is reported once.
                if !key.is_some_and(|key| self.unreadable.contains(key)) {
                    self.assign(path, &value, origin.clone());
                }
            }
        }
        for (name, value) in &variables {
            if !name.starts_with(keys::ENVIRONMENT_PREFIX) || keys::is_foreign(name, value) {
                continue;
            }
            let origin = Origin::Environment(name.clone());
            match self.path_of_environment(name) {
                Some(path) => self.assign(&path, &value_of_text(value), origin),
                None => {
                    let message = self.unknown_variable(name);
                    self.complain(&origin, "", message);
                }
            }
        }
    }

    fn path_of_environment(&self, variable: &str) -> Option<String> {
        let is_there =
            |name: &str| self.config.endpoints.contains_key(name) || self.added.contains(name);
        keys::path_of_environment(variable, is_there)
    }

    /// Reports a secret that is set to an empty text, as by a variable that was never filled in.
    /// It does not mean that no secret is wanted: that would open the relay. Returns whether it
    /// is such a secret.
    fn complain_of_nothing(&mut self, path: &str, text: &str, origin: &Origin) -> bool {
        let is_missing = text.trim().is_empty() && keys::is_secret(path);
        if is_missing {
            let message =
                "a secret is set to an empty text; write null for no secret, or leave it out";
            self.complain(origin, path, message.to_owned());
            self.unreadable.insert(path.to_owned());
        }
        is_missing
    }

    fn assign(&mut self, path: &str, value: &Value, origin: Origin) {
        let read = match keys::find(path) {
            Found::Key(key) => key.read(&mut self.config, value),
            Found::EndpointKey(name, key) if key.kinds.is_empty() => {
                key.read(self.endpoint(name), value)
            }
            Found::EndpointKey(name, key) => self.take_option(path, name, key, value),
            Found::Section => Err("is a section with keys below it; name one of those".to_owned()),
            Found::Nothing => Err(self.unknown_key(path)),
        };
        if let Err(message) = read {
            self.complain(&origin, path, message);
            self.unreadable.insert(path.to_owned());
        }
        self.last_set_by.insert(path.to_owned(), origin);
    }

    /// Reads an option. It is applied after all sources have been read: the kind of the endpoint
    /// may come after its options.
    fn take_option(
        &mut self,
        path: &str,
        endpoint: String,
        key: &'static Key<EndpointConfig>,
        value: &Value,
    ) -> Result<(), String> {
        let kind = key.kinds.first().copied().unwrap_or(EndpointKind::Hub);
        key.read(&mut EndpointConfig::new(kind, ""), value)?;
        self.endpoint(endpoint.clone());
        let value = value.clone();
        let given = Given {
            endpoint,
            key,
            value,
        };
        self.options.insert(path.to_owned(), given);
        Ok(())
    }

    /// Applies the options to their endpoints. An option of another kind is a problem, unless it
    /// has its default: files that list every key with its default are accepted.
    fn set_options(&mut self) {
        for (path, given) in std::mem::take(&mut self.options) {
            let Some(endpoint) = self.config.endpoints.get_mut(&given.endpoint) else {
                continue;
            };
            let kind = endpoint.kind.which();
            if given.key.is_of(kind) {
                // The same value has been read without an error before.
                let _ = given.key.read(endpoint, &given.value);
                continue;
            }
            let section = format!("endpoints.{}", given.endpoint);
            let is_kind_known = !self.unreadable.contains(&format!("{section}.kind"))
                && (self.is_set(&format!("{section}.kind"))
                    || super::endpoint::built_in_endpoints().contains_key(&given.endpoint));
            let origin = self.last_set_by.remove(&path);
            if let (true, false, Some(origin)) = (is_kind_known, is_default(&given), origin) {
                let message = foreign_option(&given, kind);
                self.complain(&origin, &path, message);
            }
        }
    }

    /// The endpoint of this name; a new one is a draft that is checked at the end.
    fn endpoint(&mut self, name: String) -> &mut EndpointConfig {
        let draft = || EndpointConfig::new(EndpointKind::Hub, "");
        self.config.endpoints.entry(name).or_insert_with(draft)
    }

    /// Gives every key of an endpoint that no source has set the default of the endpoint's kind.
    fn take_kinds(&mut self) {
        let mut endpoints = std::mem::take(&mut self.config.endpoints);
        for (name, endpoint) in &mut endpoints {
            let defaults = self.defaults_of(name, endpoint);
            for key in keys::ENDPOINT_KEYS.iter() {
                let is_set = |key| self.is_set(&format!("endpoints.{name}.{key}"));
                let is_own = key.is_of(endpoint.kind.which());
                if is_own && !matches!(key.path, "kind" | "path") && !is_set(key.path) {
                    key.copy(&defaults, endpoint);
                }
            }
        }
        self.config.endpoints = endpoints;
    }

    /// The defaults of an endpoint's kind, without those that would override a common setting that
    /// the operator has set, or contradict it.
    fn defaults_of(&self, name: &str, endpoint: &EndpointConfig) -> EndpointConfig {
        let mut defaults = EndpointConfig::new(endpoint.kind.which(), &endpoint.path);
        let mut tried = endpoint.clone();
        tried.limits.message_bytes = defaults.limits.message_bytes;
        if self.is_set("limits.message_bytes") || !check::message_fits(&self.config, &tried) {
            defaults.limits.message_bytes = None;
        }
        if self.is_set("keepalive.ping") || self.is_set("keepalive.pong") {
            defaults.keepalive = KeepaliveOverride::default();
        }
        if let Kind::Nostr(nostr) = &endpoint.kind {
            let nostr = self.nostr_defaults_of(name, endpoint, nostr, &defaults);
            defaults.kind = Kind::Nostr(Box::new(nostr));
        }
        defaults
    }

    /// The defaults below `nostr`; `endpoint` has no defaults of its kind yet.
    fn nostr_defaults_of(
        &self,
        name: &str,
        endpoint: &EndpointConfig,
        own: &NostrConfig,
        defaults: &EndpointConfig,
    ) -> NostrConfig {
        let is_set = |key: &str| self.is_set(&format!("endpoints.{name}.{key}"));
        let mut tried = endpoint.clone();
        if !is_set("limits.message_bytes") {
            tried.limits.message_bytes = defaults.limits.message_bytes;
        }
        let limit = is_set("nostr.queries.limit").then_some(own.queries.limit);
        nostr::defaults_beside(limit, &self.config.settings_of(&tried))
    }

    fn is_set(&self, path: &str) -> bool {
        self.last_set_by.contains_key(path)
    }

    fn finish(mut self) -> Result<Config, ConfigError> {
        self.set_options();
        self.take_kinds();
        self.check_new_endpoints();
        for Conflict { paths, message } in check::conflicts(&self.config) {
            if paths.iter().any(|path| self.unreadable.contains(path)) {
                continue;
            }
            let set = paths
                .iter()
                .find_map(|path| Some((path, self.last_set_by.get(path)?)));
            match set.map(|(path, origin)| (path.clone(), origin.clone())) {
                Some((path, origin)) => self.complain(&origin, &path, message),
                None => self.problems.push(Problem {
                    place: paths.join(", "),
                    message,
                }),
            }
        }
        if self.problems.is_empty() {
            Ok(self.config)
        } else {
            Err(ConfigError {
                problems: self.problems,
            })
        }
    }

    /// Checks that every endpoint that is not built in has a kind and a path.
    fn check_new_endpoints(&mut self) {
        let built_in = super::endpoint::built_in_endpoints();
        let names: Vec<String> = self.config.endpoints.keys().cloned().collect();
        for name in names.iter().filter(|name| !built_in.contains_key(*name)) {
            let section = format!("endpoints.{name}");
            let is_set = |key: &&str| self.last_set_by.contains_key(&format!("{section}.{key}"));
            let lacks: Vec<&str> = ["kind", "path"]
                .into_iter()
                .filter(|key| !is_set(key))
                .collect();
            // In the order of paths a section comes before its keys.
            let in_section =
                |path: &str| path == section || path.starts_with(&format!("{section}."));
            let first = self.last_set_by.iter().find(|(path, _)| in_section(path));
            if let (Some((path, origin)), false) = (first, lacks.is_empty()) {
                let (path, origin) = (path.clone(), origin.clone());
                let mut message = format!(
                    "endpoint {name} is new and has no {}",
                    lacks.join(" and no ")
                );
                if let Some(meant) = suggest::nearest(name, built_in.keys().map(String::as_str)) {
                    message += &format!("; did you mean endpoints.{meant}?");
                }
                self.complain(&origin, &path, message);
            }
        }
        // A missing or unreadable path must not be compared with others.
        self.config
            .endpoints
            .retain(|_, endpoint| !endpoint.path.is_empty());
    }

    fn unknown_key(&self, path: &str) -> String {
        if let Some(name) = path.strip_prefix("endpoints.")
            && !keys::is_endpoint_name(name.split('.').next().unwrap_or_default())
        {
            return "an endpoint's name is lower-case letters, digits and _, a letter first, at \
                    most 32"
                .to_owned();
        }
        let paths = keys::all_paths(self.endpoint_names(path).iter().map(String::as_str));
        match suggest::nearest(path, paths.iter().map(String::as_str)) {
            Some(meant) => format!("unknown key; did you mean {meant}?"),
            None => "unknown key; `corecast config` lists them all".to_owned(),
        }
    }

    fn unknown_variable(&self, name: &str) -> String {
        let paths = keys::all_paths(self.config.endpoints.keys().map(String::as_str));
        let is_key = |path: &&String| !matches!(keys::find(path), Found::Section);
        let names: Vec<String> = paths
            .iter()
            .filter(is_key)
            .map(|path| keys::environment_name(path))
            .collect();
        match suggest::nearest(name, names.iter().map(String::as_str)) {
            Some(meant) => format!("unknown variable; did you mean {meant}?"),
            None => "unknown variable; names are CORECAST_ and a key's path, as in \
                     CORECAST_SERVER_PORT"
                .to_owned(),
        }
    }

    /// The endpoints whose keys can be suggested: those that exist and the one in `path`.
    fn endpoint_names(&self, path: &str) -> BTreeSet<String> {
        let named = path
            .strip_prefix("endpoints.")
            .and_then(|below| below.split_once('.'));
        let named = named.map(|(name, _)| name.to_owned());
        self.config.endpoints.keys().cloned().chain(named).collect()
    }

    fn complain(&mut self, origin: &Origin, path: &str, message: String) {
        let place = match origin {
            Origin::File(steps) => self.file_place(steps, Part::Value, path),
            Origin::Environment(name) => {
                format!("environment {}", name.replace(char::is_control, "�"))
            }
            Origin::Flag(flag) => flag.clone(),
        };
        self.problems.push(Problem { place, message });
    }

    fn complain_at_key(&mut self, steps: &[usize], path: &str, message: String) {
        let place = self.file_place(steps, Part::Key, path);
        self.problems.push(Problem { place, message });
    }

    /// `config.yaml:12:3 server.prot`. Only the first problems have a line and a column, since each
    /// means reading the file again.
    fn file_place(&self, steps: &[usize], part: Part, path: &str) -> String {
        const LOCATED_MAX: usize = 100;
        let Some(file) = self.file else {
            return path.to_owned();
        };
        // The parts of a path are the operator's text and may hold control characters.
        let path = path.replace(char::is_control, "�");
        let at = (self.problems.len() < LOCATED_MAX).then(|| tree::locate(file.text, steps, part));
        match at.flatten() {
            Some(at) => format!("{}:{}:{} {path}", file.name, at.line, at.column),
            None => format!("{} {path}", file.name),
        }
    }
}

/// Whether an option has its default, which is that of the first kind that has the option.
fn is_default(given: &Given) -> bool {
    let kind = given.key.kinds.first().copied();
    let default = EndpointConfig::new(kind.unwrap_or(EndpointKind::Hub), "");
    let mut tried = default.clone();
    given.key.read(&mut tried, &given.value).is_ok() && tried == default
        // Earlier versions print it for every endpoint.
        || given.key.path == "push_path" && given.value.is_null()
}

/// The error for an option at an endpoint of another kind.
fn foreign_option(given: &Given, kind: EndpointKind) -> String {
    let names: Vec<&str> = given.key.kinds.iter().map(|kind| kind.name()).collect();
    let Given { endpoint, key, .. } = given;
    let mut message = format!(
        "{} is an option of kind {}; endpoint {endpoint} is of kind {}",
        key.path,
        names.join(" and "),
        kind.name()
    );
    let built_in = super::endpoint::built_in_endpoints();
    let is_its_kind = |name: &&&str| {
        let there = built_in.get(**name).filter(|_| **name != endpoint.as_str());
        there.is_some_and(|there| key.is_of(there.kind.which()))
    };
    if let Some(meant) = names.iter().find(is_its_kind) {
        message += &format!("; did you mean endpoints.{meant}.{}?", key.path);
    }
    message
}

/// The endpoints whose kind is set by these variables or flags.
fn added_endpoints(variables: &[(String, String)], flags: &[FlagValue]) -> BTreeSet<String> {
    let flags = flags.iter().filter_map(|flag| {
        let name = flag.path.strip_prefix("endpoints.")?;
        name.strip_suffix(".kind").map(str::to_owned)
    });
    let variables = variables.iter().filter_map(|(variable, _)| {
        let name = variable.strip_prefix("CORECAST_ENDPOINTS_")?;
        name.strip_suffix("_KIND").map(str::to_ascii_lowercase)
    });
    variables.chain(flags).collect()
}

/// The key of an earlier relay, which had a single one: a comma is part of the key.
fn one_key(text: &str) -> Value {
    Value::Sequence(vec![Value::from(text)])
}

/// A value from the environment or the command line: a YAML list, null, or a text for the key's
/// codec, without the quotes of a YAML string. `#` does not begin a comment, since a secret may
/// contain it.
fn value_of_text(text: &str) -> Value {
    let text = text.trim();
    let is_quoted = text.starts_with(['"', '\'']);
    match tree::parse(text) {
        Ok(Tree::Leaf(value @ Value::Sequence(_))) => value,
        Ok(Tree::Leaf(value @ Value::String(_))) if is_quoted => value,
        Ok(Tree::Leaf(Value::Null)) if !text.starts_with('#') => Value::Null,
        _ => Value::from(text),
    }
}

impl FlagValue {
    /// Reads the argument of `--set`.
    ///
    /// # Errors
    ///
    /// A text without `=` or without a key before it.
    pub fn from_set(argument: &str) -> Result<FlagValue, String> {
        match argument
            .split_once('=')
            .map(|(path, value)| (path.trim(), value))
        {
            Some((path, value)) if !path.is_empty() => Ok(FlagValue {
                flag: format!("--set {}", path.replace(char::is_control, "�")),
                path: path.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(format!(
                "{} is not KEY=VALUE, such as server.port=8443",
                quoted(argument)
            )),
        }
    }
}
