"""The exceptions tfgraphopt raises: what happened, where, why and what to do, one small tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self


class TfGraphOptError(Exception):
    """Base of every error tfgraphopt raises on purpose.

    The message says what happened; ``where`` names the user's own nodes, ``why`` gives the cause and ``hint`` what to do.
    """

    def __init__(self, what: str, *, where: Sequence[str] = (), why: str = "", hint: str = "") -> None:
        self.what = what
        self.where = tuple(where)
        self.why = why
        self.hint = hint
        super().__init__(self._text())

    def _text(self) -> str:
        parts = [self.what]
        if self.where:
            shown = ", ".join(self.where[:8]) + (f" and {len(self.where) - 8} more" if len(self.where) > 8 else "")
            parts.append(f"where: {shown}")
        if self.why:
            parts.append(f"why: {self.why}")
        if self.hint:
            parts.append(f"what to do: {self.hint}")
        return "\n  ".join(parts)

    def at(self, where: Sequence[str]) -> Self:
        """The error itself, which now says where: for who finds out after the fact."""
        self.where = tuple(where)
        self.args = (self._text(),)
        return self


class GraphDefError(TfGraphOptError):
    """The input is not a GraphDef that can be imported; ``where`` lists every node at fault."""


class InvalidGraph(TfGraphOptError):
    """The IR breaks its own rules; ``violations`` lists all of them."""

    def __init__(self, what: str, violations: Sequence[str]) -> None:
        self.violations = tuple(violations)
        super().__init__(what, why="\n    ".join(("", *self.violations)) if violations else "")


class ParseError(TfGraphOptError):
    """A text (IR or pipeline) does not parse; the message shows the line and column."""


class MutationError(TfGraphOptError):
    """A mutation of the IR was refused because it would break an invariant."""


class PipelineError(TfGraphOptError):
    """A pipeline is impossible or wrongly ordered; the message names the passes."""


class PassFailed(TfGraphOptError):
    """A pass raised; the cause is chained and ``pass_name`` says which one it was."""

    def __init__(self, pass_name: str, what: str, *, where: Sequence[str] = (), why: str = "", hint: str = "") -> None:
        self.pass_name = pass_name
        super().__init__(what, where=where, why=why, hint=hint)


class PluginError(TfGraphOptError):
    """A plugin could not be loaded, or contributed something wrong; names plugin, distribution, version and hook."""


class ConfigError(TfGraphOptError, ValueError):
    """An argument of a call, a flag or a configuration file is wrong."""


class MissingDependency(TfGraphOptError, ImportError):
    """An optional package is not installed; the hint names the extra that brings it."""


class NativeBuildError(TfGraphOptError):
    """A C++ op could not be compiled or loaded; the compiler's own output is in ``why``."""


class EngineBuildFailed(TfGraphOptError):
    """The engine builder refused a segment; ``why`` is the builder's own log."""
