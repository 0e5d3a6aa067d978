"""Runs the Autobahn suite against the relay and compares the results with expected.txt.

Run by scripts/conformance, which installs the suite and sets CORECAST_BIN. The cases are dealt out
to as many runs of the suite as there are cores, each with a relay of its own: two suites on one hub
would hear each other. A case that was not run counts as a difference, so that a relay that died or
a suite that gave up cannot pass.
"""

import argparse
import contextlib
import difflib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

from relay import Relay

HERE = pathlib.Path(__file__).parent
# Between two cases, for the deliveries of the first to end.
GAP_S = 0.05
# Longest run of all its cases: a bound for failures, not a measure.
RUN_DEADLINE_S = 3600
# The messages of 9.*, and room for their echoes. No ping of ours and no deadline may come between
# the pieces of a frame that 6.4.* dribbles.
SETTINGS = (
    "engine.shards=1",
    "metrics.enabled=false",
    "limits.message_bytes=16MiB",
    "slow_client.outbox_bytes=64MiB",
    "slow_client.process_bytes=512MiB",
    "keepalive.ping=off",
    "keepalive.pong=off",
    "deflate.enabled=true",
)
# The best possible results; NON-STRICT is a failure.
GOOD = ("OK", "INFORMATIONAL")
# The cases of compression with messages of up to 4 KiB.
QUICK_COMPRESSION = re.compile(r"1[23]\.\d+\.[1-6]")


def read_expected():
    """What each case has to come to: {id: "behavior behaviorClose"}, in the file's order."""
    lines = (HERE / "expected.txt").read_text().splitlines()
    expected = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    for case, result in expected.items():
        if not set(result.split()) <= set(GOOD):
            sys.exit(f"expected.txt: {case} may not be expected to be {result}")
    return expected


def is_basic(case):
    return int(case.split(".")[0]) <= 10


def select(cases, what, transport):
    """The cases of groups such as 6 or 12.1; of `quick`; all of them where nothing is named."""
    if what == ["quick"]:
        is_quick = QUICK_COMPRESSION.fullmatch if transport == "plain" else lambda case: False
        return [case for case in cases if is_basic(case) or is_quick(case)]
    chosen = [case for case in cases if any(f"{case}.".startswith(f"{group}.") for group in what)]
    if what and not chosen:
        sys.exit(f"no case is of {' '.join(what)}")
    return chosen or cases


def make_certificate(folder):
    """Makes cert.pem and key.pem in the folder; gives back the settings that use them."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-out", cert, "-keyout", key]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    files = (f"server.tls.cert_file={cert.resolve()}", f"server.tls.key_file={key.resolve()}")
    return ("server.tls.enabled=true", *files)


class Run:
    """One run of the suite against one relay. `tls`: settings of the relay, none where plain."""

    def __init__(self, name, transport, cases, tls, arguments):
        self.name = name
        self.transport = transport
        self.cases = cases
        self.tls = tls
        self.python2 = arguments.python2
        self.folder = arguments.folder / name
        self.results = {}
        self.problems = []

    def start(self, ends):
        """Starts relay and suite; `ends` is an ExitStack that ends them whatever happens."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.relay = ends.enter_context(Relay(*SETTINGS, *self.tls))
        url = f"{'wss' if self.tls else 'ws'}://{self.relay.address}/"
        command = [self.python2, HERE / "fuzz.py", url, self.folder, str(GAP_S), *self.cases]
        self.log = ends.enter_context(open(self.folder / "suite.log", "w+"))
        self.suite = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        ends.callback(self.end_suite)
        self.began_s = time.monotonic()

    def end_suite(self):
        if self.suite.poll() is None:
            self.suite.kill()
            self.suite.wait()

    def is_over(self):
        if self.relay.process.poll() is not None:
            self.problems.append(f"the relay ended with code {self.relay.process.returncode}")
        elif time.monotonic() - self.began_s > RUN_DEADLINE_S:
            self.problems.append(f"not done within {RUN_DEADLINE_S} s")
        if self.problems:
            self.end_suite()
        return self.suite.poll() is not None

    def collect(self, suite_cases):
        """Reads the results and stops the relay. `suite_cases`: how many the suite has to have."""
        self.seconds = time.monotonic() - self.began_s
        index = self.folder / "index.json"
        if self.suite.returncode != 0 or not index.exists():
            self.problems.append(f"the suite failed, see {self.log.name}")
            return
        self.results = json.loads(index.read_text()).get("corecast", {})
        self.log.seek(0)
        log = self.log.read()
        for said in (f"the suite has {suite_cases} cases", f"will run {len(self.cases)} test cases"):
            if said not in log:
                self.problems.append(f"the suite did not say `{said}`, see {self.log.name}")
        if self.relay.process.poll() is None and self.relay.stop() != 0:
            self.problems.append("the relay did not end well:\n" + "".join(self.relay.log))

    def reason(self, case):
        report = self.folder / self.results[case]["reportfile"]
        with contextlib.suppress(OSError, ValueError):
            return json.loads(report.read_text())["result"]
        return ""


def run_all(runs, at_once, suite_cases):
    waiting, running = list(runs), []
    with contextlib.ExitStack() as ends:
        while waiting or running:
            while waiting and len(running) < at_once:
                run = waiting.pop(0)
                run.start(ends)
                running.append(run)
            time.sleep(0.1)
            for run in [run for run in running if run.is_over()]:
                run.collect(suite_cases)
                running.remove(run)


def verdict(transport, runs, expected, folder):
    """Prints the difference to what is expected. True where there is none."""
    runs = [run for run in runs if run.transport == transport]
    cases = [case for case in expected if any(case in run.cases for run in runs)]
    wanted = [f"{case} {expected[case]}" for case in cases]
    found = {}
    for run in runs:
        for case, result in run.results.items():
            found[case] = (f"{case} {result['behavior']} {result['behaviorClose']}", run)
    lines = [found[case][0] for case in expected if case in found]
    lines += [line for case, (line, _) in found.items() if case not in expected]
    path = folder / f"results-{transport}.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    problems = [f"{run.name}: {problem}" for run in runs for problem in run.problems]
    print("\n".join(problems), end="\n" if problems else "")
    for line in difflib.unified_diff(wanted, lines, "expected.txt", str(path), n=0, lineterm=""):
        if line.startswith("@@"):
            continue
        case = line[1:].split(" ")[0]
        known = found.get(case) if line.startswith("+") else None
        print(f"{line}    {known[1].reason(case)}" if known else line)
    is_good = lines == wanted and not problems
    seconds = max(run.seconds for run in runs)
    print(
        f"{transport}: {len(lines)} of {len(cases)} cases run, {len(set(lines) & set(wanted))} as "
        f"expected, {seconds:.0f} s: {'passed' if is_good else 'FAILED'}"
    )
    return is_good


def main():
    parser = argparse.ArgumentParser(prog="scripts/conformance")
    parser.add_argument("what", nargs="*", help="quick, groups such as 6 or 12.1, plain or tls")
    parser.add_argument("--python2", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--folder", required=True, type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    # An ordinary exit, so that the started processes are ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    expected = read_expected()
    shards = len(os.sched_getaffinity(0))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    runs = []
    transports = {"plain": (), "tls": make_certificate(arguments.folder)}
    wanted = [word for word in arguments.what if word in transports] or list(transports)
    what = [word for word in arguments.what if word not in transports]
    for transport in wanted:
        tls = transports[transport]
        cases = select(list(expected), what, transport)
        for shard in range(min(shards, len(cases))):
            share = cases[shard::shards]
            runs.append(Run(f"{transport}-{shard}", transport, share, tls, arguments))
    run_all(runs, shards, len(expected))
    good = [verdict(transport, runs, expected, arguments.folder) for transport in wanted]
    sys.exit(0 if all(good) else 1)


main()
