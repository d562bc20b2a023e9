"""The installed TensorRT in the disguise of another: it has what the other has, and checks calls by that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np

_SIGNATURE = r"^(?:\d+\. )?{}\((.*)\) -> "
_NUMBERS = {"int", "SupportsInt", "SupportsIndex", "float", "SupportsFloat"}
_SEQUENCES = {"Sequence", "List", "Dims", "Permutation"}
_BUFFERS = {"buffer", "Buffer"}
_ACCEPTED = {
    bool: {"bool"}, int: _NUMBERS, float: {"float", "SupportsFloat"}, str: {"str"}, bytes: _BUFFERS,
    list: _SEQUENCES, tuple: {"tuple", *_SEQUENCES}, np.ndarray: {"Weights", "ndarray"},
}  # fmt: skip
_ENUMS = "__members__"


@attrs.define(slots=True)
class Target:
    """The bindings to look like (``facts`` of bindings_facts.py), and the calls that they would not take."""

    facts: dict[str, Any]
    problems: list[str] = attrs.field(factory=list)

    def has(self, owner: str, name: str) -> bool:
        """Whether class ``owner`` (the module for "") has attribute ``name``."""
        return name in self.facts.get(owner, {})

    def check_call(self, owner: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note a call that no signature of ``owner.name`` takes."""
        doc = self.facts.get(owner, {}).get(name, {"doc": ""})["doc"]
        signatures = re.findall(_SIGNATURE.format(re.escape(name)), doc, re.MULTILINE)
        if not any(_takes(list(_parameters(s)), args, kwargs) for s in signatures):
            given = ", ".join([type(a).__name__ for a in args] + [f"{k}={type(v).__name__}" for k, v in kwargs.items()])
            self.problems.append(f"{owner}.{name}({given}); there is {signatures}")

    def check_set(self, owner: str, name: str) -> None:
        """Note an assignment to what cannot be set."""
        if not self.facts.get(owner, {}).get(name, {"settable": False})["settable"]:
            self.problems.append(f"{owner}.{name} = ... ")


def _parameters(signature: str) -> Iterator[tuple[str, str, bool]]:
    """(name, type, has a default) of each parameter but self."""
    for part in re.split(r", (?=\w+: )", signature)[1:]:
        name, _, annotation = part.partition(": ")
        kind, _, default = annotation.partition(" = ")
        yield name, re.split(r"[.:]+", re.sub(r"\[.*", "", kind))[-1], bool(default)


def _takes(parameters: list[tuple[str, str, bool]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    names = [name for name, _, _ in parameters]
    if len(args) > len(names) or not set(kwargs) <= set(names[len(args) :]):
        return False
    given = dict(zip(names, args, strict=False)) | kwargs
    return all(_fits(given[n], kind) if n in given else default for n, kind, default in parameters)


def _fits(value: Any, kind: str) -> bool:
    classes = {c.__name__ for c in type(value).__mro__}
    return kind in _ACCEPTED.get(type(value), set()) | classes or (kind == "Weights" and isinstance(value, np.ndarray))


class Disguised:
    """An object, class or module of the bindings, seen through a :class:`Target`."""

    def __init__(self, real: Any, target: Target, owner: str) -> None:
        object.__setattr__(self, "_seen", (real, target, owner))

    def __getattr__(self, name: str) -> Any:
        real, target, owner = object.__getattribute__(self, "_seen")
        if not target.has(owner, name):
            raise AttributeError(f"{owner or 'module'} has no {name!r} in {target.facts['version']}")
        value = getattr(real, name)
        if name.startswith("__") or (owner == "" and name == "ILogger"):
            return value
        return _method(value, target, owner, name) if _is_method(value) else disguise(value, target)

    def __setattr__(self, name: str, value: Any) -> None:
        real, target, owner = object.__getattribute__(self, "_seen")
        if name == "__class__":
            object.__setattr__(self, "_seen", (real, target, reveal(value).__name__))
        else:
            target.check_set(owner, name)
        setattr(real, name, reveal(value))

    def __call__(self, *args: Any) -> Any:
        real, target, _ = object.__getattribute__(self, "_seen")
        return disguise(real(*map(reveal, args)), target)

    def __bytes__(self) -> bytes:
        return bytes(object.__getattribute__(self, "_seen")[0])


def _is_method(value: Any) -> bool:
    return callable(value) and not isinstance(value, type)


def _method(value: Any, target: Target, owner: str, name: str) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = tuple(map(reveal, args)), {k: reveal(v) for k, v in kwargs.items()}
        target.check_call(owner, name, args, kwargs)
        return disguise(value(*args, **kwargs), target)

    return call


def disguise(value: Any, target: Target) -> Any:
    """``value`` disguised if it is a class or an object of the bindings; enum members and plain values stay."""
    kind = value if isinstance(value, type) else type(value)
    if not kind.__module__.startswith("tensorrt") or (not isinstance(value, type) and hasattr(kind, _ENUMS)):
        return value
    if kind.__name__ in ("Dims", "Permutation", "Weights") and not isinstance(value, type):
        return value
    return Disguised(value, target, kind.__name__)


def reveal(value: Any) -> Any:
    """What is behind a disguise, in lists too."""
    if type(value) in (list, tuple):
        return type(value)(map(reveal, value))
    return object.__getattribute__(value, "_seen")[0] if type(value) is Disguised else value
