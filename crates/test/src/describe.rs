//! Completions and manual pages, held to the programs that read them.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const SHELLS: [&str; 5] = ["bash", "zsh", "fish", "elvish", "powershell"];

fn run(program: &str, arguments: &[&str], input: &[u8]) -> Option<Output> {
    let mut command = Command::new(program);
    let command = command
        .args(arguments)
        .env("LC_ALL", "C")
        .env("MANWIDTH", "100");
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Not every machine has every shell, nor a reader of manuals.
    let mut child = pipes.spawn().ok()?;
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    // A reader that has seen enough closes the pipe.
    let _ = writer.join().expect("no panic");
    Some(output)
}

fn said(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = run(program, arguments, b"").expect("it runs");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

/// Each shell gets a script that has these words; shells that are here can read theirs.
pub fn assert_completes(program: &str, words: &[&str]) {
    for shell in SHELLS {
        let script = said(program, &["completions", shell]);
        let text = String::from_utf8(script.clone()).expect("UTF-8");
        for word in words {
            assert!(text.contains(word), "{shell} does not know {word}");
        }
        if ["bash", "zsh", "fish"].contains(&shell)
            && let Some(output) = run(shell, &["-n"], &script)
        {
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && complaint.is_empty(),
                "{shell}: {complaint}"
            );
        }
    }
}

/// The page has these words as a reader sees them, and `man` has nothing to complain about.
pub fn assert_manual(program: &str, words: &[&str]) {
    let page = said(program, &["man"]);
    let mut seen = String::from_utf8(page.clone())
        .expect("UTF-8")
        .replace("\\-", "-");
    if let Some(output) = run("man", &["--warnings", "-l", "-"], &page)
        && output.status.success()
    {
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.is_empty(), "{complaint}");
        seen = String::from_utf8_lossy(&output.stdout).into_owned();
    }
    for word in words {
        assert!(seen.contains(word), "no {word}:\n{seen}");
    }
}
