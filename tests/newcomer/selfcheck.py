"""The rules of this test, each shown something that it must find."""

from blocks import BadPage, agrees, blocks
from syntax import Wrong, check

BAD_PAGES = {
    "a block without a tag": "```sh\nls\n```\n",
    "a tag that does not exist": "```sh runs\nls\n```\n",
    "a language that does not exist": "```fortran run\nls\n```\n",
    "two tags": "```sh run parse\nls\n```\n",
    "a file outside the folder": "```js file=../a.mjs\n1\n```\n",
    "output of nothing": "```text output\na\n```\n",
    "output of what is not run": "```sh parse\nls\n```\n\n```text output\na\n```\n",
    "a block that does not end": "```sh run\nls\n",
}
UNREADABLE = (
    "```sh parse\nif true\n```\n",
    "```sh slow\nscripts/of-nobody\n```\n",
    "```python parse\ndef\n```\n",
    "```json parse\n{\n```\n",
    "```html parse\n<p></b>\n```\n",
    "```nginx parse\nlocation / {\n```\n",
    "```haproxy parse\nserver a b\n```\n",
    "```ini parse\na = b\n```\n",
    "```yaml parse\na: {b\n```\n",
)
AGREES = (
    ("a\n", "a\n", True),
    ("a\n", "b\n", False),
    ("a …\n", "a 17 s\n", True),
    ("a …\n", "b 17 s\n", False),
    ("…\nb\n", "x\ny\nb\n", True),
    ("…\nb\n", "x\ny\n", False),
    ("a\n", "a\nb\n", False),
    ("a.c\n", "abc\n", False),
    ("a\n\nb\n", "a\n  \nb  \n\n", True),
)


def run():
    for what, page in BAD_PAGES.items():
        try:
            blocks("page", page)
        except BadPage:
            continue
        raise AssertionError(f"not found: {what}")
    for page in UNREADABLE:
        [block] = blocks("page", page)
        try:
            check(block)
        except (Wrong, ValueError, SyntaxError):
            continue
        raise AssertionError(f"readable: {page}")
    for expected, actual, is_equal in AGREES:
        assert agrees(expected, actual) is is_equal, (expected, actual)
    [block] = blocks("page", "text\n\n```js file=a.mjs\nlet a;\n```\n")
    assert (block.file, block.text, block.line) == ("a.mjs", "let a;\n", 3)
