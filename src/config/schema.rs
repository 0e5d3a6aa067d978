//! `config.schema.json`: the configuration as JSON Schema (draft 2020-12), for editors.

use serde_json::{Map, Value, json};

use super::endpoint::{EndpointConfig, EndpointKind};
use super::form::Form;
use super::keys::{ENDPOINT_KEYS, EXAMPLES, FLAT_KEYS, KEYS, Key, section_text};
use super::model::Config;
use super::texts::plain;

/// The schema as text.
pub fn json_schema() -> String {
    let config = Config::default();
    let mut root = section("Corecast's configuration.");
    for key in KEYS.iter() {
        insert(&mut root, "", key.path, property(key, &config));
    }
    for (name, path) in FLAT_KEYS {
        let text = format!("A key of an earlier relay's file; it sets {path}.");
        let property = json!({
            "description": text,
            "type": ["string", "integer"],
            "deprecated": true,
        });
        root["properties"][*name] = property;
    }
    root["properties"]["endpoints"] = endpoints();
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("Corecast");
    root["$defs"] = json!({"endpoint": endpoint()});
    let text = serde_json::to_string_pretty(&root).unwrap_or_default();
    format!("{text}\n")
}

fn section(text: &str) -> Value {
    json!({
        "description": text,
        "type": ["object", "null"],
        "properties": {},
        "additionalProperties": false,
    })
}

/// Inserts a property into nested sections at a path with dots. `base` is the path of their texts.
fn insert(schema: &mut Value, base: &str, path: &str, property: Value) {
    let (mut at, mut whole) = (schema, base.to_owned());
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        whole = match whole.as_str() {
            "" => part.to_owned(),
            above => format!("{above}.{part}"),
        };
        let properties = &mut at["properties"];
        if parts.peek().is_none() {
            properties[part] = property;
            return;
        }
        if properties.get(part).is_none() {
            properties[part] = section(&plain(section_text(&whole).unwrap_or_default()));
        }
        at = &mut properties[part];
    }
}

fn property<S>(key: &Key<S>, defaults: &S) -> Value {
    let Form { words, schema } = key.form();
    let text = plain(key.text);
    let note = format!("[{words}; {}]", key.reload_word());
    let description = format!("{text}\n{note}");
    let mut property = json!({"description": description.trim_start()});
    if !key.secret {
        property["default"] = serde_json::to_value(key.show(defaults)).unwrap_or_default();
    }
    if let (Some(into), Value::Object(schema)) = (property.as_object_mut(), schema) {
        into.extend(schema);
    }
    property
}

fn endpoints() -> Value {
    let mut built_in = Map::new();
    for example in EXAMPLES.iter().filter(|example| example.is_built_in) {
        // A built-in endpoint may leave out its kind; then only options of that kind are valid.
        let own = kind_rule(example.kind);
        let name = example.kind.name();
        let has_kind = json!({"required": ["kind"]});
        let schema = json!({"$ref": "#/$defs/endpoint", "if": has_kind, "else": own});
        built_in.insert(name.to_owned(), schema);
    }
    let names: Vec<&String> = built_in.keys().collect();
    let built_in_names = json!({"enum": names});
    json!({
        "description": plain(section_text("endpoints").unwrap_or_default()),
        "type": ["object", "null"],
        "properties": built_in,
        "propertyNames": {"anyOf": [built_in_names, {"pattern": "^[a-z][a-z0-9_]{0,31}$"}]},
        "additionalProperties": {"$ref": "#/$defs/endpoint", "required": ["kind", "path"]},
    })
}

/// An endpoint with the keys of all kinds, and a rule for each kind.
fn endpoint() -> Value {
    let mut schema = section("One path and what it does.");
    for key in ENDPOINT_KEYS.iter() {
        let kind = key.kinds.first().copied().unwrap_or(EndpointKind::Hub);
        let defaults = EndpointConfig::new(kind, "/**");
        insert(&mut schema, "endpoints", key.path, property(key, &defaults));
    }
    let rules = EndpointKind::ALL.iter().map(|(name, kind)| {
        let is_kind = json!({"properties": {"kind": {"const": name}}, "required": ["kind"]});
        json!({"if": is_kind, "then": kind_rule(*kind)})
    });
    schema["allOf"] = rules.collect();
    schema
}

/// The rule of a kind: options of other kinds are invalid, except with their defaults.
fn kind_rule(kind: EndpointKind) -> Value {
    let mut rule = json!({"properties": {}});
    for key in ENDPOINT_KEYS.iter().filter(|key| !key.is_of(kind)) {
        let kind = key.kinds.first().into_iter();
        let defaults = kind.map(|kind| key.show(&EndpointConfig::new(*kind, "")));
        let defaults: Vec<Value> = defaults
            .chain((key.path == "push_path").then_some(serde_yaml::Value::Null))
            .filter_map(|value| serde_json::to_value(value).ok())
            .collect();
        nest(&mut rule, key.path, json!({"enum": defaults}));
    }
    rule
}

/// Inserts a schema into nested properties at a path with dots.
fn nest(schema: &mut Value, path: &str, property: Value) {
    let mut at = schema;
    for part in path.split('.') {
        at = &mut at["properties"][part];
    }
    *at = property;
}
