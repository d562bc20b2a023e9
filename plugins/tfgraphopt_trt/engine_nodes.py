"""Engine nodes as the passes that build engines see them: finding them, giving them plans, putting segments back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs
import platformdirs

from tfgraphopt.config import Config
from tfgraphopt.errors import ConfigError
from tfgraphopt.files import write_atomically
from tfgraphopt.ir import ArgDef, AttrDef, FuncRef, Node, OpDef, Tensor
from tfgraphopt.passes import Context
from tfgraphopt.regions import inline
from tfgraphopt.report import SegmentReport
from tfgraphopt_trt.build_options import BuildResult
from tfgraphopt_trt.engine_ops import OPS
from tfgraphopt_trt.profiles import Profile

PROFILES = "trt.profiles"
HOST_INPUTS = "_input_hostmem"
"""An attribute that TensorFlow knows for every op: these inputs are in host memory, also where the node is on a GPU."""


def op_def(name: str) -> OpDef:
    """The IR's definition of the engine op ``name``."""
    return OpDef(
        name,
        inputs=(ArgDef("in_tensor", type_list_attr="InT"),),
        outputs=(ArgDef("out_tensor", type_list_attr="OutT"),),
        attrs=_ATTRS,
        doc="Runs a plan, or its segment_func where no plan can run.",
    )


_ATTRS = (
    AttrDef("serialized_segment", "string"),
    AttrDef("segment_func", "func", FuncRef(""), True),
    AttrDef("InT", "list(type)"),
    AttrDef("OutT", "list(type)"),
    AttrDef("input_shapes", "list(shape)", (), True),
    AttrDef("output_shapes", "list(shape)", (), True),
    AttrDef("max_cached_engines_count", "int", 1, True),
    AttrDef("max_batch_size", "int", 1, True),
    AttrDef("workspace_size_bytes", "int", 0, True),
    AttrDef("precision_mode", "string", "FP32", True),
    AttrDef("calibration_data", "string", "", True),
    AttrDef("use_calibration", "bool", True, True),
    AttrDef("segment_funcdef_name", "string", "", True),
    AttrDef("cached_engine_batches", "list(int)", (), True),
    AttrDef("fixed_input_size", "bool", True, True),
    AttrDef("use_explicit_precision", "bool", False, True),
    AttrDef("profile_strategy", "string", "", True),
    AttrDef("plan_path", "string", "", True),
    AttrDef("plan_digest", "string", "", True),
    AttrDef("runtime", "string", "tensorrt", True),
    AttrDef("strict", "bool", False, True),
    AttrDef("body_inputs", "int", 0, True),
    AttrDef("static_engine", "bool", True, True),
)


def body_of(call: Node) -> str:
    """The name of the function that holds the TF body of an engine node."""
    ref = call.attrs["segment_func"]
    assert isinstance(ref, FuncRef)
    return ref.name


def lowered_calls(ctx: Context) -> list[Node]:
    """The engine nodes whose segments have lowered bodies, in the main graph and in functions that stay in TensorFlow."""
    return [n for g in ctx.module.graphs("tf") for n in g if n.op in OPS and n.name in ctx.module.lowered]


def profiles_of(name: str, ctx: Context) -> Sequence[Profile]:
    """The shapes that segment ``name`` is built for; ConfigError with the reason when they are not known."""
    profiles: Sequence[Profile] | str = ctx.facts.get(PROFILES, {}).get(name, ())
    if isinstance(profiles, str):
        raise ConfigError(f"no profile can be made for {name}", why=profiles)
    return profiles


def set_plan(call: Node, plan: bytes, digest: str, host_inputs: Iterable[int] = ()) -> None:
    """Put a plan into its node.

    Args:
        call: the engine node.
        plan: the serialised engine.
        digest: its SHA-256 (hex).
        host_inputs: inputs that the engine reads in host memory (shape tensors). TensorFlow then registers them as such
            for this node: what computes a shape on the host hands it over without a copy.
    """
    call.set_attr("serialized_segment", plan)
    call.set_attr("plan_digest", digest)
    on_host = tuple(sorted(host_inputs))
    if on_host:
        call.set_attr(HOST_INPUTS, on_host)


def record_built(segment: SegmentReport, result: BuildResult) -> None:
    """Let the report say of a segment what every kind of engine knows of its build."""
    segment.status, segment.engine = "built", f"{result.flavour} {result.version}"
    segment.layers, segment.transposes = dict(result.layers), result.transposes
    segment.engine_bytes, segment.engine_digest = len(result.plan), result.sha256
    segment.build_seconds, segment.cached = result.seconds, result.cached


def put_back(call: Node, ctx: Context, reason: str, status: str = "build failed") -> None:
    """Let a segment be TensorFlow again: its body replaces the call, and the report says why."""
    name = call.name
    segment = ctx.report.segments[name]
    segment.status, segment.reason = status, reason
    for node, verdict in ctx.report.verdicts.items():
        if verdict.segment == name:
            failed = attrs.evolve(verdict, status=status, reason=reason.splitlines()[0])
            ctx.report.verdicts[node] = failed
    body = ctx.module.functions.pop(body_of(call))
    ctx.module.lowered.pop(name, None)
    inline(call.graph, call, body, prefix="")


def embed(calls: Sequence[Node], ctx: Context) -> None:
    """Move the largest plans to side files until the GraphDef keeps below its limit (protocol buffers end at 2 GB)."""
    budget = ctx.config.max_embedded_bytes - _constant_bytes(ctx)
    sizes = {n: len(_plan(n)) for n in calls}
    for node in sorted(calls, key=lambda n: sizes[n], reverse=True):
        if sum(sizes.values()) <= budget:
            break
        _to_side_file(node, ctx.config)
        sizes[node] = 0


def _plan(node: Node) -> bytes:
    plan = node.attrs["serialized_segment"]
    assert isinstance(plan, bytes)
    return plan


def _constant_bytes(ctx: Context) -> int:
    values = [n.attrs.get("value") for g in ctx.module.graphs("tf") for n in g if n.op == "Const"]
    return sum(v.num_bytes for v in values if isinstance(v, Tensor))


def _to_side_file(node: Node, config: Config) -> None:
    folder = config.engine_dir or Path(platformdirs.user_cache_dir("tfgraphopt")) / "plans"
    plan = _plan(node)
    path = folder / f"{hashlib.sha256(plan).hexdigest()}.plan"
    write_atomically(path, plan)
    node.set_attr("serialized_segment", b"")
    node.set_attr("plan_path", str(path))
