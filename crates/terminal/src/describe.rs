//! Completions and the manual page of a program. They are made from the definition of its command
//! line, so that `--help`, the shell and `man` show the same text.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Command, Subcommand};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// Subcommands that describe the command line, on standard output.
#[derive(Clone, Debug, Subcommand)]
pub enum Describe {
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },

    /// Print the manual page, for `man -l -` or a folder such as /usr/local/share/man/man1
    Man,
}

impl Describe {
    /// Prints the text. The exit code is 1 if it cannot be written, except if the reader has
    /// closed the pipe.
    pub fn run(&self, command: Command) -> ExitCode {
        let text = match self {
            Describe::Completions { shell } => completions(command, *shell),
            Describe::Man => manual(command),
        };
        match io::stdout().write_all(&text) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        }
    }
}

/// The completion script for `shell`.
pub fn completions(mut command: Command, shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

/// The manual page as roff: one page for the program and all its subcommands.
pub fn manual(mut command: Command) -> Vec<u8> {
    command = command.disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    // A write to a `Vec` cannot fail.
    let _ = whole(&command, &mut page);
    page
}

fn whole(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let man = Man::new(command.clone());
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if command.has_subcommands() {
        heading("SUBCOMMANDS", page)?;
        subcommands(command, page)?;
    }
    if let Some(after) = command.get_after_help() {
        heading("NOTES", page)?;
        as_it_stands(&after.to_string(), page)?;
    }
    match command.get_version() {
        Some(_) => man.render_version_section(page),
        None => Ok(()),
    }
}

/// Writes the subcommands of `command` with their options, recursively.
fn subcommands(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    for each in command.get_subcommands().filter(|each| !each.is_hide_set()) {
        if each.has_subcommands() {
            subcommands(each, page)?;
        } else {
            subcommand(each, page)?;
        }
    }
    Ok(())
}

fn subcommand(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    // Global options are listed once, at the top of the page.
    let own = command.clone().mut_args(|arg| {
        let is_known = arg.is_global_set() || matches!(arg.get_id().as_str(), "help" | "version");
        arg.hide(is_known)
    });
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let mut title = Roff::new();
    title.control("SS", [name]);
    title.to_writer(page)?;
    let man = Man::new(own);
    let mut parts = Vec::new();
    man.render_description_section(&mut parts)?;
    parts.extend_from_slice(b".PP\n");
    man.render_synopsis_section(&mut parts)?;
    man.render_options_section(&mut parts)?;
    // They are parts of a section here, so their own headings are left out.
    for line in parts.split_inclusive(|byte| *byte == b'\n') {
        if !line.starts_with(b".SH ") {
            page.extend_from_slice(line);
        }
    }
    match command.get_after_help() {
        Some(after) => as_it_stands(&after.to_string(), page),
        None => Ok(()),
    }
}

fn heading(name: &str, page: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [name]).to_writer(page)
}

/// Writes preformatted text, such as examples.
fn as_it_stands(text: &str, page: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("PP", []).control("nf", []);
    for line in text.lines() {
        // An empty line in roff would end the paragraph; this prints one.
        match line.is_empty() {
            true => roff.control("sp", []),
            false => roff.text([roman(line)]),
        };
    }
    roff.control("fi", []);
    roff.to_writer(page)
}

#[cfg(test)]
mod tests {
    use clap::{Arg, CommandFactory as _, Parser};

    use super::*;

    /// Tries things.
    #[derive(Parser)]
    #[command(
        name = "tried",
        version = "1.2.3",
        after_help = "Examples:\n  tried --deep  down"
    )]
    struct Tried {
        /// How deep to go
        #[arg(long, global = true)]
        _deep: bool,
        #[command(subcommand)]
        _describe: Option<Describe>,
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).expect("UTF-8")
    }

    #[test]
    fn the_page_has_options_once_subcommands_and_verbatim_examples() {
        let page = text(&manual(Tried::command()));
        assert!(page.contains("Tries things"), "{page}");
        assert_eq!(page.matches("How deep to go").count(), 1, "{page}");
        assert!(page.contains(".SS \"tried completions\""), "{page}");
        assert!(
            page.contains(".nf\nExamples:\n  tried \\-\\-deep  down\n.fi"),
            "{page}"
        );
        assert!(page.contains(".SH VERSION\nv1.2.3"), "{page}");
    }

    #[test]
    fn every_shell_gets_a_script_with_the_options() {
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::Elvish,
            Shell::PowerShell,
        ] {
            let script = text(&completions(Tried::command(), shell));
            assert!(
                script.contains("tried") && script.contains("deep"),
                "{shell}: {script}"
            );
        }
    }

    #[test]
    fn a_hidden_subcommand_is_on_no_page() {
        let hidden = Command::new("secret").about("unheard of").hide(true);
        let command = Command::new("open").arg(Arg::new("a")).subcommand(hidden);
        assert!(!text(&manual(command)).contains("unheard of"));
    }
}
