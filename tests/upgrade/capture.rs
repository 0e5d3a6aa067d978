//! Exchanges that were captured from an earlier relay, as text.
//!
//! `= TITLE` begins an exchange, which has connections of its own. Its lines, in order:
//!
//! | line | meaning |
//! |---|---|
//! | `open NAME PATH` | a client gets a WebSocket at this path |
//! | `NAME sends text DATA`, `binary`, `close CODE` | the client sends |
//! | `NAME gets text DATA`, `binary`, `close CODE` | the next that the client is sent |
//! | `ask METHOD PATH` | a plain request; behind it its headers and body |
//! | `upgrade PATH` | a request for a WebSocket, which is not to succeed |
//! | `answer STATUS` | the answer; behind it those headers that count, and the body |
//! | `stop` | the relay is told to stop, and ends with 0 after the exchange |
//!
//! A line that is indented belongs to the one before: `  NAME: VALUE` is a header, `  | TEXT` the
//! body. `\n` is a newline, and `{any}` in what is expected stands for any text.

/// A captured exchange.
pub(crate) struct Exchange {
    pub(crate) title: String,
    pub(crate) steps: Vec<Step>,
}

/// A message: its kind, `text`, `binary` or `close`, and its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Said {
    pub(crate) kind: String,
    pub(crate) text: String,
}

/// The lines behind a request or an answer.
#[derive(Default)]
pub(crate) struct Lines {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<String>,
}

pub(crate) enum Step {
    Open {
        name: String,
        path: String,
    },
    Sends {
        name: String,
        said: Said,
    },
    Gets {
        name: String,
        said: Said,
    },
    Ask {
        method: String,
        path: String,
        lines: Lines,
    },
    Upgrade {
        path: String,
    },
    Answer {
        status: String,
        lines: Lines,
    },
    Stop,
}

/// Reads a file of captures.
///
/// # Panics
///
/// If a line is of no form above.
pub(crate) fn parse(text: &str) -> Vec<Exchange> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(title) = line.strip_prefix("= ") {
            exchanges.push(Exchange {
                title: title.to_owned(),
                steps: Vec::new(),
            });
            continue;
        }
        let exchange = exchanges.last_mut().expect("a title comes first");
        match line.strip_prefix("  ") {
            Some(line) => {
                let step = exchange.steps.last_mut().expect("a step comes first");
                add_line(step, line);
            }
            None => exchange.steps.push(step(line)),
        }
    }
    exchanges
}

fn add_line(step: &mut Step, line: &str) {
    let (Step::Ask { lines, .. } | Step::Answer { lines, .. }) = step else {
        panic!("nothing that the line belongs to: {line}");
    };
    if let Some(body) = line.strip_prefix('|') {
        let body = body.strip_prefix(' ').unwrap_or(body);
        lines.body = Some(body.replace("\\n", "\n"));
        return;
    }
    let (name, value) = line.split_once(": ").expect("a header");
    lines.headers.push((name.to_owned(), value.to_owned()));
}

fn step(line: &str) -> Step {
    let words: Vec<&str> = line.splitn(4, ' ').collect();
    let owned = |word: &str| word.to_owned();
    match words[..] {
        ["stop"] => Step::Stop,
        ["answer", status] => Step::Answer {
            status: owned(status),
            lines: Lines::default(),
        },
        ["upgrade", path] => Step::Upgrade { path: owned(path) },
        ["open", name, path] => Step::Open {
            name: owned(name),
            path: owned(path),
        },
        ["ask", method, path] => Step::Ask {
            method: owned(method),
            path: owned(path),
            lines: Lines::default(),
        },
        [name, "sends", kind, text] => Step::Sends {
            name: owned(name),
            said: said(kind, text),
        },
        [name, "gets", kind, text] => Step::Gets {
            name: owned(name),
            said: said(kind, text),
        },
        _ => panic!("a line of no known form: {line}"),
    }
}

fn said(kind: &str, text: &str) -> Said {
    Said {
        kind: kind.to_owned(),
        text: text.replace("\\n", "\n"),
    }
}

/// Whether `text` is what `pattern` expects, in which `{any}` stands for any text.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split("{any}");
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, between)) = pieces.split_last() else {
        return rest.is_empty();
    };
    for piece in between {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn any_text_fits_between_the_rest() {
    for (pattern, text) in [
        ("a", "a"),
        ("{any}", ""),
        ("a{any}", "abc"),
        ("a{any}c{any}", "abcd"),
        ("{\"n\":{any}}", "{\"n\":17}"),
    ] {
        assert!(fits(pattern, text), "{pattern} and {text}");
    }
    for (pattern, text) in [
        ("a", "ab"),
        ("a{any}", "b"),
        ("a{any}c", "ab"),
        ("{any}a{any}", "b"),
    ] {
        assert!(!fits(pattern, text), "{pattern} and {text}");
    }
}
