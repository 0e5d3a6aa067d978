"""Checks of blocks that are not run: by the program that reads them if it is here, or by hand."""

import configparser
import html.parser
import json
import pathlib
import re
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Wrong(Exception):
    """A block that its reader would not understand."""


def ask(command, text=None, name="block"):
    """Gives a block to a program, on its standard input or as the file "{}"."""
    if not shutil.which(command[0]):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / name
        path.write_text(text)
        asked = [part.replace("{}", str(path)) for part in command]
        ran = subprocess.run(
            asked, input=text, capture_output=True, text=True, timeout=60, check=False
        )
    if ran.returncode != 0:
        raise Wrong(ran.stderr.strip() or ran.stdout.strip())


def check_sh(text):
    ask(["bash", "-n", "{}"], text)


def check_js(text):
    ask(["node", "--check", "{}"], text, "block.mjs")


def check_python(text):
    compile(text, "block", "exec")


def check_json(text):
    json.loads(text)


class Scripts(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.scripts = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            raise Wrong(f"</{tag}> ends nothing")

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)


def check_html(text):
    page = Scripts()
    page.feed(text)
    page.close()
    if page.open:
        raise Wrong(f"not closed: {page.open}")
    for script in page.scripts:
        check_js(script)


def check_rust(text):
    """Items as they stand, or statements of a function."""
    formatter = ["rustfmt", "--edition", "2024", "--quiet"]
    try:
        ask(formatter, text)
    except Wrong:
        ask(formatter, f"fn block() {{\n{text}\n}}\n")


def check_nginx(text):
    if text.count("{") != text.count("}"):
        raise Wrong("braces do not match")
    code = re.sub(r"#.*", "", text)
    bad = [line for line in code.splitlines() if line.strip() and line.rstrip()[-1] not in "{};"]
    if bad:
        raise Wrong(f"not a directive: {bad[0]}")


def check_haproxy(text):
    sections = ("backend ", "frontend ", "listen ", "defaults", "global")
    for line in filter(str.strip, text.splitlines()):
        if not line.startswith((*sections, "    ", "#")):
            raise Wrong(f"neither a section nor indented: {line}")


def check_ini(text):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise Wrong(str(error)) from error
    if not parser.sections():
        raise Wrong("a file without a section")


def check_yaml(text):
    """Without a parser for YAML: tabs, and quotes and brackets that do not match."""
    for line in text.splitlines():
        code = re.sub(r"(^|\s)#.*", "", line)
        if "\t" in line or code.count('"') % 2 or code.count("{") != code.count("}"):
            raise Wrong(f"not YAML: {line}")


CHECKS = {
    name.removeprefix("check_"): check
    for name, check in list(globals().items())
    if name.startswith("check_")
}


def programs_of(text):
    """The scripts of this repository that a block of `sh` calls."""
    return re.findall(r"(?m)^\s*(scripts/[\w-]+)", text)


def check(block):
    """Raises `Wrong` if the block cannot be read. Output is compared instead."""
    if block.has("output"):
        return
    CHECKS.get(block.language, lambda _: None)(block.text)
    if block.language == "sh":
        for program in programs_of(block.text):
            if not (ROOT / program).is_file():
                raise Wrong(f"{program} does not exist")
