"""What the tests of the deploy kit share: the repository's files, programs, servers, free ports."""

import asyncio
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from websockets.asyncio.client import connect

from relay import DEADLINE_S

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def needs(*programs):
    """Skips a test, or a class of them, where a program is not here."""
    missing = [program for program in programs if not shutil.which(program)]
    return unittest.skipIf(missing, f"not here: {', '.join(missing)} (scripts/check-deploy install)")


def run(*command, status=0, **options):
    """Runs a program to its end. Returns what it printed, both streams."""
    ran = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * DEADLINE_S,
        check=False,
        **options,
    )
    if ran.returncode != status:
        raise AssertionError(f"{command}: exit code {ran.returncode}\n{ran.stdout}")
    return ran.stdout


def check(*arguments):
    """The config in effect, as the relay prints it."""
    return run(os.environ["CORECAST_BIN"], *arguments, "--check", env={"PATH": os.environ["PATH"]})


def snippet(page, language, containing):
    """The block of a page of docs/ in this language with this text in it."""
    text = (ROOT / "docs" / page).read_text()
    blocks = re.findall(rf"^```{language}\b[^\n]*\n(.*?)^```", text, re.M | re.S)
    found = [block for block in blocks if containing in block]
    assert len(found) == 1, f"{len(found)} blocks of {language} with {containing!r} in {page}"
    return found[0]


def free_port():
    """A port that nobody has now. Whoever is started on it says so if that has changed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(what, attempt, program=None):
    """Polls until `attempt` returns something true, and returns it. OSError counts as not yet."""
    deadline = time.monotonic() + DEADLINE_S
    last = None
    while time.monotonic() < deadline:
        try:
            last = attempt()
            if last:
                return last
        except OSError as error:
            last = error
        if program and program.process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"not in time: {what}: {last!r}\n{program.output() if program else ''}")


def listens(port):
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


class Program:
    """A server that is somebody else's, in the foreground, until the `with` block ends."""

    def __init__(self, *command, port=None, **options):
        self.log = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            **options,
        )
        if port:
            try:
                eventually(f"{command[0]} listens on {port}", lambda: listens(port), self)
            except AssertionError:
                self.__exit__()
                raise

    def output(self):
        self.log.seek(0)
        return self.log.read()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def certificate(folder):
    """A certificate for localhost that signs itself, and its key."""
    paths = folder / "cert.pem", folder / "key.pem"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    run("openssl", *options.split(), "-addext", names, "-out", paths[0], "-keyout", paths[1])
    return paths


def admin_address(relay):
    """Where a relay of this process has its metrics."""
    mark = "metrics and health address="
    line = eventually("it says where its metrics are", lambda: [x for x in relay.log if mark in x])
    return line[0].rsplit("address=", 1)[1].strip()


def join(url, source="127.0.0.1", headers=None, **options):
    """A client from this address of the loopback network, as an async context manager."""
    deadlines = {"open_timeout": DEADLINE_S, "close_timeout": DEADLINE_S}
    options = {"local_addr": (source, 0), "additional_headers": headers, **deadlines, **options}
    return connect(url, proxy=None, **options)


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, DEADLINE_S)
