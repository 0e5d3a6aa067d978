//! A fuzz target for the configuration: file, variables and flags.

use corecast::config::{Config, ConfigError, ConfigFile, FlagValue, load};

/// The name of the file.
const NAME: &str = "fuzz.yaml";

/// The target: problems have a position and fill one line, and a configuration that loads is
/// printed as YAML that loads to the same.
///
/// An input is the text of a file and, each after a NUL, variables and flags as `NAME=VALUE` and
/// `--set KEY=VALUE`.
///
/// # Panics
///
/// If that does not hold.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut parts = text.split('\0');
    let file = parts.next().unwrap_or_default();
    let (mut environment, mut flags) = (Vec::new(), Vec::new());
    for part in parts {
        if let Some(argument) = part.strip_prefix("--set ") {
            match FlagValue::from_set(argument) {
                Ok(flag) => flags.push(flag),
                Err(message) => check_line(&message),
            }
        } else if let Some((name, value)) = part.split_once('=') {
            environment.push((name.to_owned(), value.to_owned()));
        }
    }
    // An empty file differs from a missing one.
    let file = (!file.is_empty()).then_some(ConfigFile {
        name: NAME,
        text: file,
    });
    match load(file, environment, &flags) {
        Ok(config) => check_round_trip(&config),
        Err(error) => check_problems(&error),
    }
}

fn check_round_trip(config: &Config) {
    let yaml = config.to_yaml();
    let file = ConfigFile {
        name: NAME,
        text: &yaml,
    };
    match load(Some(file), [], &[]) {
        Ok(again) => assert_eq!(&again, config, "{yaml}"),
        Err(error) => panic!("what is printed does not load: {error}\n{yaml}"),
    }
}

fn check_problems(error: &ConfigError) {
    assert!(!error.problems.is_empty(), "nothing is wrong");
    for problem in &error.problems {
        let place = problem.place.as_str();
        let is_known = [NAME, "environment ", "--set ", "server.", "limits."];
        assert!(
            is_known.iter().any(|start| place.starts_with(start)),
            "no place: {problem}"
        );
        check_line(place);
        check_line(&problem.message);
    }
}

/// Text for an operator fills one line, and contains nothing that moves the cursor.
fn check_line(text: &str) {
    assert!(
        !text.is_empty() && !text.contains(char::is_control),
        "{text:?}"
    );
}
