//! The report: the results as Markdown, as a self-contained HTML page, as a picture, and as the
//! table of docs/benchmarks.md. Measures nothing.

mod chart;
mod html;
mod markdown;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::results::{Run, write_whole};
use crate::scaling::Scaling;

/// Runs that a report is made from: the first one that exists.
const NAMES: [&str; 2] = ["comparison", "quick"];
const BEGIN: &str = "<!-- made by scripts/bench report: begin -->\n";
const END: &str = "<!-- made by scripts/bench report: end -->\n";

/// The input and output of a report.
pub(crate) struct Request<'a> {
    pub(crate) folder: &'a Path,
    /// The directory of the report.
    pub(crate) report: &'a Path,
    /// The run; by default the whole one, or the quick one if only that exists.
    pub(crate) name: Option<&'a str>,
    /// A text file with the two markers, which gets the table between them.
    pub(crate) page: Option<&'a Path>,
}

/// Writes `report.md`, `report.html` and `report.svg`, and the section between the markers. Returns
/// the files that it wrote.
///
/// # Errors
/// The results are missing, or a file cannot be read or written.
pub(crate) fn write(request: &Request<'_>) -> Result<Vec<PathBuf>> {
    let folder = request.folder;
    let path = |name: &str| folder.join(format!("{name}.json"));
    let name = match request.name {
        Some(name) => Some(name),
        None => NAMES.into_iter().find(|name| path(name).exists()),
    };
    let name = name.with_context(|| format!("no run in {}", folder.display()))?;
    let run = Run::read(&path(name))?;
    ensure!(!run.cases.is_empty(), "the run {name} has no case");
    let scalings = Scaling::read_all(folder)?;
    let report = request.report;
    fs::create_dir_all(report).context("making the folder for the report")?;
    let mut written = Vec::new();
    let mut put = |file: PathBuf, text: &str| -> Result<()> {
        write_whole(&file, text)?;
        written.push(file);
        Ok(())
    };
    put(
        report.join("report.md"),
        &markdown::page(&run, &scalings, name),
    )?;
    put(
        report.join("report.html"),
        &html::page(&run, &scalings, name),
    )?;
    put(report.join("report.svg"), &chart::picture(&run))?;
    if let Some(page) = request.page.filter(|page| page.exists()) {
        let text = fs::read_to_string(page).context("reading the page")?;
        let text = between_markers(&text, &markdown::section(&run))?;
        put(page.to_owned(), &text)?;
    }
    Ok(written)
}

fn between_markers(text: &str, section: &str) -> Result<String> {
    let parts = text.split_once(BEGIN);
    let parts = parts.and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.with_context(|| format!("no {BEGIN:?} and {END:?} in the page"))?;
    Ok(format!("{before}{BEGIN}{section}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    #[test]
    fn a_section_is_replaced_and_what_is_around_it_stays() {
        let text = format!("a\n{BEGIN}old\n{END}b\n");
        let replaced = between_markers(&text, "new\n").expect("markers");
        assert_eq!(replaced, format!("a\n{BEGIN}new\n{END}b\n"));
        assert!(between_markers("no markers", "new").is_err());
    }

    #[test]
    fn a_stored_run_gives_the_full_report_in_each_format() {
        let folder = tempfile::tempdir().expect("a folder");
        let page = folder.path().join("page.md");
        fs::write(&page, format!("{BEGIN}{END}")).expect("written");
        sample::run()
            .write(&folder.path().join("quick.json"))
            .expect("written");
        let request = Request {
            folder: folder.path(),
            report: &folder.path().join("report"),
            name: None,
            page: Some(&page),
        };
        let files = write(&request).expect("a report");
        assert_eq!(files.len(), 4);
        for file in &files {
            let text = fs::read_to_string(file).expect("written");
            for word in ["a cheap peer", "a dear peer"] {
                assert!(text.contains(word), "{word} in {}", file.display());
            }
        }
        let again = write(&request).expect("a report");
        assert_eq!(files, again);
    }

    #[test]
    fn a_loss_and_a_disturbed_machine_are_said_in_both_reports() {
        let run = sample::run();
        for page in [markdown::page(&run, &[], "x"), html::page(&run, &[], "x")] {
            assert!(page.contains("Where Corecast loses"));
            assert!(page.contains("Disturbed"));
            assert!(page.contains("lost deliveries"));
            assert!(page.contains("not available: it is not there"));
        }
        // A name from a command line may contain anything.
        assert!(!html::page(&run, &[], "x").contains("<dear>"));
        assert!(html::page(&run, &[], "x").contains("&lt;dear&gt;"));
    }
}
