"""New names for functions that passes have changed.

An eager context holds one function a name for as long as the process lives, and refuses another one of that name: a changed function
must not go by the name under which the caller's model may have registered the original.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfgraphopt.ir import AttrValue, FuncRef, Graph, Module
from tfgraphopt.ir.pack import fingerprint

_DIGITS = 12


def rename_changed_functions(module: Module) -> None:
    """Let every imported function that is not what it was when it was imported end in a digest of what it is now.

    So do new functions that refer to such a one. Functions that nodes call by their op keep their names.
    """
    ops = {node.op for graph in module.graphs("tf") for node in graph}
    renamed: set[str] = set()
    for name in list(_callees_first(module)):
        function = module.functions[name]
        if name not in ops and (is_changed(function) or renamed.intersection(_called(function, module))):
            renamed.add(f"{name}_{fingerprint(function)[:_DIGITS]}")
            _rename(module, function, f"{name}_{fingerprint(function)[:_DIGITS]}")


def is_changed(function: Graph) -> bool:
    """Whether ``function`` was imported and has changed since."""
    return isinstance(function.source, tuple) and function.source[1] != function.version


def _callees_first(module: Module) -> Iterator[str]:
    done: dict[str, bool] = {}
    for root in module.functions:
        stack = [root]
        while stack:
            name = stack[-1]
            waiting = [] if name in done else [n for n in _called(module.functions[name], module) if n not in done]
            done.setdefault(name, False)
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            if not done[name]:
                done[name] = True
                yield name


def _called(function: Graph, module: Module) -> list[str]:
    return [n for node in function for v in node.attrs.values() for n in _names(v) if n in module.functions]


def _names(value: AttrValue) -> Iterator[str]:
    if isinstance(value, tuple):
        for item in value:
            yield from _names(item)
    elif isinstance(value, FuncRef):
        yield value.name


def _rename(module: Module, function: Graph, new: str) -> None:
    old = function.name
    module.functions.pop(old)
    function.name = new
    module.add_function(function)
    for graph in module.graphs("tf"):
        for node in graph:
            for key, value in node.attrs.items():
                if old in _names(value):
                    node.set_attr(key, _replaced(value, old, new))
    module.gradients = tuple((new if f == old else f, new if g == old else g) for f, g in module.gradients)


def _replaced(value: AttrValue, old: str, new: str) -> AttrValue:
    if isinstance(value, tuple):
        return tuple(_replaced(item, old, new) for item in value)
    if isinstance(value, FuncRef):
        return FuncRef(new if value.name == old else value.name, value.attrs)
    return value
