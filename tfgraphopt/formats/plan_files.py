"""Engine plans of a SavedModel as assets: every plan a file of its own, which the model's initialiser names to the engine op.

The initialiser exists twice, as everything in a SavedModel of TensorFlow 2: in the main graph for sessions and TensorFlow Serving, and
as an object with an ``_initialize`` function for ``tf.saved_model.load``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tfgraphopt.errors import GraphDefError
from tfgraphopt.files import write_atomically
from tfgraphopt.formats.forgotten_plans import SCOPE, forget_plans
from tfgraphopt.formats.signature import INITIALISER
from tfgraphopt.ir import DType
from tfgraphopt.runtimes import PlanAttributes

_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")


def move_plans(meta: Any, directory: Path, runtimes: Sequence[PlanAttributes], others: Sequence[Any] = ()) -> None:
    """Move the plans of all engine nodes of a MetaGraphDef into assets of the SavedModel in ``directory``.

    Plans that are there already are registered anew, and those that no node has any more are deleted, unless ``others``, the model's
    other meta graphs, have them.

    Raises:
        GraphDefError: a plan that is kept in a file cannot be read.
    """
    for runtime in runtimes:
        there = forget_plans(meta, runtime.register)
        plans = dict(_moved(meta, directory, runtime, there))
        if plans:
            _register(meta, plans, runtime.register)
        for name in there.difference(plans.values(), (a.filename for other in others for a in other.asset_file_def)):
            (directory / "assets" / name).unlink(missing_ok=True)
    _leave_note([meta, *others], directory, runtimes)


def _moved(meta: Any, directory: Path, runtime: PlanAttributes, there: frozenset[str]) -> Iterator[tuple[str, str]]:
    """(digest, file name) of every plan, written."""
    for node in _nodes(meta):
        if node.op not in runtime.ops:
            continue
        if (name := node.attr[runtime.path].s.decode().removeprefix("assets/")) in there:
            yield node.attr[runtime.digest].s.decode(), name
            continue
        plan = node.attr[runtime.data].s or _read(node, runtime)
        if not plan:
            continue
        digest = hashlib.sha256(plan).hexdigest()
        name = f"{digest}.plan"
        if not (directory / "assets" / name).exists():
            write_atomically(directory / "assets" / name, plan)
        node.attr[runtime.data].s = b""
        node.attr[runtime.digest].s = digest.encode()
        node.attr[runtime.path].s = f"assets/{name}".encode()
        yield digest, name


def _leave_note(metas: Sequence[Any], directory: Path, runtimes: Sequence[PlanAttributes]) -> None:
    """What a person needs to know who finds the model and not who made it; none where it needs nothing."""
    known = [op for runtime in runtimes for op in (*runtime.ops, runtime.register)]
    found = {node.op for meta in metas for node in _nodes(meta)}
    ops = [op for op in known if op in found]
    note = directory / NOTE
    if ops:
        write_atomically(note, _NOTE.format(ops="' or '".join(ops)).encode())
    elif note.exists() and note.read_text().startswith(_TITLE):
        note.unlink()


NOTE = "assets.extra/README.md"
"""In the folder that a SavedModel keeps for files which are not of the graph."""
_TITLE = "# This model has engines of tfgraphopt in it\n"
_NOTE = f"""{_TITLE}
TensorFlow alone does not know the op that runs them. Loading the model without it ends with

    Op type not registered '{{ops}}'

so import tfgraphopt in every process that loads the model, before or after TensorFlow:

    import tensorflow as tf
    import tfgraphopt  # pip install tfgraphopt

    model = tf.saved_model.load("this directory")

The first process on a machine compiles the op. Where that does not work, a line of the log says why, and `import tfgraphopt.runtime`
raises it.

Where an engine cannot run, the segment of the original graph that it was made of runs in its place. The engines are in `assets/`; they are
executable code: load models from people you trust.
"""


def _nodes(meta: Any) -> Iterator[Any]:
    yield from meta.graph_def.node
    for function in meta.graph_def.library.function:
        yield from function.node_def


def _read(node: Any, runtime: PlanAttributes) -> bytes:
    """A plan that was put into a file because the graph would have become too large; none of a model that brings its own."""
    path = Path(node.attr[runtime.path].s.decode())
    if not path.name or not path.is_absolute():
        return b""
    try:
        return path.read_bytes()
    except OSError as error:
        raise GraphDefError(
            f"the plan of {node.name} cannot be read",
            where=[node.name],
            why=str(error),
            hint="optimise the model again",
        ) from error


def _register(meta: Any, plans: dict[str, str], op: str) -> None:
    """Let the model's initialiser tell the engine op where its plans are."""
    tag = hashlib.sha256(",".join(plans).encode()).hexdigest()[:12]
    scope = f"{SCOPE}_{tag}"
    first = len(meta.asset_file_def)
    constants = []
    for index, name in enumerate(plans.values()):
        constants.append(f"{scope}/file_{index}")
        _add_text(meta.graph_def.node.add(name=constants[-1]), name)
        meta.asset_file_def.add(filename=name).tensor_info.name = f"{constants[-1]}:0"
    _add_register(meta.graph_def.node.add(name=f"{scope}/register", op=op), constants, plans)
    _add_initialiser(meta, scope)
    if meta.object_graph_def.nodes:
        _add_object(meta, scope, op, plans, range(first, first + len(plans)))


def _add_text(node: Any, text: str) -> None:
    node.op = "Const"
    node.attr["dtype"].type = DType.STRING.number
    node.attr["value"].tensor.dtype = DType.STRING.number
    node.attr["value"].tensor.tensor_shape.SetInParent()
    node.attr["value"].tensor.string_val.append(text.encode())


def _add_register(node: Any, inputs: Sequence[str], plans: dict[str, str]) -> None:
    node.device = "/device:CPU:0"
    node.input.extend(inputs)
    node.attr["N"].i = len(plans)
    node.attr["digests"].list.s.extend(d.encode() for d in plans)


def _add_initialiser(meta: Any, scope: str) -> None:
    """A main op that runs the old one, if any, and registers the plans."""
    done = meta.graph_def.node.add(name=f"{scope}/init", op="NoOp")
    old = {c.node_list.value[0] for k, c in meta.collection_def.items() if k in _INIT_COLLECTIONS and c.node_list.value}
    if INITIALISER in meta.signature_def:
        old |= {t.name for t in meta.signature_def[INITIALISER].outputs.values()}
    done.input.extend([*sorted({f"^{name.partition(':')[0]}" for name in old}), f"^{scope}/register"])
    for key in _INIT_COLLECTIONS:
        if key in meta.collection_def:
            meta.collection_def[key].node_list.value[:] = [done.name]
    if not any(key in meta.collection_def for key in _INIT_COLLECTIONS):
        meta.collection_def[_INIT_COLLECTIONS[0]].node_list.value.append(done.name)
    signature = meta.signature_def[INITIALISER]
    signature.outputs[INITIALISER].name = done.name
    signature.outputs[INITIALISER].tensor_shape.unknown_rank = True


def _add_object(meta: Any, scope: str, op: str, plans: dict[str, str], assets: range) -> None:
    """An object below the root that registers the plans when it is loaded."""
    nodes = meta.object_graph_def.nodes
    resource = len(nodes)
    nodes[0].children.add(node_id=resource, local_name=scope)
    nodes.add().resource.SetInParent()
    bound = []
    for index in assets:
        nodes[resource].children.add(
            node_id=len(nodes), local_name=f"plan_{index}"
        )  # else a second saver would leave the file out
        bound.append(len(nodes))
        nodes.add().asset.asset_file_def_index = index
    initialise, create = f"__inference_{scope}_initialize_0", f"__inference_{scope}_create_0"
    library = meta.graph_def.library
    _initialise_function(library.function.add(), initialise, op, plans)
    _create_function(library.function.add(), create, scope)
    for name, function, captures in (("_initialize", initialise, bound), ("_create_resource", create, [])):
        nodes[resource].children.add(node_id=len(nodes), local_name=name)
        if name == "_create_resource":
            nodes[resource].dependencies.add(node_id=len(nodes), local_name=name)
        _add_function_object(meta, nodes.add(), function, captures)


def _add_function_object(meta: Any, node: Any, name: str, captures: Sequence[int]) -> None:
    node.bare_concrete_function.concrete_function_name = name
    concrete = meta.object_graph_def.concrete_functions[name]
    concrete.bound_inputs.extend(captures)
    arguments = concrete.canonicalized_input_signature.tuple_value.values
    arguments.add().tuple_value.SetInParent()
    arguments.add().dict_value.SetInParent()
    output = concrete.output_signature.tensor_spec_value
    (result,) = (f.signature.output_arg[0] for f in meta.graph_def.library.function if f.signature.name == name)
    output.dtype = result.type
    output.shape.SetInParent()


def _initialise_function(function: Any, name: str, op: str, plans: dict[str, str]) -> None:
    """Registers the files that it is given; returns a number, for functions must return something."""
    function.signature.name, function.signature.is_stateful = name, True
    arguments = [f"file_{index}" for index in range(len(plans))]
    for argument in arguments:
        function.signature.input_arg.add(name=argument, type=DType.STRING.number)
    _add_register(function.node_def.add(name="register", op=op), arguments, plans)
    one = function.node_def.add(name="one", op="Const", input=["^register"])
    one.attr["dtype"].type = DType.INT32.number
    one.attr["value"].tensor.dtype = DType.INT32.number
    one.attr["value"].tensor.tensor_shape.SetInParent()
    one.attr["value"].tensor.int_val.append(1)
    _return(function, "one:output:0", DType.INT32, "register")


def _create_function(function: Any, name: str, scope: str) -> None:
    """A handle that stands for nothing: TensorFlow wants one where the loaded model is saved again."""
    function.signature.name, function.signature.is_stateful = name, True
    handle = function.node_def.add(name="handle", op="VarHandleOp")
    handle.attr["dtype"].type = DType.INT32.number
    handle.attr["shape"].shape.SetInParent()
    handle.attr["shared_name"].s = scope.encode()
    _return(function, "handle:resource:0", DType.RESOURCE, "handle")


def _return(function: Any, tensor: str, dtype: DType, run: str) -> None:
    function.signature.output_arg.add(name="result", type=dtype.number)
    function.ret["result"] = tensor
    function.signature.control_output.append(run)
    function.control_ret[run] = run
