"""docs/openapi.yaml against the running relay: schemathesis asks every route what its description
allows and what it forbids, and compares the answers with it.

Run by scripts/test-clients, which installs schemathesis and sets CORECAST_BIN. The seed is fixed, so
that a failure comes again, and so is the number of requests: it is about a minute.
"""

import pathlib
import subprocess
import sys
import tempfile

from relay import DEADLINE_S, Relay

KEY = "key-of-the-test"
HERE = pathlib.Path(__file__).resolve().parent
DESCRIPTION = HERE.parents[1] / "docs" / "openapi.yaml"
CONFIG = HERE / "schemathesis.toml"
EXAMPLES = 30
# For one of the runs below, of which each takes seconds.
RUN_TIMEOUT_S = 180

# Requires a 405 for every method, even for one unknown to HTTP, which gets a 501 here.
METHODS = "unsupported_method"

# The targets of the runs, and the checks that do not apply to them.
RUNS = [
    # Everything that the description forbids is refused, to the last field.
    ("--include-tag=rooms", [METHODS]),
    # The push API accepts all that its clients have always sent, but not 1.0 for a whole number.
    ("--include-tag=push", [METHODS, "negative_data_rejection", "positive_data_acceptance"]),
    # Health and counters answer regardless of the rest of the request.
    ("--include-path-regex=^/(health|livez|readyz|test)", [METHODS, "negative_data_rejection"]),
]
METRICS = ("--include-path=/metrics", [METHODS, "negative_data_rejection"])


def check(url, selection, excluded):
    """Runs schemathesis on some of the routes. Returns whether all went well."""
    program = pathlib.Path(sys.executable).parent / "schemathesis"
    command = [program, "--config-file", CONFIG, "run", DESCRIPTION, f"--url={url}", selection]
    command += ["--checks=all", "--exclude-checks=" + ",".join(excluded)]
    command += [f"--max-examples={EXAMPLES}", "--generation-database=none"]
    command += ["--phases=examples,coverage,fuzzing", "--warnings=off", "--no-color"]
    command += [f"--request-timeout={DEADLINE_S}", f"--header=X-API-KEY: {KEY}"]
    # It stores its findings in its working directory.
    with tempfile.TemporaryDirectory(prefix="corecast-openapi-") as directory:
        run = subprocess.run(command, cwd=directory, timeout=RUN_TIMEOUT_S, check=False)
    return run.returncode == 0


def admin_address(relay):
    lines = [line for line in relay.log if " metrics and health address=" in line]
    return lines[-1].rsplit("address=", 1)[1].strip()


def main():
    pubsub = ("endpoints.pubsub.kind=pubsub", "endpoints.pubsub.path=/pubsub")
    with Relay(f"api.keys={KEY}", *pubsub) as relay:
        url = f"http://{relay.address}"
        passed = [check(url, *run) for run in RUNS]
        passed.append(check(f"http://{admin_address(relay)}", *METRICS))
        exit_code = relay.stop()
    if exit_code != 0:
        print(f"the relay ended with {exit_code}")
    return 0 if all(passed) and exit_code == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
