"""docs/openapi.yaml against the running relay: schemathesis asks every route what its description
allows and what it forbids, and compares the answers with it.

Run by scripts/test-clients, which installs schemathesis and sets CORECAST_BIN. Bounded in time and in
requests; the seed is fixed, so that a failure comes again.
"""

import pathlib
import subprocess
import sys

from relay import DEADLINE_S, Relay

KEY = "key-of-the-test"
DESCRIPTION = pathlib.Path("docs/openapi.yaml")
TIMEOUT_S = 120

COMMON = [
    "--seed=1",
    "--max-examples=40",
    "--workers=1",
    "--phases=examples,coverage,fuzzing",
    "--generation-database=none",
    "--warnings=off",
    "--no-color",
    f"--request-timeout={DEADLINE_S}",
    f"--header=X-API-KEY: {KEY}",
]
# What is no fault of ours: a field that is named here and of which the server accepts more than a
# description can forbid, by path.
RUNS = [
    # Strict: what the description forbids is refused.
    (["--include-tag=rooms"], []),
    # The push API accepts what its clients have always sent.
    (["--include-tag=push"], ["negative_data_rejection"]),
    # These answer every method, or any query.
    (["--include-tag=operation"], ["negative_data_rejection", "unsupported_method"]),
]


def check(url, selection, excluded):
    """Runs schemathesis on a part of the description. Returns its exit code."""
    command = [str(pathlib.Path(sys.executable).parent / "schemathesis"), "run", str(DESCRIPTION)]
    command += [f"--url={url}", "--checks=all", *COMMON, *selection]
    if excluded:
        command.append("--exclude-checks=" + ",".join(excluded))
    return subprocess.run(command, timeout=TIMEOUT_S, check=False).returncode


def admin_address(relay):
    lines = [line for line in relay.log if " metrics and health address=" in line]
    return lines[-1].rsplit("address=", 1)[1].strip()


def main():
    settings = (
        f"api.keys={KEY}",
        "endpoints.pubsub.kind=pubsub",
        "endpoints.pubsub.path=/pubsub",
    )
    code = 0
    with Relay(*settings) as relay:
        for selection, excluded in RUNS:
            selection = [*selection, "--exclude-path=/metrics"]
            code = check(f"http://{relay.address}", selection, excluded) or code
        metrics = ["--include-path=/metrics"]
        code = check(f"http://{admin_address(relay)}", metrics, RUNS[-1][1]) or code
        stopped = relay.stop()
        if stopped != 0:
            print(f"the relay ended with {stopped}")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
