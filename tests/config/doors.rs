//! Whether a door needs a key is written, and nothing else opens one.

use corecast::config::keys::{ENDPOINT_KEYS, KEYS, environment_name};
use corecast::config::{Config, ConfigFile, Need, load};

use crate::problems::problems;
use crate::{from_all, from_file};

const KEY: &str = "a-key-of-0123456789";
const SECRET: &str = "a secret that is quite long enough";

fn config(text: &str) -> Config {
    from_file(text).expect("a config")
}

/// The needs of the endpoints, in the order of their names.
fn needs(config: &Config) -> Vec<Need> {
    let endpoints = config.endpoints.values();
    endpoints.map(|each| config.need_of(each)).collect()
}

#[test]
fn a_pattern_that_shuts_out_its_own_base_is_warned_of() {
    let of = |text: &str| config(text).warnings().join("\n");
    let shut = "auth: {keys: [a-key-of-0123456789]}\n";
    let lobby = |path: &str| format!("endpoints: {{lobby: {{kind: hub, path: {path}, auth: ");
    for path in ["\"/lobby/**\"", "\"/lobby/{name}\"", "\"/a/lobby/**\""] {
        // The base of an open room needs a key.
        let said = of(&format!("{shut}{}{{enabled: false}}}}}}\n", lobby(path)));
        let begin = "endpoints.lobby.path: ";
        assert!(said.starts_with(begin), "{path}: {said}");
        assert!(said.contains("falls to endpoint hub"), "{said}");
        assert!(
            said.contains("needs a key or a token, while lobby lets everybody in"),
            "{said}"
        );
        // The base of a shut one is open.
        let own = "{keys: [a-key-of-0123456789]}";
        let said = of(&format!("{}{own}}}}}\n", lobby(path)));
        assert!(
            said.contains("lets everybody in, while lobby needs a key or a token"),
            "{said}"
        );
        // It is shut by another key.
        let own = "{keys: [another-key-of-0123456789]}";
        let said = of(&format!("{shut}{}{own}}}}}\n", lobby(path)));
        assert!(said.contains("accepts other keys or tokens"), "{said}");
        // Both are open, or both shut alike.
        for text in ["", shut] {
            assert_eq!(of(&format!("{text}{}{{}}}}}}\n", lobby(path))), "");
        }
    }
    // An exact path, and a base that is written.
    let open = "auth: {enabled: false}";
    let exact = format!("{shut}endpoints: {{lobby: {{kind: hub, path: /lobby, {open}}}}}\n");
    assert_eq!(of(&exact), "");
    let both = format!(
        "{shut}endpoints:\n  lobby: {{kind: hub, path: /lobby, {open}}}\n  \
         below: {{kind: hub, path: \"/lobby/**\", {open}}}\n"
    );
    assert_eq!(of(&both), "");
    // The names of users are below where tokens connect, which is meant.
    let named = "endpoints: {named: {auth: {keys: [a-key-of-0123456789]}}}\n";
    assert_eq!(of(named), "");
    assert_eq!(of(""), "");
}

#[test]
fn check_prints_the_warning_about_an_excluded_base() {
    let text = "auth: {keys: [a-key-of-0123456789]}\n\
                endpoints: {lobby: {kind: hub, path: \"/lobby/**\", auth: {enabled: false}}}\n";
    let output = crate::binary::corecast(&[("config.yaml", text)], &["--check"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = crate::binary::text(&output.stderr);
    let warning = "warning: endpoints.lobby.path: /lobby/** does not cover /lobby";
    assert!(said.contains(warning), "{said}");
}

#[test]
fn an_older_config_file_gives_the_same_access() {
    let before = config(include_str!("before.yaml"));
    assert_eq!(needs(&before), needs(&Config::default()));
    assert_eq!(
        (before.auth.keys.as_deref(), before.api.keys.as_deref()),
        (Some(&[][..]), Some(&[][..]))
    );
    // The warning says that the list has no effect.
    let warnings = before.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("auth.keys: an empty list requires no credential"));
    let same = Config {
        auth: Config::default().auth,
        api: Config::default().api,
        // That list was always there; who may see it is asked for now.
        health: Config::default().health,
        ..before
    };
    assert_eq!(same, Config::default());
    assert_eq!(Config::default().warnings(), [""; 0]);
}

#[test]
fn explicit_settings_decide_the_required_credentials() {
    use Need::{Credentials, Nothing};
    for (text, need) in [
        ("", Nothing),
        ("auth: {keys: null}", Nothing),
        ("auth: {keys: []}", Nothing),
        ("auth: {enabled: false, keys: [k]}", Nothing),
        ("auth: {keys: [k]}", Credentials),
        // Whatever is in it, and whether it is there.
        ("auth: {keys_file: no/such/file}", Credentials),
        ("auth: {keys: [], keys_file: no/such/file}", Credentials),
        ("auth: {jwt: {keys_file: no/such/file}}", Credentials),
        ("auth: {enabled: true, keys: [k]}", Credentials),
        (
            "auth: {enabled: true, keys: [], jwt: {keys_file: f}}",
            Credentials,
        ),
    ] {
        let config = config(text);
        assert!(needs(&config).iter().all(|each| *each == need), "{text}");
    }
}

#[test]
fn only_false_opens_an_endpoint_if_auth_needs_keys() {
    let hub = |auth: &str, own: &str| {
        format!("auth: {{{auth}}}\nendpoints: {{hub: {{auth: {{{own}}}}}}}\n")
    };
    for auth in [
        "keys: [k]",
        "keys: [k], enabled: true",
        "keys_file: f, keys: null",
    ] {
        for own in ["keys: []", "keys: [], enabled: auto"] {
            let text = hub(auth, own);
            // A file that is named is needed whatever the list says.
            if auth.contains("keys_file") {
                let needs = config(&text).need_of(&config(&text).endpoints["hub"]);
                assert_eq!(needs, Need::Credentials, "{text}");
                continue;
            }
            let found = problems(&text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            // With true, which is for all, nobody would come in there.
            let message = match own.contains("auto") || !auth.contains("true") {
                true => "endpoint hub: an empty list of keys would let anybody connect",
                false => "endpoint hub: nobody could connect",
            };
            assert!(found[0].contains(message), "{text}: {found:?}");
            assert!(found[0].contains("hub.auth.keys"), "{text}: {found:?}");
        }
        for (own, need) in [
            ("enabled: false", Need::Nothing),
            ("enabled: false, keys: []", Need::Nothing),
            ("keys: null", Need::Credentials),
            ("keys: [other]", Need::Credentials),
            ("keys: [], jwt: {keys_file: f}", Need::Credentials),
        ] {
            let config = config(&hub(auth, own));
            assert_eq!(
                config.need_of(&config.endpoints["hub"]),
                need,
                "{auth} {own}"
            );
            assert_eq!(
                config.need_of(&config.endpoints["named"]),
                Need::Credentials
            );
        }
    }
    for text in ["auth: {enabled: true, keys: []}", "auth: {enabled: true}"] {
        assert!(problems(text)[0].contains("nobody could connect"), "{text}");
    }
}

#[test]
fn a_secret_that_is_set_to_nothing_is_a_problem_whichever_it_is() {
    let common = KEYS
        .iter()
        .filter(|key| key.secret)
        .map(|key| key.path.to_owned());
    let of_hub = ENDPOINT_KEYS.iter().filter(|key| key.secret);
    let of_hub = of_hub.map(|key| format!("endpoints.hub.{}", key.path));
    let secrets: Vec<String> = common.chain(of_hub).collect();
    assert!(secrets.len() >= 6, "{secrets:?}");
    let plain = KEYS.iter().filter(|key| key.secret);
    let plain = plain.filter_map(|key| key.plain_environment);
    let variables = secrets.iter().map(|path| environment_name(path));
    let variables: Vec<String> = variables.chain(plain.map(str::to_owned)).collect();
    assert!(variables.contains(&"RELAY_API_KEY".to_owned()));
    for nothing in ["", " ", "\n"] {
        for variable in &variables {
            let error = from_all("", &[(variable, nothing)], &[]).expect_err(variable);
            let expected = format!("environment {variable}: a secret is set to an empty text");
            assert!(error.starts_with(&expected), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        for path in &secrets {
            let error = from_all("", &[], &[&format!("{path}={nothing}")]).expect_err(path);
            assert!(
                error.contains("a secret is set to an empty text"),
                "{error}"
            );
        }
    }
    // Spellings of no value, and values that look empty but are not.
    for path in &secrets {
        let none = from_all("", &[(&environment_name(path), "null")], &[]);
        assert_eq!(none, Ok(Config::default()), "{path}");
    }
    let hash = from_all("", &[("CORECAST_AUTH_KEYS", "#0123456789-abcdef")], &[]);
    let hash = hash.expect("a key that begins as a comment would");
    assert!(needs(&hash).iter().all(|need| *need == Need::Credentials));
    let cut = from_all("", &[], &["auth.keys=a-key-of-0123456789 #x"]);
    assert!(cut.is_err(), "nothing of a secret is a comment");
}

#[test]
fn scopes_work_in_every_source_and_errors_hide_the_key() {
    let item = format!("[{{key: {KEY}, scopes: [push, read]}}, another-key-0123456789]");
    let text = format!("api: {{keys: {item}}}");
    let expected = config(&text);
    let keys = expected.api.keys.as_deref().expect("keys");
    let scopes: Vec<_> = keys.iter().map(|key| key.scopes().iter().count()).collect();
    assert_eq!(scopes, [2, 5]);
    let variable = from_all("", &[("CORECAST_API_KEYS", &item)], &[]);
    assert_eq!(variable, Ok(expected.clone()));
    let flag = from_all("", &[], &[&format!("api.keys={item}")]);
    assert_eq!(flag, Ok(expected.clone()));
    assert!(!expected.to_yaml().contains(KEY));
    let of_key = |rest: &str| problems(&format!("auth: {{keys: [ok-key, {{key: {KEY}{rest}}}]}}"));
    for (rest, expected) in [
        (
            ", scopes: [psh]",
            "key 2: scope 1 is not one of connect, push, publish, read, disconnect; did you mean \
             push?",
        ),
        (", scopes: [read, hunter2]", "key 2: scope 2 is not one of"),
        (", scopes: []", "key 2: the list of scopes is empty"),
        (
            ", scopes: null",
            "key 2: it is neither a key nor a key with scopes",
        ),
        (
            ", scope: [push]",
            "key 2: it is neither a key nor a key with scopes",
        ),
        ("", "key 2: it is neither a key nor a key with scopes"),
    ] {
        let found = of_key(rest);
        assert_eq!(found.len(), 1, "{rest}: {found:?}");
        assert!(found[0].contains(expected), "{rest}: {found:?}");
        assert!(
            !found[0].contains(KEY) && !found[0].contains("hunter2"),
            "{found:?}"
        );
    }
    assert_eq!(
        of_key(", key: x").len(),
        1,
        "a key of an item is not written twice"
    );
}

/// The result of a reload from `running` to `wanted`.
fn reloaded(running: &str, wanted: &str) -> Result<Config, String> {
    let reloaded = config(running).reloaded(config(wanted));
    reloaded
        .map(|reloaded| reloaded.config)
        .map_err(|error| error.to_string())
}

#[test]
fn a_reload_opens_an_endpoint_only_explicitly() {
    let tls =
        |more: &str| format!("server: {{tls: {{enabled: true, cert_file: a, key_file: b{more}}}}}");
    let token = "metrics: {host: 127.0.0.1}\nadmin: {token: a-token-for-admins}";
    let local = "metrics: {host: 127.0.0.1}";
    let own = format!("endpoints: {{hub: {{auth: {{keys: [{KEY}]}}}}}}");
    for (running, wanted, place) in [
        (
            "auth: {keys: [k]}",
            "auth: {keys: []}",
            "endpoints.hub.auth",
        ),
        ("auth: {keys: [k]}", "", "endpoints.named.auth"),
        (
            "auth: {keys: [k]}",
            "auth: {keys: null}",
            "endpoints.push.auth",
        ),
        (
            "auth: {keys: [k], enabled: true}",
            "auth: {enabled: auto}",
            "endpoints.hub.auth",
        ),
        ("auth: {keys_file: f}", "", "endpoints.hub.auth"),
        (
            &format!("auth: {{jwt: {{secret: {SECRET}}}}}"),
            "",
            "endpoints.hub.auth",
        ),
        (
            &own,
            "endpoints: {hub: {auth: {keys: []}}}",
            "endpoints.hub.auth",
        ),
        (&own, "", "endpoints.hub.auth"),
        (token, local, "admin.token"),
        (
            &tls(", client_ca_file: c"),
            &tls(""),
            "server.tls.client_ca_file",
        ),
    ] {
        let error = reloaded(running, wanted).expect_err(wanted);
        assert!(
            error.contains(&format!("{place}: ")),
            "{running} {wanted}: {error}"
        );
    }
    for (running, wanted) in [
        ("auth: {keys: [k]}", "auth: {enabled: false}"),
        ("auth: {keys: [k]}", "auth: {keys: [other]}"),
        ("auth: {keys: [k]}", "auth: {keys_file: f}"),
        ("auth: {enabled: false, keys: [k]}", "auth: {enabled: auto}"),
        ("", "auth: {keys: [k]}"),
        (&own, "endpoints: {hub: {auth: {enabled: false}}}"),
        (&own, &format!("auth: {{keys: [{KEY}]}}")),
        // Without a key the API lets nobody do anything, and where others can reach it the
        // dashboard without a token is shut.
        ("api: {keys: [k]}", "api: {keys: []}"),
        ("admin: {token: a-token-for-admins}", ""),
    ] {
        assert!(reloaded(running, wanted).is_ok(), "{running} {wanted}");
    }
}

#[test]
fn weak_and_useless_keys_cause_warnings_without_the_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let (short, empty) = (path("short", "short\n"), path("empty", "# none\n"));
    let long = format!("{KEY}, {KEY}");
    for (text, expected) in [
        (
            format!("auth: {{keys: [{long}]}}\napi: {{keys: [{long}]}}"),
            vec![],
        ),
        (
            "auth: {keys: [a, b]}".to_owned(),
            vec!["auth.keys: 2 of these keys can be guessed"],
        ),
        (
            "api: {keys: [fifteen-letters]}".to_owned(),
            vec!["api.keys: 1 of these keys"],
        ),
        ("api: {keys: [sixteen--letters]}".to_owned(), vec![]),
        (
            format!("auth: {{keys_file: {short}}}"),
            vec!["auth.keys_file: 1 of these keys"],
        ),
        (
            format!("api: {{keys_file: {empty}}}"),
            vec!["api.keys_file: "],
        ),
        (
            "endpoints: {hub: {auth: {keys: [a]}}}".to_owned(),
            vec!["endpoints.hub.auth.keys: 1 of these keys"],
        ),
        (
            "auth: {keys: []}".to_owned(),
            vec!["auth.keys: an empty list requires no credential"],
        ),
        (
            format!("auth: {{enabled: false}}\nendpoints: {{hub: {{auth: {{keys: [{KEY}]}}}}}}"),
            vec!["endpoints.hub.auth: enabled is false"],
        ),
    ] {
        let warnings = config(&text).warnings();
        assert_eq!(warnings.len(), expected.len(), "{text}: {warnings:?}");
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.starts_with(expected), "{warning}");
            assert!(
                !warning.contains("short\n") && !warning.contains("fifteen"),
                "{warning}"
            );
        }
    }
}

#[test]
fn an_empty_key_file_refuses_all_or_is_an_error_if_required() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys");
    std::fs::write(&path, "# none\n").expect("a file");
    let text = |enabled: &str, more: &str| {
        format!(
            "auth: {{enabled: {enabled}, keys_file: {}{more}}}",
            path.display()
        )
    };
    let guards = |text: &str| {
        let config = load(Some(ConfigFile { name: "c", text }), [], &[]).expect("a config");
        let guards = config.guards();
        guards.map(|guards| {
            guards
                .iter()
                .map(|(_, guard)| guard.is_shut())
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(guards(&text("auto", "")).ok(), Some(vec![true; 3]));
    for more in ["", &format!(", jwt: {{secret: {SECRET}}}")] {
        let error = guards(&text("true", more))
            .expect_err("an empty file")
            .to_string();
        assert!(
            error.starts_with("auth.keys_file: ") && error.contains("holds no key"),
            "{error}"
        );
    }
    std::fs::remove_file(&path).expect("a file");
    let error = guards(&text("auto", "")).expect_err("no file").to_string();
    assert!(error.contains("cannot be read"), "{error}");
}
