"""Loads the engine runtime "openvino" into this process: compiled once, registered with the engine op."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

from tfgraphopt.errors import NativeBuildError
from tfgraphopt.native import build_op_library
from tfgraphopt_openvino import openvino_api
from tfgraphopt_openvino.openvino_api import NAME
from tfgraphopt_trt import engine_op
from tfgraphopt_trt.engine_op import abi

THREADS_VARIABLE = "TFGRAPHOPT_OPENVINO_THREADS"
_MESSAGE_BYTES = 2048


def load() -> None:
    """Register the engine op, and the runtime where OpenVINO is installed; again does nothing.

    Without OpenVINO the nodes run their TensorFlow bodies, which the counters show as ``no_runtime``. Threads of an inference are
    as many as TensorFlow's for one operation, or ``$TFGRAPHOPT_OPENVINO_THREADS``.

    Raises:
        NativeBuildError: the op or the runtime cannot be compiled or loaded.
    """
    engine_op.load()
    _registered()


@cache
def _registered() -> bool:
    directory = openvino_api.package()
    library = None if directory is None else openvino_api.c_library(directory)
    if directory is None or library is None:
        return False
    path = build_op_library("openvino_runtime", sources(directory), include_dirs=[directory / "include"])
    _open(path, library)
    engine_op.register_native_runtime(NAME, path, "tfgo_openvino_runtime")
    return True


def sources(package: Path) -> list[Path]:
    """The C++ sources of the runtime and all the headers that decide what it becomes."""
    here, abi_header = Path(__file__).parent / "runtime", Path(engine_op.__file__).parent / "engine_runtime.h"
    theirs = sorted((package / "include" / "openvino" / "c").glob("*.h"))
    return [*sorted(here.glob("*.cc")), *sorted(here.glob("*.h")), abi_header, *theirs]


def _open(path: Path, library: Path) -> None:
    buffer = ctypes.create_string_buffer(_MESSAGE_BYTES)
    message = abi.Message(ctypes.addressof(buffer), _MESSAGE_BYTES)
    arguments = (str(library).encode(), os.environ.get(THREADS_VARIABLE, "").encode())
    status = ctypes.CDLL(str(path)).tfgo_openvino_open(*arguments, ctypes.byref(message))
    if status != abi.OK:
        raise NativeBuildError(
            "OpenVINO's library cannot be opened", where=[str(library)], why=buffer.value.decode(errors="replace"),
            hint="reinstall openvino, or uninstall it: its engines then run as TensorFlow",
        )  # fmt: skip
