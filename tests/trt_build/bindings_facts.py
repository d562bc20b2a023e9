"""Run as a script: what the bindings in a directory offer, as JSON; the libraries they ask for are stubs made by gcc.

The real bindings import with libraries that have a few C functions and nothing else, so every class, method signature
and enum member of a TensorRT that is not installed can be read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")


def facts_of(directory: Path) -> dict[str, Any]:
    """Classes of the bindings in ``directory`` with their attributes: documentation, and whether they can be set."""
    with tempfile.TemporaryDirectory() as stubs:
        for major in (10, 11):
            _compile_stubs(Path(stubs), major)
        environment = {**os.environ, "LD_LIBRARY_PATH": stubs, "PYTHONPATH": str(directory)}
        printed = subprocess.run(
            [sys.executable, __file__], env=environment, check=True, capture_output=True, text=True, timeout=60
        ).stdout
    return dict(json.loads(printed))


def _compile_stubs(directory: Path, major: int) -> None:
    source = directory / "stub.c"
    source.write_text("".join(f"void* {name}() {{ return 0; }}\n" for name in FUNCTIONS))
    for library in LIBRARIES:
        name = f"lib{library}.so.{major}"
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(directory / name), str(source)]
        subprocess.run(command, check=True)


def describe(trt: Any) -> dict[str, Any]:
    """Classes of a bindings module with their attributes, as :func:`facts_of` gives them."""
    classes = {name: getattr(trt, name) for name in dir(trt) if isinstance(getattr(trt, name), type)}
    attributes = {name: {a: _attribute(kind, a) for a in dir(kind)} for name, kind in classes.items()}
    functions = {name: {"doc": "", "settable": False} for name in dir(trt)}
    return {"": functions, "version": trt.__version__, **attributes}


def _attribute(kind: type, name: str) -> dict[str, Any]:
    value = getattr(kind, name, None)
    return {"doc": getattr(value, "__doc__", "") or "", "settable": getattr(value, "fset", None) is not None}


if __name__ == "__main__":
    import tensorrt_bindings

    print(json.dumps(describe(tensorrt_bindings)))
