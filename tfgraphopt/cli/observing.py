"""Instruments that a command line asks for: dumps, op counts, a journal, and always a reproducer of what fails."""

from __future__ import annotations

import argparse
import json
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from tfgraphopt.explanation import Watcher
    from tfgraphopt.instruments import Journal, OpCountDiff
    from tfgraphopt.optimization import Result
    from tfgraphopt.passes import Instrument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--dump``, ``--op-counts``, ``--journal``, ``--reproducer``."""
    group = parser.add_argument_group("what happens inside")
    group.add_argument(
        "--dump", type=Path, metavar="DIR", help="write the IR after every pass that changes it, and the difference"
    )
    group.add_argument(
        "--op-counts", action="store_true", help="print how passes change the number of nodes of every op"
    )
    group.add_argument(
        "--journal", type=Path, metavar="FILE",
        help="write which pass and rule made, changed or removed which node: a line each, or JSON if the name ends in .json",
    )  # fmt: skip
    group.add_argument(
        "--reproducer", type=Path, metavar="DIR",
        help="where to write what is needed to see a failure again (default: a new directory among the temporary files)",
    )  # fmt: skip


@attrs.frozen(slots=True)
class Observed:
    """The instruments of one run and what is to be done with what they saw."""

    instruments: tuple[Instrument, ...]
    counts: OpCountDiff | None
    journal: Journal | None
    journal_path: Path | None
    watcher: Watcher | None = None
    page_path: Path | None = None

    @classmethod
    def of(cls, options: argparse.Namespace) -> Observed:
        """What the arguments ask for."""
        from tfgraphopt.instruments import Dump, Journal, OpCountDiff, Reproducer

        counts = OpCountDiff() if options.op_counts else None
        journal = Journal() if options.journal else None
        dump = Dump(options.dump) if options.dump else None
        watcher = _watcher() if options.html else None
        chosen = [i for i in (counts, journal, dump, watcher) if i is not None]
        around = (*chosen, Reproducer(options.reproducer or _fresh_path()))
        return cls(around, counts, journal, options.journal, watcher, options.html)

    def write_page(self, result: Result, title: str) -> None:
        """Write the page that explains ``result``, when one is asked for."""
        from tfgraphopt.explanation import write_page

        if self.watcher is not None and self.page_path is not None:
            write_page(self.watcher.explanation(result), self.page_path, title)

    def finish(self) -> dict[str, Any]:
        """Write the journal; what there is to add to a report in JSON."""
        from tfgraphopt.files import write_atomically

        if self.journal is not None and self.journal_path is not None:
            events = self.journal.events
            if self.journal_path.suffix == ".json":
                text = json.dumps([attrs.asdict(e) for e in events], indent=1)
            else:
                text = "".join(f"{e}\n" for e in events)
            write_atomically(self.journal_path, text.encode())
        if self.counts is None:
            return {}
        return {"op_counts": [attrs.asdict(c) for c in (*self.counts.changes, self.counts.total)]}

    def lines(self) -> list[str]:
        """What there is to print."""
        return [] if self.counts is None else str(self.counts).splitlines()


def _watcher() -> Watcher:
    from tfgraphopt.explanation import Watcher

    return Watcher()


def _fresh_path() -> Path:
    """A path that nobody else has; the directory is made only when something fails."""
    return Path(tempfile.gettempdir()) / f"tfgraphopt-{secrets.token_hex(6)}"
