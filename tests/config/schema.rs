//! The JSON Schema for editors: it accepts what loads and refuses what does not.

use corecast::config::json_schema;
use corecast::config::keys::{FLAT_KEYS, KEYS};
use serde_json::Value;

use crate::samples::SAMPLES;
use crate::{file_of, from_file};

fn schema() -> Value {
    serde_json::from_str(&json_schema()).expect("JSON")
}

/// A file as JSON; an empty one is an empty mapping.
fn json(file: &str) -> Value {
    serde_yaml::from_str(file).expect("YAML that is JSON")
}

/// Whether a value fits a schema with the keywords that ours has. Patterns are left to editors.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    let Some(keywords) = schema.as_object() else {
        return schema.as_bool().expect("a schema");
    };
    let mut keywords = keywords.iter();
    keywords.all(|(keyword, rule)| fits_keyword(root, schema, keyword, rule, value))
}

fn fits_keyword(root: &Value, schema: &Value, keyword: &str, rule: &Value, value: &Value) -> bool {
    let all = |rules: &Value| rules.as_array().expect("schemas").clone();
    let length = value.as_str().map(|text| text.chars().count() as u64);
    let items = value.as_array();
    match keyword {
        "$schema" | "title" | "$defs" | "description" | "default" | "deprecated" | "pattern"
        | "then" | "else" => true,
        "$ref" => {
            let at = rule.as_str().and_then(|at| at.strip_prefix('#'));
            fits(
                root,
                root.pointer(at.expect("in here")).expect("there"),
                value,
            )
        }
        "type" => types(rule).iter().any(|name| is_of_type(name, value)),
        "enum" => all(rule).contains(value),
        "const" => rule == value,
        "minimum" => value
            .as_f64()
            .is_none_or(|number| Some(number) >= rule.as_f64()),
        "maximum" => value
            .as_f64()
            .is_none_or(|number| Some(number) <= rule.as_f64()),
        "minLength" => length.is_none_or(|length| Some(length) >= rule.as_u64()),
        "maxLength" => length.is_none_or(|length| Some(length) <= rule.as_u64()),
        "minItems" => items.is_none_or(|items| Some(items.len() as u64) >= rule.as_u64()),
        "items" => items.is_none_or(|items| items.iter().all(|item| fits(root, rule, item))),
        "anyOf" => all(rule).iter().any(|rule| fits(root, rule, value)),
        "allOf" => all(rule).iter().all(|rule| fits(root, rule, value)),
        "if" => {
            let branch = if fits(root, rule, value) {
                "then"
            } else {
                "else"
            };
            schema
                .get(branch)
                .is_none_or(|rule| fits(root, rule, value))
        }
        _ => fits_object(root, schema, keyword, rule, value),
    }
}

fn fits_object(root: &Value, schema: &Value, keyword: &str, rule: &Value, value: &Value) -> bool {
    let Some(object) = value.as_object() else {
        return true;
    };
    let known = |name: &String| schema["properties"].get(name).is_some();
    match keyword {
        "required" => {
            let names = rule.as_array().expect("names");
            names
                .iter()
                .all(|name| object.contains_key(name.as_str().expect("a name")))
        }
        "properties" => {
            let mut properties = rule.as_object().expect("schemas").iter();
            properties
                .all(|(name, rule)| object.get(name).is_none_or(|value| fits(root, rule, value)))
        }
        "additionalProperties" => {
            let mut others = object.iter().filter(|(name, _)| !known(name));
            others.all(|(_, value)| fits(root, rule, value))
        }
        "propertyNames" => {
            let mut names = object.keys().map(|name| Value::from(name.as_str()));
            names.all(|name| fits(root, rule, &name))
        }
        unknown => panic!("{unknown} is not a keyword that this test knows"),
    }
}

fn types(rule: &Value) -> Vec<&str> {
    match rule {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        name => vec![name.as_str().expect("a type")],
    }
}

fn is_of_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        unknown => panic!("{unknown} is not a type that this test knows"),
    }
}

fn is_valid(file: &str) -> bool {
    let schema = schema();
    fits(&schema, &schema, &json(file))
}

#[test]
fn files_that_load_fit_the_schema() {
    for file in [
        include_str!("../../config.yaml"),
        include_str!("../../deploy/config.example.yaml"),
        include_str!("before.yaml"),
        "{}",
        "server:\nendpoints:\n  hub:\n",
        "{\"port\": \"3000\", \"api_key\": \"k\", \"ws_path\": \"/w\", \"push_path\": \"/p\"}",
        "endpoints: {x: {kind: push, path: /x, journal: a.redb}}",
        "endpoints: {named: {kind: hub, path: /talk, echo: true}}",
        "auth: {keys: [{key: a, scopes: [connect]}, b]}",
    ] {
        assert!(is_valid(file), "{file}");
    }
}

#[test]
fn files_with_a_problem_do_not_fit_the_schema() {
    for file in [
        "server: {prot: 1}",
        "server: {port: 65536}",
        "server: {port: true}",
        "server: 4",
        "metric: {}",
        "engine: {shards: 0}",
        "limits: {message_bytes: 2147483648}",
        "timeouts: {handshake: 10}",
        "slow_client: {policy: drop-oldest}",
        "auth: {keys: [{key: a, scopes: [psh]}]}",
        "endpoints: {hub: {journal: a.redb}}",
        "endpoints: {push: {echo: false}}",
        "endpoints: {x: {path: /x}}",
        "endpoints: {x: {kind: hub, path: /x, nostr: {readers: 2}}}",
        "endpoints: {x: {kind: chat, path: /x}}",
    ] {
        assert!(!is_valid(file), "{file}");
        assert!(from_file(file).is_err(), "{file}");
    }
}

#[test]
fn samples_of_a_key_fit_and_a_mapping_does_not() {
    for (path, value, _) in SAMPLES {
        let kind = match path.starts_with("endpoints.nostr.") {
            true => "    kind: nostr\n    path: /nostr\n",
            false => "",
        };
        let file = |value: &str| {
            let lines = file_of(path, value);
            match lines.match_indices('\n').nth(1) {
                Some((at, _)) if !kind.is_empty() => {
                    format!("{}{kind}{}", &lines[..=at], &lines[at + 1..])
                }
                _ => lines,
            }
        };
        // Words are read without regard to case, which a schema does not offer to complete.
        let value = value.replace("DEBUG", "debug");
        assert!(is_valid(&file(&value)), "{}", file(&value));
        assert!(!is_valid(&file("{surprise: 1}")), "{path}");
    }
}

#[test]
fn every_key_is_in_the_schema_with_its_default() {
    let schema = schema();
    for key in KEYS.iter() {
        let at = format!("/properties/{}", key.path.replace('.', "/properties/"));
        let property = schema.pointer(&at).expect(key.path);
        assert_eq!(
            property.get("default").is_none(),
            key.secret,
            "{}",
            key.path
        );
        let description = property["description"].as_str().expect("a text");
        assert!(description.contains("; live]") || description.contains("; restart]"));
    }
    for (name, _) in FLAT_KEYS {
        assert_eq!(schema["properties"][name]["deprecated"], true, "{name}");
    }
}
