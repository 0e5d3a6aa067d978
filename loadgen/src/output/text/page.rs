//! Lines of text, each with a label at the left.

/// Width of the labels at the left.
const LABEL: usize = 12;

/// Lines with a label at the left.
#[derive(Default)]
pub(super) struct Page(pub(super) String);

impl Page {
    pub(super) fn row(&mut self, label: &str, text: &str) {
        let line = format!("{label:LABEL$}{text}");
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    /// One that takes the whole width.
    pub(super) fn line(&mut self, text: &str) {
        self.0.push_str(text.trim_end());
        self.0.push('\n');
    }

    pub(super) fn blank(&mut self) {
        self.0.push('\n');
    }
}
