//! The rows of keys, and what is made from them: the committed files, `corecast config`, and which
//! kind has which options.

use std::path::Path;

use corecast::config::keys::{ENDPOINT_KEYS, KEYS};
use corecast::config::{
    Config, EndpointConfig, EndpointKind, Kind, explain, json_schema, print_config, reference_page,
};

use crate::binary::{corecast, text};
use crate::problems::problems;
use crate::{from_all, from_file};

#[test]
fn committed_files_are_what_the_binary_prints() {
    let files = [
        ("config.yaml", "--print-config", print_config()),
        ("docs/configuration.md", "config --page", reference_page()),
        ("config.schema.json", "config --schema", json_schema()),
    ];
    for (name, arguments, made) in files {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == made,
            "{name} is out of date: cargo run -- {arguments} > {name}"
        );
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let output = corecast(&[("config.yaml", "not: valid")], &arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(text(&output.stdout), made, "{name}");
    }
    let first = print_config().lines().next().map(str::to_owned);
    let expected = "# yaml-language-server: $schema=config.schema.json";
    assert_eq!(first.as_deref(), Some(expected));
}

#[test]
fn the_printed_file_is_narrow_and_marks_restart_keys() {
    let printed = print_config();
    let wide = printed.lines().find(|line| line.chars().count() > 100);
    assert_eq!(wide, None);
    let rows = KEYS.len()
        + ENDPOINT_KEYS
            .iter()
            .filter(|key| !key.text.is_empty())
            .count();
    let of_rows = printed.lines().filter(|line| line.ends_with(']')).count();
    let words = ["; live", "; restart"];
    let reload = printed
        .lines()
        .filter(|line| words.iter().any(|word| line.contains(word)));
    assert!(of_rows >= rows, "{of_rows} of {rows}");
    assert!(reload.count() >= rows / 2);
    for key in KEYS.iter() {
        assert!(
            key.text.ends_with(['.', ')']) || key.text.contains("\n- "),
            "{}",
            key.path
        );
    }
}

#[test]
fn a_key_is_explained_with_type_default_and_variables() {
    let output = corecast(&[], &["config", "limits.message_bytes"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let expected = "limits.message_bytes

  Largest message that a client may send. One byte more closes its connection
  (1009).

  Type:        size from 1 byte to 1GiB
  Default:     1MiB
  Reload:      live
  Environment: CORECAST_LIMITS_MESSAGE_BYTES, MAX_MESSAGE_SIZE
";
    assert_eq!(text(&output.stdout), expected);
    let journal = explain("endpoints.push.journal").expect("a key");
    assert!(journal.contains("Kinds:       push\n"), "{journal}");
    let own = explain("endpoints.named.limits.message_bytes").expect("a key");
    assert!(own.contains("Default:     10MiB\n"), "{own}");
    assert!(own.contains("In place of limits.message_bytes"), "{own}");
    let other = explain("endpoints.lobby.nostr.events.bytes").expect("a key");
    assert!(other.contains("Default:     256KiB\n"), "{other}");
}

#[test]
fn a_section_lists_its_keys_and_all_keys_can_be_listed() {
    let output = corecast(&[], &["config", "limits.connects_per_ip"]);
    let shown = text(&output.stdout);
    assert!(shown.starts_with("How often one IPv4 address"), "{shown}");
    assert!(
        shown.contains("limits.connects_per_ip.rate   0\n"),
        "{shown}"
    );
    assert!(
        shown.contains("limits.connects_per_ip.burst  auto\n"),
        "{shown}"
    );
    let all = corecast(&[], &["config"]);
    for key in KEYS.iter() {
        assert!(text(&all.stdout).contains(key.path), "{}", key.path);
    }
    let relay = explain("endpoints.relay.nostr").expect("a section");
    assert!(
        relay.contains("endpoints.relay.nostr.queries.limit_default"),
        "{relay}"
    );
}

#[test]
fn an_unknown_key_is_a_usage_error_with_a_suggestion() {
    for (key, told) in [
        ("limits.mesage_bytes", "did you mean limits.message_bytes?"),
        ("endpoints.hub.eco", "did you mean endpoints.hub.echo?"),
        ("colour", "corecast config lists all keys"),
    ] {
        let output = corecast(&[], &["config", key]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let error = text(&output.stderr);
        let expected = format!("error: unknown key {key:?}; {told}\n");
        assert_eq!(error, expected);
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn an_option_of_another_kind_is_a_problem_with_a_suggestion() {
    for (file, expected) in [
        (
            "endpoints: {hub: {journal: a.redb}}",
            "config.yaml:1:28 endpoints.hub.journal: journal is an option of kind push; endpoint \
             hub is of kind hub; did you mean endpoints.push.journal?",
        ),
        (
            "endpoints: {push: {echo: false}}",
            "config.yaml:1:26 endpoints.push.echo: echo is an option of kind hub and named and \
             pubsub; endpoint push is of kind push; did you mean endpoints.hub.echo?",
        ),
        (
            "endpoints: {x: {nostr: {readers: 2}, path: /x, kind: pubsub}}",
            "config.yaml:1:34 endpoints.x.nostr.readers: nostr.readers is an option of kind \
             nostr; endpoint x is of kind pubsub",
        ),
        (
            "endpoints: {named: {kind: hub, path: /n, on_duplicate: share}}",
            "config.yaml:1:56 endpoints.named.on_duplicate: on_duplicate is an option of kind \
             named; endpoint named is of kind hub",
        ),
    ] {
        assert_eq!(problems(file), [expected], "{file}");
    }
    let set = from_all("", &[], &["endpoints.hub.delay_max=1h"]).expect_err("another kind");
    assert!(
        set.starts_with("--set endpoints.hub.delay_max: delay_max is an option of"),
        "{set}"
    );
    let variable = [("CORECAST_ENDPOINTS_HUB_BINARY_OUT", "true")];
    let variable = from_all("", &variable, &[]).expect_err("another kind");
    assert!(
        variable.contains("binary_out is an option of kind named"),
        "{variable}"
    );
    // Nothing is said of an endpoint whose kind is missing or unreadable, except that.
    let unknown = problems("endpoints: {x: {kind: chat, path: /x, journal: a.redb}}");
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    let missing = problems("endpoints: {x: {path: /x, journal: a.redb}}");
    assert_eq!(missing.len(), 1, "{missing:?}");
}

#[test]
fn options_work_before_and_after_the_kind_from_any_source() {
    let expected = |config: Result<Config, String>| {
        let config = config.expect("a config");
        let options = config.endpoints["x"].push().expect("a push endpoint");
        assert_eq!(options.pending_max, 7);
        assert_eq!(options.push_path.as_deref(), Some("/p"));
    };
    let options = "pending_max: 7, push_path: /p";
    expected(from_file(&format!(
        "endpoints: {{x: {{{options}, kind: push, path: /x}}}}"
    )));
    expected(from_file(&format!(
        "endpoints: {{x: {{kind: push, path: /x, {options}}}}}"
    )));
    let file = "endpoints: {x: {path: /x, pending_max: 7}}";
    let kind = ["endpoints.x.push_path=/p", "endpoints.x.kind=push"];
    expected(from_all(file, &[], &kind));
    let variables = [
        ("CORECAST_ENDPOINTS_X_KIND", "push"),
        ("CORECAST_ENDPOINTS_X_PUSH_PATH", "/p"),
    ];
    expected(from_all(file, &variables, &[]));
}

#[test]
fn options_with_their_defaults_are_accepted_at_every_kind() {
    // Earlier versions list and print the options of all kinds for every endpoint.
    let options = "echo: true, binary_out: false, on_duplicate: refuse, push_path: null, \
                   broadcast_fallback: true, journal: null, pending_max: 100000, \
                   pending_bytes: 64MiB, delay_max: 168h, cors: {origin: null}";
    for (name, kind) in [("a", "hub"), ("b", "pubsub"), ("c", "nostr")] {
        let file = format!("endpoints: {{{name}: {{kind: {kind}, path: /{name}, {options}}}}}");
        let config = from_file(&file).expect(&file);
        let (_, kind) = EndpointKind::ALL
            .iter()
            .find(|(word, _)| *word == kind)
            .expect("a kind");
        let expected = EndpointConfig::new(*kind, &format!("/{name}"));
        assert_eq!(config.endpoints[name], expected);
        assert_eq!(from_file(&config.to_yaml()), Ok(config));
    }
}

#[test]
fn a_kind_that_changes_waits_for_a_restart_with_its_options() {
    let running = from_file("endpoints: {x: {kind: push, path: /x, push_path: /p}}");
    let wanted = from_file("endpoints: {x: {kind: named, path: '/x/{name}', echo: true}}");
    let (running, wanted) = (running.expect("a config"), wanted.expect("a config"));
    let reloaded = running.reloaded(wanted).expect("no door opens");
    let endpoint = &reloaded.config.endpoints["x"];
    assert!(matches!(&endpoint.kind, Kind::Push(options) if options.push_path.is_some()));
    let paths: Vec<&str> = reloaded
        .changes
        .iter()
        .map(|change| &*change.path)
        .collect();
    assert!(paths.contains(&"endpoints.x.kind"), "{paths:?}");
    assert!(!paths.contains(&"endpoints.x.push_path"), "{paths:?}");
}

/// The first block of YAML of a page.
fn block(page: &str) -> &str {
    let rest = page.split_once("```yaml config\n").expect("a block").1;
    rest.split_once("```").expect("its end").0
}

#[test]
fn the_profile_for_trying_has_five_lines_and_loads() {
    let page = reference_page();
    let profile = block(&page);
    assert_eq!(profile.lines().count(), 5, "{profile}");
    let output = corecast(&[("config.yaml", profile)], &["--check"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let config = from_file(profile).expect("a config");
    assert!(config.pages.enabled && config.server.host.is_loopback());
    assert!(
        config.metrics_host().is_loopback(),
        "the dashboard needs no token"
    );
}
