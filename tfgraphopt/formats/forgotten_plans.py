"""Takes the plans that :mod:`tfgraphopt.formats.plan_files` has registered in a SavedModel out of it again.

A model that is optimised again keeps some of its engines, or none; what is left is registered anew. The objects, files and functions of
registrations are the last ones of a model, so nothing else has to be renumbered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tfgraphopt.formats.signature import INITIALISER

SCOPE = "tfgraphopt_plans"


def forget_plans(meta: Any, register: str) -> frozenset[str]:
    """Remove the registrations by op ``register``; the names of the files that they were of.

    Those of a model that TensorFlow has saved again since are in a form of its own: they stay.
    """
    scopes = [n.name.rpartition("/")[0] for n in meta.graph_def.node if n.op == register and n.name.startswith(SCOPE)]
    if not scopes or not (_are_last_files(meta, scopes) and _are_last_objects(meta, scopes)):
        return frozenset()
    for scope in reversed(scopes):  # a later one's initialiser runs the earlier one's
        _forget_initialiser(meta, scope)
    _forget_objects(meta, scopes)
    return frozenset(_forget_files(meta, scopes))


def _files(meta: Any, scopes: Sequence[str]) -> list[int]:
    named = [a.tensor_info.name.partition("/")[0] for a in meta.asset_file_def]
    return [index for index, scope in enumerate(named) if scope in scopes]


def _are_last_files(meta: Any, scopes: Sequence[str]) -> bool:
    every, ours = len(meta.asset_file_def), _files(meta, scopes)
    return ours == list(range(every - len(ours), every))


def _objects(meta: Any, scopes: Sequence[str]) -> Iterator[tuple[str, int]]:
    nodes = meta.object_graph_def.nodes
    return ((c.local_name, c.node_id) for c in (nodes[0].children if nodes else ()) if c.local_name in scopes)


def _are_last_objects(meta: Any, scopes: Sequence[str]) -> bool:
    nodes, found = meta.object_graph_def.nodes, dict(_objects(meta, scopes))
    if not nodes:
        return True
    if found.keys() != set(scopes):
        return False
    return len(nodes) - min(found.values()) == sum(1 + len(nodes[index].children) for index in found.values())


def _forget_initialiser(meta: Any, scope: str) -> None:
    """Whoever ran it runs what it ran besides."""
    (done,) = (n for n in meta.graph_def.node if n.name == f"{scope}/init")
    others = [name.removeprefix("^") for name in done.input if name != f"^{scope}/register"]
    _replace(meta, done.name, others)
    left = [n for n in meta.graph_def.node if n.name.rpartition("/")[0] != scope]
    del meta.graph_def.node[:]
    meta.graph_def.node.extend(left)


def _replace(meta: Any, name: str, others: Sequence[str]) -> None:
    for node in meta.graph_def.node:
        if f"^{name}" in node.input:
            node.input[:] = [*(i for i in node.input if i != f"^{name}"), *(f"^{other}" for other in others)]
    for key, collection in list(meta.collection_def.items()):
        if name in collection.node_list.value:
            rest = [*(v for v in collection.node_list.value if v != name), *others]
            collection.node_list.value[:] = rest
            if not rest:
                del meta.collection_def[key]
    outputs = meta.signature_def[INITIALISER].outputs if INITIALISER in meta.signature_def else {}
    if any(tensor.name.partition(":")[0] == name for tensor in outputs.values()):
        if others:
            outputs[INITIALISER].name = others[0]
        else:
            del meta.signature_def[INITIALISER]


def _forget_objects(meta: Any, scopes: Sequence[str]) -> None:
    saved = meta.object_graph_def
    if not saved.nodes:
        return
    first = min(index for _, index in _objects(meta, scopes))
    gone = {n.bare_concrete_function.concrete_function_name for n in saved.nodes[first:]} - {""}
    kept = [child for child in saved.nodes[0].children if child.local_name not in scopes]
    del saved.nodes[0].children[:]
    saved.nodes[0].children.extend(kept)
    del saved.nodes[first:]
    for name in gone:
        del saved.concrete_functions[name]
    functions = [f for f in meta.graph_def.library.function if f.signature.name not in gone]
    del meta.graph_def.library.function[:]
    meta.graph_def.library.function.extend(functions)


def _forget_files(meta: Any, scopes: Sequence[str]) -> list[str]:
    ours = _files(meta, scopes)
    names = [meta.asset_file_def[index].filename for index in ours]
    del meta.asset_file_def[len(meta.asset_file_def) - len(ours) :]
    return names
