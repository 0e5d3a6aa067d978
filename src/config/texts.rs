//! The texts of the rows as wrapped lines with indented lists.

use serde_yaml::Value;

/// A text without Markdown's backticks.
pub(super) fn plain(text: &str) -> String {
    text.replace('`', "")
}

/// The lines of a text, at most `columns` wide. Items of lists are indented by two spaces.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let (first, next) = match paragraph.strip_prefix("- ") {
            Some(_) => ("  ", "    "),
            None => ("", ""),
        };
        let mut line = first.to_owned();
        let mut is_begun = false;
        for word in paragraph.split(' ') {
            let needed = line.chars().count() + word.chars().count() + usize::from(is_begun);
            if is_begun && needed > columns {
                lines.push(std::mem::replace(&mut line, next.to_owned()));
                is_begun = false;
            }
            if is_begun {
                line.push(' ');
            }
            line.push_str(word);
            is_begun = true;
        }
        lines.push(line);
    }
    lines
}

/// A value on one line, as an operator writes it.
pub(super) fn written(value: &Value) -> String {
    match value {
        Value::Sequence(items) => {
            let items: Vec<String> = items.iter().map(written_in_list).collect();
            format!("[{}]", items.join(", "))
        }
        value => scalar(value),
    }
}

/// A value in a list, where a colon or a bracket needs quotes.
fn written_in_list(item: &Value) -> String {
    match item.as_str() {
        Some(text) if text.contains([':', '[', ']', '{', '}', ',', '*']) => format!("{text:?}"),
        _ => scalar(item),
    }
}

fn scalar(value: &Value) -> String {
    let text = serde_yaml::to_string(value).unwrap_or_default();
    let text = text.trim_end();
    match text
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
    {
        Some(inner) => format!("{inner:?}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_at_most_as_wide_as_asked_unless_one_word_is_wider() {
        let text = "one two three\n- four five six\n- https://a.very.long.example/word\nseven";
        let expected = [
            "one two",
            "three",
            "  - four",
            "    five six",
            "  -",
            "    https://a.very.long.example/word",
            "seven",
        ];
        assert_eq!(wrapped(text, 12), expected);
    }

    #[test]
    fn values_are_written_on_one_line_and_read_back() {
        for (value, text) in [
            (Value::from("::"), "\"::\""),
            (Value::from("*"), "\"*\""),
            (Value::from("660"), "\"660\""),
            (Value::from("/ws/{username}"), "/ws/{username}"),
            (Value::from(8443), "8443"),
            (Value::Null, "null"),
            (Value::Sequence(vec![]), "[]"),
            (
                Value::Sequence(vec!["::1/128".into(), "10.0.0.0/8".into(), 4.into()]),
                "[\"::1/128\", 10.0.0.0/8, 4]",
            ),
        ] {
            assert_eq!(written(&value), text);
            assert_eq!(serde_yaml::from_str::<Value>(text).ok(), Some(value));
        }
    }
}
