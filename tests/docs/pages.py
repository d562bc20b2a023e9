"""Runs the code of documentation pages, block by block, as a reader would type it.

``python`` blocks are executed in one namespace a page; of ``sh`` blocks the lines that call ``tfgraphopt`` are run; a block
behind ``<!-- file: NAME -->`` is written to that file; one behind ``<!-- not run -->`` is left alone.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from tfgraphopt.cli import main

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(
    r"(?:^<!--\s*(?P<mark>[^\n]*?)\s*-->\n+)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


@attrs.frozen
class Block:
    """One fenced block: its language, its code, what the comment before it says, and the line it begins at."""

    language: str
    code: str
    mark: str
    line: int

    @property
    def file(self) -> str:
        """The file that it is the content of, if any."""
        return self.mark.removeprefix("file:").strip() if self.mark.startswith("file:") else ""

    @property
    def is_run(self) -> bool:
        """Whether a reader is to run it here."""
        return not self.file and self.mark != "not run"


def pages() -> list[Path]:
    """The README and every page that is written by hand."""
    found = sorted((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", *(p for p in found if not {"reference", "_build"} & set(p.parts))]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    text = page.read_text()
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        yield Block(match["language"], match["code"], match["mark"] or "", line)


def run_page(page: Path, namespace: dict[str, Any]) -> None:
    """Do everything that a page says, in the current directory; errors point into the page."""
    for block in blocks(page):
        if block.file:
            path = Path(block.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code)
        elif block.language == "python" and block.is_run:
            exec(compile("\n" * block.line + block.code, str(page), "exec"), namespace)
        elif block.language == "sh" and block.is_run:
            for command in commands(block.code):
                assert main(command) == 0, f"{page.name}:{block.line}: tfgraphopt {shlex.join(command)} failed"


def commands(code: str) -> Iterator[list[str]]:
    """The arguments of every ``tfgraphopt`` command of a shell block."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["tfgraphopt"]:
            yield words[1:]
