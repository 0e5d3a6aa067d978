"""The fenced blocks of Markdown pages, and the tags that say what is done with each.

CONTRIBUTING.md has the table of tags. A tag is in the fence's info string, behind the language:
"```sh run". A block without a language and a plain text block are illustrations.
"""

import dataclasses
import re

# The tags of each language; file=NAME goes with those that can be saved.
TAGS = {
    "sh": {"run", "server", "parse", "slow"},
    "text": {"output"},
    "json": {"output", "parse", "file"},
    "yaml": {"config", "parse", "file"},
    "js": {"parse", "file"},
    "python": {"parse", "file"},
    "html": {"parse"},
    "rust": {"parse"},
    "nginx": {"parse"},
    "haproxy": {"parse"},
    "ini": {"parse"},
}
ILLUSTRATIONS = {"text", "json"}
FENCE = re.compile(r"^( *)(`{3,}|~{3,})(.*)$")


class BadPage(Exception):
    """A block that has no tag, or one that does not exist."""


@dataclasses.dataclass
class Block:
    page: str
    line: int
    language: str
    tags: tuple[str, ...]
    file: str | None
    text: str

    @property
    def place(self):
        return f"{self.page}:{self.line}"

    def has(self, tag):
        return tag in self.tags


def blocks(page, text):
    """The blocks of a page, in their order. Raises `BadPage` for the first bad one."""
    found, begun = [], None
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if begun is None:
            if fence:
                begun = (number, fence[1], fence[2], fence[3], [])
        elif fence and fence[2].startswith(begun[2]) and not fence[3].strip():
            found.append(tagged(page, begun))
            begun = None
        else:
            begun[4].append(line.removeprefix(begun[1]))
    if begun:
        raise BadPage(f"{page}:{begun[0]}: the block does not end")
    for before, block in zip([None, *found], found):
        if block.has("output") and not (before and (before.has("run") or before.has("server"))):
            raise BadPage(f"{block.place}: no block that is run comes before this output")
    return found


def tagged(page, begun):
    """The block of these lines, if its tags are right."""
    number, _, _, info, lines = begun
    language, *words = info.split() or [""]
    names = [word.removeprefix("file=") for word in words if word.startswith("file=")]
    tags = tuple(word for word in words if not word.startswith("file="))
    known = TAGS.get(language, set())
    wrong = [tag for tag in tags if tag not in known]
    place = f"{page}:{number}"
    if language not in TAGS:
        raise BadPage(f"{place}: {language!r} is not one of {', '.join(sorted(TAGS))}")
    if wrong or len(tags) > 1 or len(names) > 1 or (names and "file" not in known):
        raise BadPage(f"{place}: {info.strip()!r}: {language} takes {', '.join(sorted(known))}")
    if not words and language not in ILLUSTRATIONS:
        raise BadPage(f"{place}: this block of {language} needs a tag: {', '.join(sorted(known))}")
    if names and ("/" in names[0] or names[0].startswith(".")):
        raise BadPage(f"{place}: a block is saved in the working directory, not as {names[0]}")
    text = "".join(f"{line}\n" for line in lines)
    return Block(page, number, language, tags, names[0] if names else None, text)


def agrees(expected, actual):
    """Whether output is as a page has it: "…" stands for anything within a line, and for any
    number of lines if it is a line by itself. Blanks at the ends of lines do not count."""
    pattern = ""
    for line in expected.strip("\n").splitlines():
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            parts = (re.escape(part) for part in line.rstrip().split("…"))
            pattern += r"[^\n]*".join(parts) + r"\n"
    text = "".join(f"{line.rstrip()}\n" for line in actual.strip("\n").splitlines())
    return re.fullmatch(pattern, text) is not None
