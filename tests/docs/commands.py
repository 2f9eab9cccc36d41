"""The commands of a page of docs, as a shell script that runs them in the order in which they are printed.

A block of commands is indented by four spaces.  A comment right above it says what a test does otherwise:

    <!-- docs-test
    before: cp demo/sample.h5 scan.h5        # runs first: what the page takes for granted
    before --join: python ratings.py         # runs right before the lines with --join
    replace: --samples 16 => --samples 2     # a smaller size, in every line of the block
    skip --to: needs a PACS                  # leaves out the lines with --to; without a word, the block
    pacs --to: Orthanc at localhost:4242     # runs these lines only where a test has started a PACS
    slow: compiles for a minute              # the block runs in slow tests only
    may fail: exit code 3 is what it shows   # any exit code will do
    -->

`<!-- docs-test skips this page: why -->` on a line of its own leaves out a whole page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["Block", "blocks", "script"]

# First words of a line that is a command; other indented blocks are equations, trees and texts.
COMMANDS = re.compile(
    r"(\.venv/bin/|build/(\w+/)*)?((mrunfold\w*|python3?|pip|pytest|make|git|cmake|cd|source)\b|[A-Z]+=)"
)
PIECES = re.compile(
    r"(^<!-- docs-test\n.*?^-->\n|^```.*?^```\n|(?:(?<=\n\n)|\A)(?:^    [^\n]*\n)+)", re.M | re.S
)
RULE = re.compile(r"(before|replace|skip|pacs|slow|may fail)(?: ([^:]+))?: (.+)")


@dataclass
class Block:
    """Commands, or a Python example, with what a test does otherwise."""

    lines: list[str]
    python: bool = False
    before: list[str] = field(default_factory=list)
    replace: list[tuple[str, str]] = field(default_factory=list)
    skip: list[str] = field(default_factory=list)  # words of lines to leave out, "" for all
    pacs: list[str] = field(default_factory=list)  # words of lines that need a PACS, "" for all
    first: list[tuple[str, str]] = field(default_factory=list)  # word of a line, what runs before it
    slow: bool = False
    may_fail: bool = False

    @property
    def commands(self) -> list[str]:
        """The lines to run where there is no PACS."""
        return self.lines_to_run(pacs=False)

    def lines_to_run(self, pacs: bool) -> list[str]:
        """The lines to run: continued lines joined, words replaced, what is skipped left out."""
        found = []
        text = "\n".join(self.lines)
        left_out = self.skip if pacs else self.skip + self.pacs
        for line in (text if self.python else text.replace("\\\n", " ")).split("\n"):
            if any(word in line for word in left_out):
                continue
            found += [command for word, command in self.first if word in line]
            for old, new in self.replace:
                line = line.replace(old, new)
            found.append(line)
        return found


def blocks(text: str) -> list[Block]:
    """Return the blocks of commands and of Python of a Markdown page, in its order.

    Raises ValueError for a rule that changes nothing, so that no rule outlives what it was for.
    """
    found: list[Block] = []
    rules = ""
    if re.search(r"^<!-- docs-test skips this page: .+ -->$", text, re.M):
        return found
    for piece in PIECES.split(text):
        block = None
        if piece.startswith("<!-- docs-test"):
            rules = piece
            continue
        if piece.startswith("```python"):
            block = Block(piece.split("\n")[1:-2], python=True)
        elif piece.startswith("    ") and COMMANDS.match(piece[4:]):
            block = Block([line[4:] for line in piece.rstrip("\n").split("\n")])
        if block is not None:
            _obey(block, rules)
            found.append(block)
        if block is not None or piece.strip():
            if rules and block is None:
                raise ValueError(f"no commands follow this comment: {rules}")
            rules = ""
    return found


def _obey(block: Block, rules: str) -> None:
    text = "\n".join(block.lines)
    for line in rules.split("\n")[1:-2]:
        rule = RULE.fullmatch(line.strip())
        if rule is None:
            raise ValueError(f"not a rule of docs-test: {line!r}")
        kind, word, rest = rule.groups()
        if word is not None and word not in text:
            raise ValueError(f"nothing to {kind}: {word!r} is not in the block\n{text}")
        if kind == "before" and word is not None:
            block.first.append((word, rest))
        elif kind == "before":
            block.before.append(rest)
        elif kind == "replace":
            old, new = rest.split(" => ") if " => " in rest else (rest.removesuffix(" =>"), "")
            if old not in text:
                raise ValueError(f"nothing to replace: {old!r} is not in the block\n{text}")
            block.replace.append((old, new))
        elif kind == "skip":
            block.skip.append(word or "")
        elif kind == "pacs":
            block.pacs.append(word or "")
        elif kind == "slow":
            block.slow = True
        else:
            block.may_fail = True


def script(page: list[Block], slow: bool, pacs: bool = False) -> str:
    """Return a bash script of a page's blocks that stops at the first command that fails.

    slow, pacs: with the blocks that take long, and the lines that need a PACS.
    """
    lines = ["set -euo pipefail"]
    for block in page:
        if block.slow and not slow:
            continue
        lines += block.before
        if block.python:
            if block.commands:
                lines += ["python - <<'EXAMPLE'", *block.commands, "EXAMPLE"]
            continue
        for command in block.lines_to_run(pacs):
            echo = f"printf '%s\\n' {_quoted('$ ' + command)}"
            lines += [echo, f"{command} || true" if block.may_fail else command]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
