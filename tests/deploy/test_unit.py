"""The unit's filter of system calls against those that a relay makes."""

import asyncio
import os
import pathlib
import re
import signal
import tempfile
import unittest
import unittest.mock
import urllib.request

from relay import DEADLINE_S, Relay
from stage import DEPLOY, eventually, join, needs, run, soon


def calls_of(group):
    """The system calls of a group of systemd's, those of groups in it included."""
    words = [line.strip() for line in run("systemd-analyze", "syscall-filter", group).splitlines()]
    calls = set()
    for word in words[1:]:
        calls |= calls_of(word) if word.startswith("@") else {word}
    return calls


def allowed():
    unit = (DEPLOY / "systemd/corecast.service").read_text()
    lines = re.findall(r"^SystemCallFilter=(.*)$", unit, re.M)
    calls = set()
    for line in lines:
        named = set().union(*(calls_of(group) for group in line.lstrip("~").split()))
        calls = calls - named if line.startswith("~") else calls | named
    return calls


class SystemCalls(unittest.TestCase):
    @needs("strace", "systemd-analyze")
    def test_the_unit_allows_whatever_a_relay_does_from_start_to_end(self):
        with tempfile.TemporaryDirectory(prefix="corecast-deploy-") as folder:
            trace, wrapper = pathlib.Path(folder) / "trace", pathlib.Path(folder) / "corecast"
            binary = os.environ["CORECAST_BIN"]
            # With -D the relay is our child, and gets our signals.
            wrapper.write_text(f'#!/bin/sh\nexec strace -D -f -qq -o "{trace}" "{binary}" "$@"\n')
            wrapper.chmod(0o755)
            with unittest.mock.patch.dict(os.environ, CORECAST_BIN=str(wrapper)):
                relay = Relay(
                    "engine.pin=true",
                    "api.keys=[key]",
                    f"endpoints.push.journal={folder}/pushes.redb",
                    f'server.listen=["unix:{folder}/socket"]',
                )
            with relay:
                asyncio.run(self.use(relay))
                self.push_later(relay)
                relay.process.send_signal(signal.SIGHUP)
                eventually("it reloads", lambda: any("reloaded" in line for line in relay.log))
                self.assertEqual(relay.stop(), 0)
            made = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.M))
            typical = {"bind", "epoll_ctl", "sendto", "sched_setaffinity", "fdatasync"}
            self.assertLess(typical, made)
            self.assertEqual(made - allowed(), set())

    def push_later(self, relay):
        """A push that goes into the journal."""
        body = b'{"event_name": "x", "delay_seconds": 60}'
        url = f"http://{relay.address}/api/push"
        request = urllib.request.Request(url, data=body, headers={"X-API-KEY": "key"})
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            self.assertEqual(answer.status, 200)

    async def use(self, relay):
        async with join(relay.url()) as one, join(relay.url()):
            await soon(one.send("hello"))
            self.assertEqual(await soon(one.recv()), "hello")
