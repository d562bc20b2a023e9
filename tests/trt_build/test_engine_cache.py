"""The engine cache: content-addressed, atomic under kill -9 and concurrency, bounded, from trusted directories only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import attrs
import numpy as np
import pytest

from tfgraphopt.errors import ConfigError
from tfgraphopt.ir import Graph, Tensor
from tfgraphopt_trt.build import BuildOptions, BuildResult, build_plan
from tfgraphopt_trt.engine_cache import EngineCache, cache_key, default_directory
from tfgraphopt_trt.profiles import InputRange
from tfgraphopt_trt.tensorrt_api import TensorRT, load
from trt_build.small_layers import LAYERS, dense

BATCH = ({0: InputRange((1, 4), (8, 4), (32, 4))},)


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def key(graph: Graph | None = None, profiles=BATCH, **options) -> str:
    return cache_key(graph or dense(), profiles, BuildOptions(**options), load())


def result(size: int = 1000, fill: int = 7) -> BuildResult:
    return BuildResult(bytes([fill]) * size, 0.5, {"CONVOLUTION": 2}, 1, "tensorrt_rtx", "1.7", warnings=("careful",))


def test_an_engine_is_built_once(cache: EngineCache) -> None:
    builds = []

    def build() -> BuildResult:
        builds.append(1)
        return build_plan(dense(), LAYERS, BATCH, BuildOptions(layer_table=True))

    first, second = (cache.get_or_build(key(layer_table=True), build, "TRTEngineOp_000_000") for _ in range(2))
    assert len(builds) == 1
    assert (first.cached, second.cached) == (False, True)
    assert second.plan == first.plan
    assert second.table == first.table
    assert [e.name for e in cache.ls()] == ["TRTEngineOp_000_000"]


def changed_weight() -> Graph:
    g = dense()
    old = g.node("dense/kernel").attrs["value"].numpy().copy()  # type: ignore[union-attr]
    old[0, 0] += 1
    g.node("dense/kernel").set_attr("value", Tensor.of(old))
    return g


def test_the_key_is_made_of_all_that_decides_about_the_plan() -> None:
    same = {key(), key(dense()), key(timeout_seconds=1.0), key(memory_limit_bytes=2**40)}
    assert len(same) == 1
    other = {
        key(changed_weight()),
        key(dense(units=9)),
        key(profiles=({0: InputRange((1, 4), (9, 4), (32, 4))},)),
        key(profiles=(*BATCH, *BATCH)),
        key(tf32=False),
        key(workspace_bytes=1 << 20),
        key(compute_capabilities=["8.6"]),
    }
    assert len(other) == 7
    assert not other & same


def test_the_gpu_counts_where_plans_are_for_one_gpu_only() -> None:
    portable = load()
    tied = attrs.evolve(portable, features=portable.features - {"compute_capabilities"})

    def keys(tensorrt: TensorRT) -> set[str]:
        return {cache_key(dense(), BATCH, BuildOptions(), tensorrt, gpu) for gpu in ("H200", "RTX 5090")}

    assert len(keys(portable)) == 1
    assert len(keys(tied)) == 2
    newer = attrs.evolve(portable, version="9.9.9")
    assert not keys(newer) & keys(portable)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "magic", "header", "swap"])
def test_a_damaged_entry_is_built_again(cache: EngineCache, damage: str) -> None:
    path = cache.put("a" * 64, result())
    data = path.read_bytes()
    damaged = {
        "flip": data[:-5] + b"\x00" + data[-4:],
        "cut": data[:-100],
        "empty": b"",
        "magic": b"XXXX" + data[4:],
        "header": data[:8] + b"\xff" * 8 + data[16:],
        "swap": cache.put("b" * 64, result(fill=8)).read_bytes(),
    }
    path.write_bytes(damaged[damage])
    assert len(cache.ls()) == 2
    assert cache.get("a" * 64) is None
    assert not path.exists()
    assert cache.get_or_build("a" * 64, lambda: result(fill=9)).plan == bytes([9]) * 1000
    assert cache.get("a" * 64) is not None


def test_the_entries_used_longest_ago_go_first(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines", max_bytes=35_000)
    for number, name in enumerate("abc"):
        os.utime(cache.put(name * 64, result(size=10_000)), (number, number))
    assert cache.get("a" * 64) is not None  # now the one used last
    cache.put("d" * 64, result(size=10_000))
    assert [e.key[0] for e in cache.ls()] == ["d", "a", "c"]
    assert cache.prune(0) == 3
    assert not cache.ls()


def test_an_entry_larger_than_the_bound_is_kept_until_the_next(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines", max_bytes=500)
    cache.put("a" * 64, result())
    assert cache.get("a" * 64) is not None
    cache.put("b" * 64, result())
    assert [e.key[0] for e in cache.ls()] == ["b"]


def test_entries_are_removed_by_the_start_of_their_key(cache: EngineCache) -> None:
    for name in "abc":
        cache.put(name * 64, result())
    assert cache.rm(["a", "bb"]) == 2
    assert [e.key[0] for e in cache.ls()] == ["c"]
    assert cache.rm() == 1


def test_the_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TFGRAPHOPT_CACHE_DIR", str(tmp_path))
    assert EngineCache().directory == tmp_path / "engines" == default_directory()
    assert (tmp_path / "engines").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
def test_directories_that_others_can_write_are_refused(tmp_path: Path, mode: int) -> None:
    for place in (tmp_path / "itself", tmp_path / "parent" / "engines"):
        place.mkdir(parents=True)
        loose = place if place.name == "itself" else place.parent
        loose.chmod(mode)
        with pytest.raises(ConfigError, match="executable code"):
            EngineCache(place)


def test_a_sticky_parent_is_fine_and_a_foreign_owner_is_not(tmp_path: Path) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    EngineCache(shared / "mine")
    if os.getuid() == 0:
        (shared / "theirs").mkdir()
        os.chown(shared / "theirs", 1234, 1234)
        with pytest.raises(ConfigError, match="belongs to another user"):
            EngineCache(shared / "theirs")


def test_files_that_others_can_write_and_links_are_not_loaded(cache: EngineCache, tmp_path: Path) -> None:
    path = cache.put("a" * 64, result())
    path.chmod(0o666)
    assert cache.get("a" * 64) is None
    path.chmod(0o600)
    assert cache.get("a" * 64) is not None
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert cache.get("a" * 64) is None


def test_a_place_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        EngineCache(tmp_path / "file" / "engines")


def python(script: str, *args: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_two_processes_that_want_the_same_engine_build_it_once(cache: EngineCache) -> None:
    script = """
        import sys, time
        from pathlib import Path
        from tfgraphopt_trt.build import build_plan
        from tfgraphopt_trt.engine_cache import EngineCache
        from trt_build.small_layers import LAYERS, dense
        from trt_build.test_engine_cache import BATCH, key

        def build():
            print("built", flush=True)
            time.sleep(0.5)
            return build_plan(dense(), LAYERS, BATCH)

        print(EngineCache(Path(sys.argv[1])).get_or_build(key(), build).sha256)
    """
    processes = [python(script, cache.directory) for _ in range(2)]
    outputs = [p.communicate(timeout=60)[0].split() for p in processes]
    assert sorted(map(len, outputs)) == [1, 2]
    assert outputs[0][-1] == outputs[1][-1]
    assert cache.get(key()) is not None


def test_kill_9_in_the_middle_of_writing_leaves_no_half_entry(cache: EngineCache) -> None:
    script = """
        import sys, time
        from pathlib import Path
        from trt_build.test_engine_cache import result
        from tfgraphopt_trt.engine_cache import EngineCache

        cache = EngineCache(Path(sys.argv[1]))
        print("ready", flush=True)
        while True:
            for fill in range(16):
                with cache.building("a" * 64):
                    cache.put(f"{fill:x}" * 64, result(size=4_000_000, fill=fill))
    """
    for delay in (0.02, 0.07, 0.13):
        writer = python(script, cache.directory)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    for fill in range(16):
        path = cache.path(f"{fill:x}" * 64)
        if path.exists():
            found = cache.get(path.stem)
            assert found is not None
            assert found.plan == np.full(4_000_000, fill, np.uint8).tobytes()
    with cache.building("a" * 64):  # the dead writer's lock is free
        cache.put("a" * 64, result())
    for part in cache.directory.glob("*.part"):
        os.utime(part, (1, 1))
    cache.prune()
    assert not list(cache.directory.glob("*.part"))
