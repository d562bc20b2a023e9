"""TF-TRT's environment variables.

``TF_TRT_ALLOW_ENGINE_NATIVE_SEGMENT_EXECUTION`` is read by the engine op itself, in whatever process runs the model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tfgraphopt.compat.parameters import superseded
from tfgraphopt.errors import ConfigError

DENYLIST = "TF_TRT_OP_DENYLIST"
MAX_ENGINES = "TF_TRT_MAX_ALLOWED_ENGINES"
REPORT = "TF_TRT_SHOW_DETAILED_REPORT"
DRAWING = "TF_TRT_EXPORT_GRAPH_VIZ_PATH"
NATIVE = "TF_TRT_ALLOW_ENGINE_NATIVE_SEGMENT_EXECUTION"
_DEFAULT_ENGINES = 20
_GONE = {
    "TF_TRT_OP_FAKELIST": "`tfgraphopt explain` judges every node with no engine built",
    "TF_TRT_FIXED_ALGORITHM_ID": "TensorRT's timing and engine caches make builds repeatable",
    "TF_TRT_ENABLE_LAYOUT_OPTIMIZER": "the pass `layout` decides it, and a pipeline without it leaves layouts alone",
    "TF_TRT_EXPORT_TRT_ENGINES_PATH": "save() writes every engine as an asset of its own",
    "TF_TRT_SPARSE_MODE": "TensorRT decides it by the weights",
    "TF_TRT_ALLOW_NMS_TOPK_OVERRIDE": "top-k limits are TensorRT's own",
    "TF_TRT_ABORT_CUDA_ENGINE_BUILD": "engine='none' builds nothing",
    "TF_TRT_EXPERIMENTAL_FEATURES": "only variables that reach engines are frozen, and segments stay, always",
}


def warn_of_gone_variables() -> None:
    """Warn of variables that are set and have no meaning any more."""
    for name, instead in _GONE.items():
        if os.environ.get(name):
            superseded(f"the environment variable {name}", instead)


def environment_options() -> Mapping[str, Any]:
    """What the environment asks for, as arguments of :func:`tfgraphopt.optimize`.

    Raises:
        ConfigError: a number is none.
    """
    warn_of_gone_variables()
    denied = [name.strip() for name in os.environ.get(DENYLIST, "").split(",") if name.strip()]
    return {"denied_ops": denied, "options": {"max_engines": max(_number(MAX_ENGINES, _DEFAULT_ENGINES), 0)}}


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    try:
        return int(text) if text else default
    except ValueError as error:
        raise ConfigError(f"{name}={text!r} is not a number") from error


def wanted_report() -> str:
    """What :data:`REPORT` says: empty for none, a positive number for one with reasons, or the path of a CSV file."""
    text = os.environ.get(REPORT, "")
    try:
        return text if text and int(text) >= 1 else ""
    except ValueError:
        return text
