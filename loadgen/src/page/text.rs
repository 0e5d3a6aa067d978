//! Text within a page.

use std::fmt::Write;

/// Escapes a text for the content of an element and for a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML and HTML allow no other control characters.
            letter if letter.is_control() && !matches!(letter, '\n' | '\t') => out.push(' '),
            _ => out.push(letter),
        }
    }
    out
}

/// A table. The first column names the row, the others are figures.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = String::from("<div class=\"wide\" tabindex=\"0\"><table><thead><tr>");
    for name in head {
        let _ = match name.is_empty() {
            true => write!(out, "<td></td>"),
            false => write!(out, "<th scope=\"col\">{}</th>", escape(name)),
        };
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let _ = match column {
                0 => write!(out, "<th scope=\"row\">{}</th>", escape(cell)),
                _ => write!(out, "<td>{}</td>", escape(cell)),
            };
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_become_markup() {
        assert_eq!(
            escape("<script>\"&'\u{0}</script>"),
            "&lt;script&gt;&quot;&amp;&#39; &lt;/script&gt;"
        );
        let row = vec!["<b>".to_owned(), "\"".to_owned()];
        let table = table(&["", "<i>"], &[row]);
        assert!(!table.contains("<b>") && !table.contains("<i>"), "{table}");
    }
}
