//! Lines of text, each with a label on the left.

/// Width of the labels on the left.
const LABEL: usize = 12;
/// Width of a line.
const WIDTH: usize = 80;

/// Lines with a label on the left.
#[derive(Default)]
pub(super) struct Page(pub(super) String);

impl Page {
    pub(super) fn row(&mut self, label: &str, text: &str) {
        let line = format!("{label:LABEL$}{text}");
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    /// As many lines as needed, broken between words.
    pub(super) fn wrapped(&mut self, label: &str, text: &str) {
        let (mut label, mut line) = (label, String::new());
        for word in text.split(' ') {
            let has_room = line.chars().count() + 1 + word.chars().count() <= WIDTH - LABEL;
            if !line.is_empty() && !has_room {
                self.row(label, &line);
                (label, line) = ("", "  ".to_owned());
            } else if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.row(label, &line);
    }

    /// A line that takes the whole width.
    pub(super) fn line(&mut self, text: &str) {
        self.0.push_str(text.trim_end());
        self.0.push('\n');
    }

    pub(super) fn blank(&mut self) {
        self.0.push('\n');
    }
}
