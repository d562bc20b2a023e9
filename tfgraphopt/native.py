"""Compiles a C++ op library against the installed TensorFlow's headers once, and caches it by content.

The cache directory is ``platformdirs.user_cache_dir("tfgraphopt")/native``, or ``$TFGRAPHOPT_CACHE_DIR/native``. A
library's name carries a digest of its sources, the flags, the TensorFlow version and the compiler version, so nothing
stale is ever loaded. Several processes may ask for one library at once: one of them compiles, under a file lock, and
the others load what it wrote.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import attrs

from .errors import NativeBuildError

_COMPILED_SUFFIXES = frozenset({".cc", ".cpp", ".cxx", ".c++"})
_COMPILERS = ("g++", "clang++", "c++")
_OPTIMIZE = ("-O2", "-fPIC", "-fvisibility=hidden", "-w")
_BUILD_LIMIT_SECONDS = 1800


@attrs.frozen
class Toolchain:
    """A C++ compiler, its self-description and the flags that TensorFlow's headers and library demand."""

    compiler: str
    compiler_version: str
    tensorflow_version: str
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...]

    def digest(self, sources: Sequence[Path]) -> str:
        """Return a hex digest of everything that decides what the library contains."""
        state = hashlib.sha256()
        for text in (self.compiler_version, self.tensorflow_version, *_OPTIMIZE, *self.compile_flags, *self.link_flags):
            state.update(text.encode() + b"\0")
        for source in sources:
            state.update(source.name.encode() + b"\0" + hashlib.sha256(source.read_bytes()).digest())
        return state.hexdigest()[:24]

    def compile_command(self, source: Path, includes: Sequence[Path], output: Path) -> list[str]:
        """Return the command line that compiles one source file to an object file."""
        return [
            self.compiler,
            *_OPTIMIZE,
            *self.compile_flags,
            *(f"-I{path}" for path in includes),
            "-c",
            str(source),
            "-o",
            str(output),
        ]

    def link_command(self, objects: Sequence[Path], output: Path) -> list[str]:
        """Return the command line that links object files to a shared library."""
        return [self.compiler, "-shared", *map(str, objects), "-o", str(output), *self.link_flags, "-ldl"]


def cache_dir() -> Path:
    """Return the directory that holds compiled libraries (it need not exist yet)."""
    override = os.environ.get("TFGRAPHOPT_CACHE_DIR")
    if override:
        return Path(override).expanduser() / "native"
    import platformdirs

    return Path(platformdirs.user_cache_dir("tfgraphopt")) / "native"


def toolchain() -> Toolchain:
    """Find the C++ compiler (``$CXX`` first, then g++, clang++, c++) and TensorFlow's flags.

    Raises:
        NativeBuildError: no compiler can be run.
    """
    import tensorflow as tf

    compiler = _find_compiler()
    return Toolchain(
        compiler,
        _compiler_version(compiler),
        tf.__version__,
        tuple(tf.sysconfig.get_compile_flags()),
        tuple(tf.sysconfig.get_link_flags()),
    )


def build_op_library(name: str, sources: Sequence[Path], *, include_dirs: Sequence[Path] = ()) -> Path:
    """Return the path of the shared library compiled from ``sources``, compiling it unless the cache has it.

    Args:
        name: what the library is called in the cache and in messages, for example ``"engine_op"``.
        sources: ``.cc`` files, which are compiled, and the ``.h`` files of theirs, which only count for the digest.
        include_dirs: directories to look for headers in, besides those of ``sources`` and TensorFlow's; what matters of
            their headers has to be among ``sources``.

    Raises:
        NativeBuildError: no compiler, compilation failed (the compiler's output is in ``why``), or the cache cannot be
            written.
    """
    from filelock import FileLock

    paths = [Path(source).resolve() for source in sources]
    _check_sources(name, paths)
    tools = toolchain()
    target = cache_dir() / f"{name}-{tools.digest(paths)}.so"
    if target.exists():
        return target
    _make_directory(name, target.parent)
    with FileLock(target.with_suffix(".lock")):
        if not target.exists():
            _compile(name, tools, paths, include_dirs, target)
    return target


def load_op_library(name: str, sources: Sequence[Path]) -> Path:
    """Compile (or find) the library, load it into TensorFlow, and return its path; loading it again does nothing.

    Raises:
        NativeBuildError: as `build_op_library`, or TensorFlow cannot load the library.
    """
    path = build_op_library(name, sources)
    _load(name, path)
    return path


def _load(name: str, path: Path) -> ModuleType:
    import tensorflow as tf

    try:
        library: ModuleType = tf.load_op_library(str(path))
    except (OSError, tf.errors.OpError) as error:
        raise NativeBuildError(
            f"the compiled library of {name} cannot be loaded",
            where=[str(path)],
            why=str(error),
            hint=f"delete the file so that it is compiled again: {path}",
        ) from error
    return library


def _find_compiler() -> str:
    wanted = os.environ.get("CXX")
    candidates = (wanted,) if wanted else _COMPILERS
    for candidate in candidates:
        found = shutil.which(candidate)
        if found:
            return found
    tried = (
        f"CXX={wanted} is not a program that can be run" if wanted else f"none of {', '.join(_COMPILERS)} is on PATH"
    )
    raise NativeBuildError(
        "no C++ compiler was found",
        why=tried,
        hint="install g++ or clang++ (Debian, Ubuntu: apt-get install g++), or set CXX to a C++17 compiler",
    )


def _compiler_version(compiler: str) -> str:
    try:
        shown = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise NativeBuildError(
            "the C++ compiler does not run",
            where=[compiler],
            why=str(error),
            hint="set CXX to a working g++ or clang++",
        ) from error
    return shown.stdout.strip()


def _check_sources(name: str, sources: Sequence[Path]) -> None:
    missing = [str(source) for source in sources if not source.is_file()]
    if missing:
        raise NativeBuildError(f"source files of {name} are missing", where=missing, hint="reinstall tfgraphopt")


def _make_directory(name: str, directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise NativeBuildError(
            f"the cache directory for {name} cannot be made",
            where=[str(directory)],
            why=str(error),
            hint="set TFGRAPHOPT_CACHE_DIR to a directory you can write",
        ) from error


def _compile(name: str, tools: Toolchain, sources: Sequence[Path], include_dirs: Sequence[Path], target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as scratch:
        output = Path(scratch) / target.name
        with _progress(f"compiling {name} for TensorFlow {tools.tensorflow_version} (once)"):
            objects = _compile_objects(name, tools, sources, include_dirs, Path(scratch))
            _run_compiler(name, tools.link_command(objects, output))
        output.replace(target)


def _compile_objects(
    name: str, tools: Toolchain, sources: Sequence[Path], include_dirs: Sequence[Path], scratch: Path
) -> list[Path]:
    includes = list(dict.fromkeys([*(source.parent for source in sources), *include_dirs]))
    compiled = [source for source in sources if source.suffix in _COMPILED_SUFFIXES]
    objects = [scratch / f"{index}.o" for index in range(len(compiled))]
    commands = [
        tools.compile_command(source, includes, output) for source, output in zip(compiled, objects, strict=True)
    ]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(lambda command: _run_compiler(name, command), commands))
    return objects


def _run_compiler(name: str, command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_LIMIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeBuildError(f"compiling {name} did not finish", where=[command[0]], why=str(error)) from error
    if done.returncode != 0:
        raise NativeBuildError(
            f"compiling {name} failed (exit status {done.returncode})",
            where=[" ".join(command)],
            why=(done.stderr or done.stdout).strip(),
            hint="TensorFlow's headers need a C++17 compiler; set CXX to another one, or report the output above",
        )


@contextmanager
def _progress(message: str) -> Iterator[None]:
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(message):
        yield
