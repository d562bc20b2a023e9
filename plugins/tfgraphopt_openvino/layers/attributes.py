"""Typed access to the attributes of layers."""

from __future__ import annotations

from typing import Any

from tfgraphopt.ir import Node


def ints(node: Node, name: str) -> list[int]:
    """A list of integers; empty when the attribute is not there."""
    value: Any = node.attrs.get(name)
    return [] if value is None else [int(v) for v in value]


def integer(node: Node, name: str) -> int:
    """An integer."""
    value: Any = node.attrs[name]
    return int(value)


def number(node: Node, name: str) -> float:
    """A float."""
    value: Any = node.attrs[name]
    return float(value)


def text(node: Node, name: str) -> str:
    """A word."""
    return str(node.attrs[name])


def flag(node: Node, name: str) -> bool:
    """A boolean; False when the attribute is not there."""
    return bool(node.attrs.get(name, False))
