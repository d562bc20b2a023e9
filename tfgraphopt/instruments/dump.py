"""Dump: the IR after every pass that changed it, and what changed, as files."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import attrs

from tfgraphopt.ir import Graph
from tfgraphopt.ir.text import print_module
from tfgraphopt.passes import Context, Pass, Quiet


@attrs.define(slots=True, eq=False)
class Dump(Quiet):
    """Write ``000_input.ir``, then ``NNN_pass.ir`` and ``NNN_pass.diff`` (unified) for each run that changed something.

    ``directory`` is made if need be; runs that change nothing take a number but write no file.
    """

    directory: Path = attrs.field(converter=Path)
    context_lines: int = 1
    _text: str = attrs.field(default="", init=False)
    _version: int = attrs.field(default=-1, init=False)
    _run: int = attrs.field(default=0, init=False)

    def enter(self, ctx: Context) -> None:
        """Write what comes in."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._run = 0
        self._text, self._version = print_module(ctx.module), ctx.module.version
        (self.directory / "000_input.ir").write_text(self._text)

    def after(self, step: Pass, graph: Graph, ctx: Context) -> None:
        """Write what ``step`` made of it."""
        self._write(step.name, graph, ctx)

    def failed(self, step: Pass, graph: Graph, ctx: Context, error: BaseException, rest: object) -> None:
        """Write the state that ``step`` left behind."""
        self._write(f"{step.name}_failed", graph, ctx)

    def _write(self, what: str, graph: Graph, ctx: Context) -> None:
        self._run += 1
        if ctx.module.version == self._version:
            return
        before, self._text, self._version = self._text, print_module(ctx.module), ctx.module.version
        part = "" if graph is ctx.module.main else "_" + re.sub(r"[^A-Za-z0-9_.-]", "_", graph.name)[:60]
        stem = f"{self._run:03}_{what}{part}"
        (self.directory / f"{stem}.ir").write_text(self._text)
        changed = difflib.unified_diff(
            before.splitlines(True), self._text.splitlines(True), "before", f"after {what}", n=self.context_lines
        )
        (self.directory / f"{stem}.diff").write_text("".join(changed))
