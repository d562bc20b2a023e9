"""Compiles a C++ op library against the installed TensorFlow's headers once, and caches it by content.

The cache directory is ``platformdirs.user_cache_dir("tfgraphopt")/native``, or ``$TFGRAPHOPT_CACHE_DIR/native``. A
library's name carries the TensorFlow version and a digest of its sources and of all that decides whether it fits this
TensorFlow on this system (:class:`Target`), so nothing stale or foreign is ever loaded. It does not matter which compiler made it: where
the cache holds the library, none is needed. Several processes may ask for one library at once: one of them compiles, under a file lock,
and the others load what it wrote.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
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
_PLACES = ("-I", "-L")
_log = logging.getLogger("tfgraphopt")


@attrs.frozen
class Target:
    """What a library is compiled for: an installed TensorFlow, and the system that it runs on.

    Attributes:
        tensorflow_version: ``tf.__version__``.
        build: what tells builds of one version apart: TensorFlow's git version, its compiler, and the size of its library.
        system: the machine, and the C library with its version (an older one may lack what the library was linked with).
        compile_flags: what TensorFlow's headers demand.
        link_flags: what its library demands.
    """

    tensorflow_version: str
    build: tuple[str, ...]
    system: tuple[str, ...]
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...]

    def digest(self, sources: Sequence[Path]) -> str:
        """Return a hex digest of everything that decides what the library contains (where TensorFlow lies does not)."""
        flags = (flag for flag in (*self.compile_flags, *self.link_flags) if not flag.startswith(_PLACES))
        state = hashlib.sha256()
        for text in (self.tensorflow_version, *self.build, *self.system, *_OPTIMIZE, *flags):
            state.update(text.encode() + b"\0")
        for source in sources:
            state.update(source.name.encode() + b"\0" + hashlib.sha256(source.read_bytes()).digest())
        return state.hexdigest()[:24]

    def library(self, name: str, sources: Sequence[Path]) -> Path:
        """Return where the cache keeps the library ``name`` of ``sources``."""
        return cache_dir() / f"{name}-{self.tensorflow_version}-{self.digest(sources)}.so"


@attrs.frozen
class Toolchain:
    """A C++ compiler and its self-description."""

    compiler: str
    compiler_version: str

    def compile_command(self, target: Target, source: Path, includes: Sequence[Path], output: Path) -> list[str]:
        """Return the command line that compiles one source file to an object file."""
        return [
            self.compiler,
            *_OPTIMIZE,
            *target.compile_flags,
            *(f"-I{path}" for path in includes),
            "-c",
            str(source),
            "-o",
            str(output),
        ]

    def link_command(self, target: Target, objects: Sequence[Path], output: Path) -> list[str]:
        """Return the command line that links object files to a shared library."""
        return [self.compiler, "-shared", *map(str, objects), "-o", str(output), *target.link_flags, "-ldl"]


def cache_dir() -> Path:
    """Return the directory that holds compiled libraries (it need not exist yet)."""
    override = os.environ.get("TFGRAPHOPT_CACHE_DIR")
    if override:
        return Path(override).expanduser() / "native"
    import platformdirs

    return Path(platformdirs.user_cache_dir("tfgraphopt")) / "native"


def target() -> Target:
    """Return what a library for this process has to be compiled for."""
    import tensorflow as tf

    links = tuple(tf.sysconfig.get_link_flags())
    libraries = [Path(tf.sysconfig.get_lib()) / flag.removeprefix("-l:") for flag in links if flag.startswith("-l:")]
    sizes = (str(library.stat().st_size) for library in libraries)
    return Target(
        tf.__version__,
        (str(tf.version.GIT_VERSION), str(tf.version.COMPILER_VERSION), *sizes),
        (platform.machine(), *platform.libc_ver()),
        tuple(tf.sysconfig.get_compile_flags()),
        links,
    )


def toolchain() -> Toolchain:
    """Find the C++ compiler: ``$CXX`` first, then g++, clang++, c++.

    Raises:
        NativeBuildError: no compiler can be run.
    """
    compiler = _find_compiler()
    return Toolchain(compiler, _compiler_version(compiler))


def is_compiled(name: str, sources: Sequence[Path]) -> bool:
    """Whether the cache holds the library that `build_op_library` would give; nothing is compiled."""
    return target().library(name, [Path(source).resolve() for source in sources]).exists()


def build_op_library(name: str, sources: Sequence[Path], *, include_dirs: Sequence[Path] = ()) -> Path:
    """Return the path of the shared library compiled from ``sources``, compiling it unless the cache has it.

    Args:
        name: what the library is called in the cache and in messages, for example ``"engine_op"``.
        sources: ``.cc`` files, which are compiled, and the ``.h`` files of theirs, which only count for the digest.
        include_dirs: directories to look for headers in, besides those of ``sources`` and TensorFlow's; what matters of
            their headers has to be among ``sources``.

    Raises:
        NativeBuildError: the cache does not hold it, and there is no compiler, compilation failed (the compiler's output is in ``why``),
            or the cache cannot be written.
    """
    from filelock import FileLock

    paths = [Path(source).resolve() for source in sources]
    _check_sources(name, paths)
    wanted = target()
    library = wanted.library(name, paths)
    if library.exists():
        return library
    tools = _toolchain_for(library)
    _make_directory(name, library.parent)
    with FileLock(library.with_suffix(".lock")):
        if not library.exists():
            _compile(name, tools, wanted, paths, include_dirs, library)
    return library


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


def _toolchain_for(library: Path) -> Toolchain:
    try:
        return toolchain()
    except NativeBuildError as error:
        hint = f"{error.hint}; or bring along what a machine of this kind has compiled, by TFGRAPHOPT_CACHE_DIR"
        raise NativeBuildError(error.what, where=[f"{library} does not exist"], why=error.why, hint=hint) from error


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


def _compile(
    name: str, tools: Toolchain, wanted: Target, sources: Sequence[Path], include_dirs: Sequence[Path], library: Path
) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=f".{name}-") as scratch:
        output = Path(scratch) / library.name
        with _progress(name, wanted.tensorflow_version, library.parent):
            objects = _compile_objects(name, tools, wanted, sources, include_dirs, Path(scratch))
            _run_compiler(name, tools.link_command(wanted, objects, output))
        output.replace(library)


def _compile_objects(
    name: str, tools: Toolchain, wanted: Target, sources: Sequence[Path], include_dirs: Sequence[Path], scratch: Path
) -> list[Path]:
    includes = list(dict.fromkeys([*(source.parent for source in sources), *include_dirs]))
    compiled = [source for source in sources if source.suffix in _COMPILED_SUFFIXES]
    objects = [scratch / f"{index}.o" for index in range(len(compiled))]
    commands = [
        tools.compile_command(wanted, source, includes, output)
        for source, output in zip(compiled, objects, strict=True)
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
def _progress(name: str, version: str, directory: Path) -> Iterator[None]:
    """A line in the log, for a process that stands still for a minute says why; and a live one on terminals."""
    _log.warning("compiling %s for TensorFlow %s (up to a minute; once: it is kept in %s)", name, version, directory)
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"compiling {name}"):
        yield
