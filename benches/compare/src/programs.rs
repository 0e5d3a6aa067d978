//! Paths of the programs: this workspace's own, and installed peers.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cases::{Peer, Programs};
use crate::load::strings;

/// The directories to search.
pub(crate) struct Places<'a> {
    /// That of our own programs; without it that of this one.
    pub(crate) programs: Option<&'a Path>,
    /// That of the peers from npm and Go.
    pub(crate) peers: &'a Path,
}

impl Places<'_> {
    /// A program of this workspace. The path is absolute, because servers run in another folder.
    pub(crate) fn own(&self, name: &str) -> Result<PathBuf> {
        let folder = match self.programs {
            Some(folder) => folder.canonicalize().context("--programs")?,
            None => std::env::current_exe()?
                .parent()
                .context("no folder")?
                .to_owned(),
        };
        Ok(folder.join(name))
    }

    /// All programs, with the known peers if `wants_peers`, and with `more`.
    pub(crate) fn all(
        &self,
        wants_peers: bool,
        more: &[(String, Vec<String>)],
    ) -> Result<Programs> {
        let mut peers = Vec::new();
        if wants_peers {
            peers = self.known_peers()?;
        }
        let more = more.iter().map(|(name, command)| Peer {
            name: name.clone(),
            command: Ok(command.clone()),
        });
        peers.extend(more);
        Ok(Programs {
            relay: self.own("corecast")?,
            floor: self.own("floor")?,
            peers,
            against: None,
        })
    }

    fn known_peers(&self) -> Result<Vec<Peer>> {
        let peer = |name: &str, command| Peer {
            name: name.to_owned(),
            command,
        };
        let port: &[&str] = &["{port}"];
        let bun = self.bun();
        Ok(vec![
            peer(
                "tokio-tungstenite",
                command(&self.own("peer-tokio-tungstenite")?, port),
            ),
            peer(
                "fastwebsockets",
                command(&self.own("peer-fastwebsockets")?, port),
            ),
            peer("gorilla (Go)", self.gorilla()),
            peer("npm ws", self.npm_peer("ws.js", Path::new("node"))),
            peer(
                "Bun publish",
                bun.and_then(|bun| self.npm_peer("bun.js", &bun)),
            ),
        ])
    }

    fn gorilla(&self) -> Result<Vec<String>, String> {
        let program = self.peers.join("peer-gorilla").canonicalize();
        let program = program.map_err(|_| "Go did not build it (see scripts/bench)".to_owned())?;
        command(&program, &["{port}"])
    }

    /// A peer's script in the folder where npm installed its dependencies.
    fn npm_peer(&self, script: &str, runtime: &Path) -> Result<Vec<String>, String> {
        let script = self.peers.join(script).canonicalize();
        let script = script.map_err(|_| "npm did not install it (see scripts/bench)".to_owned())?;
        command(runtime, &[&script.to_string_lossy(), "{port}"])
    }

    /// Bun's program, in the package for this platform: its own installation script need not have
    /// run.
    fn bun(&self) -> Result<PathBuf, String> {
        let platforms = fs::read_dir(self.peers.join("node_modules/@oven"));
        let programs = platforms.into_iter().flatten().flatten();
        let programs = programs.map(|platform| platform.path().join("bin/bun"));
        let found = programs
            .filter_map(|program| program.canonicalize().ok())
            .next();
        found.ok_or_else(|| "npm did not install Bun (see scripts/bench)".to_owned())
    }
}

/// The command of a program with `args`, or why it is unavailable.
fn command(program: &Path, args: &[&str]) -> Result<Vec<String>, String> {
    let all = [strings(&[&program.to_string_lossy()]), strings(args)].concat();
    match program.components().count() == 1 || program.exists() {
        true => Ok(all),
        false => Err(format!("{} does not exist", program.display())),
    }
}
