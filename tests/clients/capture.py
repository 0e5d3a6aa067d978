"""The load generator's figures against a capture of the packets between it and a relay.

tcpdump records the loopback interface with the kernel's timestamps, and tshark takes the WebSocket
frames out of it. A message is known by its payload; that the generator counts it as measured and
not as warm-up stands in the payload's fourth byte. Its latency in the capture goes from the packet
that publishes it to the packet that delivers it.

The generator measures from just before its write to just after its read: that is what it calls
uncorrected, and it is longer than what the capture can see by what both system calls and the
scheduler take. Against a relay that answers in some ten microseconds that is much; so figures are
held against each other where a line between the two delays every delivery, as a network does, and
the plain relay's difference is reported in microseconds.
"""

import collections
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from delay import DelayLine
from relay import DEADLINE_S, Relay

# Figures may differ by no more than this.
TOLERANCE = 0.05
LINE_MS = 20
CLIENTS = 5
LOAD = f"--clients {CLIENTS} --publishers 4 --rate 60 --size 128 --warmup 500ms --duration 5s"
MEASURED_PREFIX = "434c4701"


class Capture:
    """All packets of one TCP port on the loopback interface, in a file."""

    def __init__(self, port, path):
        self.port, self.path = port, path
        command = ["tcpdump", "-i", "lo", "--immediate-mode", "-U", "-B", "65536", "-w", str(path)]
        self.process = subprocess.Popen(
            [*command, "tcp", "port", str(port)], stderr=subprocess.PIPE, text=True
        )
        # Printed once the interface is open; later packets are not missed.
        for line in self.process.stderr:
            if "listening on" in line:
                return
        raise AssertionError("tcpdump cannot capture here: it needs to be root")

    def stop(self):
        """Waits until no packet has come for a while. How many the kernel had no room for."""
        deadline, size = time.monotonic() + DEADLINE_S, -1
        while size != self.path.stat().st_size and time.monotonic() < deadline:
            size = self.path.stat().st_size
            time.sleep(0.5)
        self.process.terminate()
        told = self.process.stderr.read()
        self.process.wait(timeout=DEADLINE_S)
        return int(re.search(r"(\d+) packets? dropped by kernel", told)[1])

    def messages(self):
        """Payload in hexadecimal: time of its publication, times of its deliveries; seconds."""
        fields = ["frame.time_epoch", "tcp.dstport", "data.data"]
        command = ["tshark", "-r", str(self.path), "-d", f"tcp.port=={self.port},http"]
        command += ["-Y", "websocket", "-T", "fields"]
        command += [word for field in fields for word in ("-e", field)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        published, delivered = {}, collections.defaultdict(list)
        for line in lines.splitlines():
            at, port, payloads = line.split("\t")
            for payload in payloads.split(","):
                if not payload.startswith(MEASURED_PREFIX):
                    continue
                if int(port) == self.port:
                    published[payload] = float(at)
                else:
                    delivered[payload].append(float(at))
        return published, delivered


def load(url):
    """The generator's report."""
    command = [os.environ["LOADGEN_BIN"], "--url", url, *LOAD.split(), "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * DEADLINE_S)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}{done.stdout[:2000]}"
    return json.loads(done.stdout)


def quantile(values, share):
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def figures(published, delivered):
    """The capture's latencies in nanoseconds, by what the report calls them."""
    each, first, last = [], [], []
    for payload, sent in published.items():
        took = [(at - sent) * 1e9 for at in delivered[payload]]
        each += took
        first.append(min(took))
        last.append(max(took))
    return {
        (who, name): of(values)
        for who, values in (("first", first), ("each", each), ("last", last))
        for name, of in (
            ("mean", statistics.mean),
            ("p50", lambda values: quantile(values, 0.50)),
            ("p90", lambda values: quantile(values, 0.90)),
            ("p99", lambda values: quantile(values, 0.99)),
        )
    }


def compare(name, port, url, is_held):
    """Runs the load once and says how far apart the two are. The figures that are too far."""
    with tempfile.TemporaryDirectory(prefix="loadgen-capture-") as folder:
        capture = Capture(port, Path(folder) / "packets.pcap")
        report = load(url)
        dropped = capture.stop()
        published, delivered = capture.messages()
    deliveries = sum(map(len, delivered.values()))
    print(f"{name}: messages {report['sent']} of the generator, {len(published)} in the capture;")
    print(f"  deliveries {report['delivered']} and {deliveries}; {dropped} packets not captured")
    assert dropped == 0, "the capture is not whole"
    assert (report["sent"], report["delivered"]) == (len(published), deliveries)
    assert set(published) == set(delivered)
    far = []
    for (who, figure), captured in figures(published, delivered).items():
        told = report["latency"]["uncorrected"][who][figure]
        apart = told / captured - 1
        print(
            f"  {who:5} {figure:4}  loadgen {told / 1e3:10.1f} us   capture {captured / 1e3:10.1f} us"
            f"   {(told - captured) / 1e3:+8.1f} us  {apart:+7.2%}"
        )
        # The tails of a few hundred messages on a busy machine are not compared.
        if is_held and figure in ("mean", "p50") and abs(apart) > TOLERANCE:
            far.append(f"{name}: {who} {figure} {apart:+.1%}")
    return far


def main():
    with Relay() as relay:
        host, port = relay.address.rsplit(":", 1)
        far = compare("the relay itself", int(port), relay.url(), is_held=False)
        with DelayLine((host, int(port)), LINE_MS / 1000) as line:
            url = f"ws://127.0.0.1:{line.port}/"
            far += compare(f"behind a line of {LINE_MS} ms", line.port, url, is_held=True)
        assert relay.stop() == 0
    for figure in far:
        print(f"more than {TOLERANCE:.0%} apart: {figure}")
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
