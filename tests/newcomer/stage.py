"""Where a page's commands run: a fresh copy of the repository, programs that stand for those that
take minutes or need a network, and the servers that the page starts.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from blocks import agrees

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Longest wait for anything that has to come, in seconds: a bound for failures, not a measure.
DEADLINE_S = 60
# `cargo run` and `cargo install` with what is built already. All else fails.
CARGO = """#!/usr/bin/env bash
set -euo pipefail
fail() { echo "the page's cargo cannot do this: $*" >&2; exit 90; }
all="$*" command=$1 program=corecast
shift
[[ $command == run || $command == install ]] || fail "$all"
while [[ $# -gt 0 ]]; do
    case $1 in
        --) shift; break ;;
        --release | --locked | --quiet) shift ;;
        -p | --package | --path) program=${2/#./corecast}; shift 2 ;;
        --example) program=example-$2; shift 2 ;;
        *) fail "$all" ;;
    esac
done
[[ -x $NEWCOMER_BUILT/$program ]] || fail "$all"
if [[ $command == install ]]; then
    ln -sf "$NEWCOMER_BUILT/$program" "$NEWCOMER_INSTALLED/$program"
else
    exec "$NEWCOMER_BUILT/$program" "$@"
fi
"""
# Packages come from a registry, which cannot be reached: they are in .tools already.
NPX = """#!/usr/bin/env bash
exec "$NEWCOMER_NODE/node_modules/.bin/$1" "${@:2}"
"""
PIP = """#!/usr/bin/env bash
[[ $* == "install websockets" ]] || { echo "the page's pip cannot do this: $*" >&2; exit 90; }
"""


class Failed(Exception):
    """A block that did not do what the page says."""


def copy_of_repository(folder):
    """What a clone would hold: tracked files, and new ones that Git does not ignore."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    named = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, named.decode().split("\0")):
        source = ROOT / name
        if source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def listens(port):
    for address in ("127.0.0.1", "::1"):
        try:
            socket.create_connection((address, port), timeout=1).close()
            return True
        except OSError:
            continue
    return False


def old_node():
    """Whether Node has the WebSocket of pages only if it is asked for (before version 22)."""
    asked = ["node", "-p", "typeof WebSocket"]
    ran = subprocess.run(asked, capture_output=True, text=True, check=False)
    return ran.stdout.strip() == "undefined"


class Stage:
    """One page's working directory, environment and server, until the `with` block ends."""

    def __init__(self, programs, is_installed):
        self.temporary = tempfile.TemporaryDirectory(prefix="corecast-newcomer-")
        base = pathlib.Path(self.temporary.name)
        self.folder = base / "corecast"
        self.kept = base / "kept.sh"
        self.server = None
        built, installed, shims = (base / name for name in ("built", "installed", "shims"))
        for folder in (built, installed, shims, base / "home"):
            folder.mkdir()
        # Pages have a folder each, with files of the one copy.
        shutil.copytree(os.environ["NEWCOMER_COPY"], self.folder, copy_function=os.link)
        for name, path in programs.items():
            (built / name).symlink_to(path)
            if is_installed:
                (installed / name).symlink_to(path)
        for name, text in (("cargo", CARGO), ("npx", NPX), ("pip", PIP)):
            (shims / name).write_text(text)
            (shims / name).chmod(0o755)
        tools = os.environ["NEWCOMER_TOOLS"]
        places = (shims, installed, f"{tools}/websockets/bin", os.environ["PATH"])
        self.environment = {
            "PATH": ":".join(map(str, places)),
            "HOME": str(base / "home"),
            "LANG": "C.UTF-8",
            "NEWCOMER_BUILT": str(built),
            "NEWCOMER_INSTALLED": str(installed),
            "NEWCOMER_NODE": f"{tools}/node",
        }
        if old_node():
            options = "--experimental-websocket --disable-warning=ExperimentalWarning"
            self.environment["NODE_OPTIONS"] = options

    def script(self, text, keep):
        """The block, as if it was typed into the shell of the block before."""
        after = f"{{ export -p; declare -f; }} >{self.kept}" if keep else ""
        before = f"[[ ! -e {self.kept} ]] || . {self.kept}"
        return ["bash", "-euo", "pipefail", "-c", f"{before}\n{text}\n{after}"]

    def start(self, command, **streams):
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **streams,
        )

    def run(self, block):
        """Runs a block to its end. Returns what it printed."""
        # Standard input stays open and says nothing, as that of somebody who only looks. The output
        # goes to a file: a program in the background may keep it open.
        with tempfile.TemporaryFile(mode="w+") as printed:
            script = self.script(block.text, keep=True)
            process = self.start(script, stdin=subprocess.PIPE, stdout=printed)
            has_ended = True
            try:
                process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                has_ended = False
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            process.stdin.close()
            printed.seek(0)
            output = printed.read()
        if not has_ended:
            raise Failed(f"{block.place}: still runs after {DEADLINE_S} s\n{output}")
        if process.returncode != 0:
            raise Failed(f"{block.place}: exit code {process.returncode}\n{output}")
        return output

    def serve(self, block):
        """Starts a server in place of the one before, and waits until it listens."""
        self.stop()
        log = tempfile.TemporaryFile(mode="w+")
        self.server = (self.start(self.script(block.text, keep=False), stdout=log), log)
        port = re.search(r"(?:--port |server\.port=|:)(\d{4,5})\b", block.text)
        port = int(port[1]) if port else 8443
        self.wait(block, f"nothing listens on port {port}", lambda: listens(port))

    def wait(self, block, what, attempt):
        deadline = time.monotonic() + DEADLINE_S
        while not attempt():
            if self.server[0].poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{block.place}: {what}\n{self.log()}")
            time.sleep(0.05)

    def log(self):
        """What the server has printed."""
        if not self.server:
            return ""
        self.server[1].seek(0)
        return self.server[1].read()

    def compare(self, block, of, output):
        """Holds an `output` block against what the block before it printed."""
        if of.has("server"):
            printed = "the server did not print this"
            self.wait(block, printed, lambda: agrees(block.text, self.log()))
        elif not agrees(block.text, output):
            said = f"the page says\n{block.text}\nbut it is\n{output}"
            raise Failed(f"{block.place}: not the output of line {of.line}: {said}")

    def save(self, block):
        (self.folder / block.file).write_text(block.text)

    def check_config(self, block):
        """`corecast --check` with this block as its file."""
        path = self.folder / (block.file or "block.yaml")
        path.write_text(block.text)
        corecast = self.environment["NEWCOMER_BUILT"] + "/corecast"
        place = {"cwd": self.folder, "env": self.environment}
        command = [corecast, "--check", "--config-file", path]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, **place)
        if ran.returncode != 0 or "warning:" in ran.stderr.lower():
            raise Failed(f"{block.place}: {ran.stderr}")
        if not block.file:
            path.unlink()

    def stop(self):
        if not self.server:
            return
        process, log = self.server
        self.server = None
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.stop()
        self.temporary.cleanup()
