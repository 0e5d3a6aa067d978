"""Does what the README, docs/ and the other READMEs say, as a newcomer would: every block, in a
fresh copy of the repository, page by page.

    main.py            checks tags and syntax, runs what is tagged run, compares the output
    main.py --slow     runs what is tagged slow, in this repository: this takes hours
    main.py PAGE…      these pages only

CORECAST_BIN, LOADGEN_BIN and EXAMPLES (a folder) are what `cargo run` stands for; NEWCOMER_TOOLS is
the folder of Python's websockets and of npm's wscat. scripts/test-clients newcomer sets them.

Blocks use the ports that they name, so each page runs in a network of its own (and with process ids
of its own: `pidof` finds nobody else's relay). Without the right to make one the rest is skipped.
"""

import concurrent.futures
import fcntl
import itertools
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time

import selfcheck
from blocks import BadPage, blocks
from stage import ROOT, Failed, Stage, copy_of_repository
from syntax import Wrong, check

SKIPPED = 77
# More than there are cores: pages wait for servers and for seconds of load.
PAGES_AT_ONCE = 4
INSIDE = "NEWCOMER_INSIDE"
RESULT = re.compile(r"\(`([\w-]+)`\)")
README_LINES_MAX = 150


def pages():
    folders = ("benches", "deploy", "loadgen")
    names = ["README.md", "CONTRIBUTING.md", *(f"{folder}/README.md" for folder in folders)]
    found = [*(ROOT / name for name in names), *sorted((ROOT / "docs").rglob("*.md"))]
    return [str(path.relative_to(ROOT)) for path in found]


def read_all(names):
    """The blocks of each page; every problem of tags and syntax at once."""
    read, problems = {}, []
    for name in names:
        try:
            read[name] = blocks(name, (ROOT / name).read_text())
        except BadPage as bad:
            problems.append(str(bad))
            continue
        for block in read[name]:
            try:
                check(block)
            except (Wrong, ValueError, SyntaxError) as wrong:
                problems.append(f"{block.place}: {wrong}")
    return read, problems


def results_that_differ():
    """Rows of the README's results that are not among those of docs/benchmarks.md."""
    whole = {}
    for line in (ROOT / "docs/benchmarks.md").read_text().splitlines():
        name = RESULT.search(line)
        if name and line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            # Case, Corecast, the base, the limit, then the peers.
            whole[name[1]] = [cells[1], *cells[4:]]
    rows = [x for x in (ROOT / "README.md").read_text().splitlines() if x.startswith("|")]
    rows = [row for row in rows if RESULT.search(row)]
    assert len(rows) == 6, f"{len(rows)} results in the README"
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        name = RESULT.search(row)[1]
        if cells[1:] != whole.get(name):
            yield f"README.md: {name}: {cells[1:]} is not {whole.get(name)} of docs/benchmarks.md"


def programs():
    found = {"corecast": os.environ["CORECAST_BIN"], "loadgen": os.environ["LOADGEN_BIN"]}
    for path in pathlib.Path(os.environ["EXAMPLES"]).iterdir():
        if "-" not in path.name and path.suffix == "" and os.access(path, os.X_OK):
            found[f"example-{path.name}"] = path
    return {name: pathlib.Path(path).resolve() for name, path in found.items()}


def run_page(name, found):
    """Does what a page says, from top to bottom. Returns how many blocks were run."""
    # A reader of the README has nothing yet; whoever reads on has installed it.
    count, ran, output = 0, None, ""
    with Stage(programs(), is_installed=name != "README.md") as stage:
        for block in found:
            if block.has("config"):
                stage.check_config(block)
            elif block.file:
                stage.save(block)
            elif block.has("run"):
                output = stage.run(block)
            elif block.has("server"):
                stage.serve(block)
            elif block.has("output"):
                stage.compare(block, ran, output)
            if block.has("run") or block.has("server"):
                ran = block
            count += bool(set(block.tags) & {"run", "server", "config", "output"})
    return count


def run_in_own_network(name, copy):
    """Runs one page by this program in a network of its own. Returns its output and exit code."""
    environment = {**os.environ, INSIDE: "1", "NEWCOMER_COPY": copy}
    command = [*unshare(), sys.executable, __file__, name]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    ran = subprocess.run(command, env=environment, check=False, **streams)
    return ran.stdout, ran.returncode


def run_all(read):
    """Runs the pages side by side, since most of their time is waiting. Returns how many failed."""
    wanted = {"run", "server", "config"}
    names = [name for name, found in read.items() if any(wanted & set(x.tags) for x in found)]
    failed = 0
    with (
        tempfile.TemporaryDirectory(prefix="corecast-newcomer-") as copy,
        concurrent.futures.ThreadPoolExecutor(PAGES_AT_ONCE) as pool,
    ):
        copy_of_repository(pathlib.Path(copy))
        for output, code in pool.map(run_in_own_network, names, itertools.repeat(copy)):
            failed += code != 0
            print(output, end="", flush=True)
    return failed


def inside(name, found):
    """Runs one page, and says how it went. Returns the exit code."""
    raise_loopback()
    began = time.monotonic()
    try:
        count = run_page(name, found)
    except Failed as why:
        print(f"FAILED  {time.monotonic() - began:5.1f} s  {why}")
        return 1
    print(f"ok      {time.monotonic() - began:5.1f} s  {name}: {count} blocks")
    return 0


def run_slow(read):
    for block in (block for found in read.values() for block in found if block.has("slow")):
        print(f"== {block.place}\n{block.text}", flush=True)
        subprocess.run(["bash", "-euo", "pipefail", "-c", block.text], cwd=ROOT, check=True)


def unshare():
    command = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    return command if os.geteuid() == 0 else [*command, "--map-root-user"]


def may_unshare():
    try:
        subprocess.run([*unshare(), "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def raise_loopback():
    """A new network has a loopback interface, which is down."""
    get, put, is_up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("16sh14x", b"lo", 0)
        _, flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, get, asked))
        fcntl.ioctl(any_socket, put, struct.pack("16sh14x", b"lo", flags | is_up))


def main():
    names = [each for each in sys.argv[1:] if not each.startswith("--")] or pages()
    if INSIDE in os.environ:
        [name] = names
        return inside(name, blocks(name, (ROOT / name).read_text()))
    selfcheck.run()
    read, problems = read_all(names)
    problems += results_that_differ()
    lines = len((ROOT / "README.md").read_text().splitlines())
    if lines > README_LINES_MAX:
        problems.append(f"README.md: {lines} lines, of {README_LINES_MAX}: a page of docs/ has room")
    if problems:
        print("\n".join(problems))
        return 1
    if "--slow" in sys.argv[1:]:
        run_slow(read)
        return 0
    print(f"{sum(map(len, read.values()))} blocks of {len(read)} pages have tags and can be read")
    if not may_unshare():
        print("skipped: running them takes a network namespace (unshare --net), not allowed here")
        return SKIPPED
    return min(run_all(read), 1)


if __name__ == "__main__":
    sys.exit(main())
