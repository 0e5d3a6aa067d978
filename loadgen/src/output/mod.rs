//! A report in the requested formats: on standard output and in files.
//!
//! Every format is made from the [`Report`] alone (and, on a page, from earlier reports), so a
//! report that was read back from a file or a history looks the same.

mod csv;
mod hdr;
mod markdown;
mod text;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;

use crate::page;
use crate::report::{PairsReport, RelayReport, Report};

const NOT_OF_PAIRS: &str = "ab reports as text, json or markdown (.txt, .json, .md)";

/// Form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: at most 80 columns
    Text,
    /// For programs: one object, documented field by field
    Json,
    /// For spreadsheets: one row for the run, one for each second, step and repeat
    Csv,
    /// For issues and wikis
    Markdown,
    /// `HdrHistogram`'s interval log: the whole distribution of every second
    Hdr,
    /// One page with charts that needs no other file
    Html,
}

impl Format {
    /// The report in this format, ending with a line break. A page also shows the trend over
    /// `earlier` runs of the same load, oldest first.
    ///
    /// # Errors
    /// None is known: each format can represent any report.
    pub fn render(self, report: &Report, earlier: &[RelayReport]) -> anyhow::Result<String> {
        Ok(match self {
            Self::Text => report.text(),
            Self::Json => report.json()?,
            Self::Csv => csv::render(report),
            Self::Markdown => markdown::render(report),
            Self::Hdr => hdr::render(report)?,
            Self::Html => page::render(report, earlier),
        })
    }

    /// The report of two servers in this format.
    ///
    /// # Errors
    /// The format does not support it.
    fn render_pairs(self, report: &PairsReport) -> anyhow::Result<String> {
        Ok(match self {
            Self::Text => report.text(),
            Self::Json => report.json()?,
            Self::Markdown => markdown::pairs(report),
            Self::Csv | Self::Hdr | Self::Html => bail!(NOT_OF_PAIRS),
        })
    }

    /// The format for a file's extension.
    fn of(path: &Path) -> Option<Self> {
        Some(match path.extension().and_then(OsStr::to_str)? {
            "txt" => Self::Text,
            "json" => Self::Json,
            "csv" => Self::Csv,
            "md" => Self::Markdown,
            "hdr" | "hlog" => Self::Hdr,
            "html" | "htm" => Self::Html,
            _ => return None,
        })
    }
}

/// An output file. Its extension decides the format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFile {
    path: PathBuf,
    format: Format,
}

impl FromStr for ReportFile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let path = PathBuf::from(name);
        let format = Format::of(&path)
            .ok_or("its extension must be one of .txt .json .csv .md .hdr .hlog .html")?;
        Ok(Self { path, format })
    }
}

impl ReportFile {
    /// Checks that the file can be written, because an error is more useful before a run than after
    /// it.
    ///
    /// # Errors
    /// The directory does not exist, or the file cannot be written.
    pub fn check(&self) -> anyhow::Result<()> {
        let parent = self.path.parent().unwrap_or(Path::new(""));
        let folder = if parent == Path::new("") {
            Path::new(".")
        } else {
            parent
        };
        anyhow::ensure!(folder.is_dir(), "{}: no such directory", self.cannot());
        if self.path.exists() {
            let file = fs::OpenOptions::new().append(true).open(&self.path);
            file.with_context(|| self.cannot())?;
        }
        Ok(())
    }

    /// Writes the report, replacing the file's content.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, report: &Report, earlier: &[RelayReport]) -> anyhow::Result<()> {
        let text = self.format.render(report, earlier)?;
        fs::write(&self.path, text).with_context(|| self.cannot())
    }

    fn write_pairs(&self, report: &PairsReport) -> anyhow::Result<()> {
        let text = self.format.render_pairs(report)?;
        fs::write(&self.path, text).with_context(|| self.cannot())
    }

    fn cannot(&self) -> String {
        format!("cannot write the report to {}", self.path.display())
    }
}

/// The outputs of a report.
#[derive(Clone, Debug, clap::Args)]
pub struct Forms {
    /// Format of the report on standard output
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Format::Text)]
    pub output: Format,

    /// Also write the report to this file; its extension decides the format: .txt, .json, .csv,
    /// .md, .hdr or .html. May be repeated
    #[arg(long = "report", value_name = "FILE")]
    pub reports: Vec<ReportFile>,
}

impl Forms {
    /// Checks that the files can be written.
    ///
    /// # Errors
    /// One cannot.
    pub fn check(&self) -> anyhow::Result<()> {
        self.reports.iter().try_for_each(ReportFile::check)
    }

    /// Writes a report to every output.
    ///
    /// # Errors
    /// Standard output or a file cannot be written. The other outputs are still written.
    pub fn tell(&self, report: &Report, earlier: &[RelayReport]) -> anyhow::Result<()> {
        let text = self.output.render(report, earlier)?;
        let mut results = vec![io::stdout().write_all(text.as_bytes()).map_err(Into::into)];
        results.extend(self.reports.iter().map(|file| file.write(report, earlier)));
        results.into_iter().collect()
    }

    /// Checks that the report of two servers can be written in these formats: text, JSON or
    /// Markdown.
    ///
    /// # Errors
    /// A format does not support it, or a file cannot be written.
    pub fn check_pairs(&self) -> anyhow::Result<()> {
        let others = [Format::Csv, Format::Hdr, Format::Html];
        let mut forms = self.reports.iter().map(|file| file.format);
        let is_other = forms.any(|form| others.contains(&form)) || others.contains(&self.output);
        ensure!(!is_other, NOT_OF_PAIRS);
        self.check()
    }

    /// Writes the report of two servers to every output.
    ///
    /// # Errors
    /// Standard output or a file cannot be written. The other outputs are still written.
    pub fn tell_pairs(&self, report: &PairsReport) -> anyhow::Result<()> {
        let text = self.output.render_pairs(report)?;
        let mut results = vec![io::stdout().write_all(text.as_bytes()).map_err(Into::into)];
        results.extend(self.reports.iter().map(|file| file.write_pairs(report)));
        results.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_extension_decides_the_reports_format() {
        let format = |name: &str| name.parse::<ReportFile>().map(|file| file.format);
        assert_eq!(format("a.txt"), Ok(Format::Text));
        assert_eq!(format("a.json"), Ok(Format::Json));
        assert_eq!(format("a.csv"), Ok(Format::Csv));
        assert_eq!(format("a.md"), Ok(Format::Markdown));
        assert_eq!(format("a.hdr"), Ok(Format::Hdr));
        assert_eq!(format("a.hlog"), Ok(Format::Hdr));
        assert_eq!(format("there/is.json/a.html"), Ok(Format::Html));
        for bad in ["", "html", ".html", "a.pdf", "a.html/"] {
            let refused = format(bad).is_err() || bad == "a.html/";
            assert!(refused, "{bad}");
        }
    }
}
