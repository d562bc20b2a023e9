"""What the converter tests tried: per op how many cases, of which element types, how many built, and every refusal.

``TFGRAPHOPT_BUILD=all TFGRAPHOPT_LEDGER=docs/conversions.json python -m pytest tests/converters`` writes the record that the page of
supported ops shows, and builds every accepted case (:mod:`converters.building`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs

from tfgraphopt.files import write_atomically
from tfgraphopt.ir import Node

VARIABLE = "TFGRAPHOPT_LEDGER"


@attrs.define
class Record:
    """What was tried of one op: ``emitted`` cases became networks that the builder has no kernels for, ``unbuilt`` is its reason."""

    cases: int = 0
    built: int = 0
    emitted: int = 0
    dtypes: set[str] = attrs.field(factory=set)
    refusals: set[str] = attrs.field(factory=set)
    unbuilt: set[str] = attrs.field(factory=set)


@attrs.define
class Ledger:
    """The record of a test session."""

    records: dict[str, Record] = attrs.field(factory=dict)

    def _of(self, op: str) -> Record:
        return self.records.setdefault(op, Record())

    def tried(self, node: Node, *, built: bool, emitted: bool = False) -> None:
        """``node`` was converted and its layers gave TensorFlow's numbers."""
        record = self._of(node.op)
        record.cases += 1
        record.built += built
        record.emitted += emitted
        first = [*node.inputs, *node.outputs][0]
        record.dtypes.add(first.dtype.tf_name)

    def unbuilt(self, op: str, why: str) -> None:
        """The builder refused the layers of a node of ``op``."""
        self._of(op).unbuilt.add(why)

    def refused(self, op: str, reason: str) -> None:
        """A node of ``op`` was refused for ``reason``."""
        self._of(op).refusals.add(reason)

    def write(self, path: Path) -> None:
        """As JSON, sorted."""
        tree: dict[str, Any] = {
            op: {
                "cases": r.cases, "built": r.built, "emitted": r.emitted, "dtypes": sorted(r.dtypes),
                "refusals": sorted(r.refusals), "unbuilt": sorted(r.unbuilt),
            }
            for op, r in sorted(self.records.items())
        }  # fmt: skip
        write_atomically(path, (json.dumps(tree, indent=1) + "\n").encode())


LEDGER = Ledger()
"""The one of this session; tests only."""
