"""Units on a Ray cluster of four nodes: the same as on this machine, whatever becomes of a node."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import ray_units
from cache_verb import SMALL, lists
from comparisons import HOW
from support import write_cache

from focusgym.feature_cache import Clip, DigitsConfig, VideoError, make_digits
from focusgym.recognizer import FrameConfig
from focusgym.runs.cli import main
from focusgym.runs.comparison import grid
from focusgym.runs.configs.executor import ExecutorConfig
from focusgym.runs.executors import caches, decoding
from focusgym.runs.executors.local import in_turn
from focusgym.runs.executors.ray import RayExecutor, _refused, cpus_of_unit, gpu_slots
from focusgym.runs.executors.units import ExecutorError, FailedError, Unit

pytest.importorskip("ray", reason='Ray is not installed: pip install ".[ray]"')
PATIENCE_S = 600
SMALL_STORE = 80_000_000
CPUS = {"num_cpus": 1, "object_store_memory": SMALL_STORE}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Four nodes of one CPU each on this machine, which this process has joined."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # others' memory is not the test's
        patch.setenv("RAY_worker_niceness", "0")  # else whatever runs beside comes first
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        head = {**CPUS, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(3):
                cluster.add_node(wait=False, **CPUS)
            cluster.wait_for_nodes()
            ray.init(cluster.address, log_to_driver=False)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


def waiters(notes: Path, n: int) -> dict[str, Unit]:
    """Return units that wait for the file ``go``."""
    return {name: Unit((notes, name, notes / "go")) for name in map(str, range(n))}


def begun(notes: Path, name: str) -> list[list[str]]:
    """Return the node and the process of each time that a unit was begun."""
    path = notes / f"{name}.begun"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def kill(cluster: Any, node_id: str) -> None:
    """Kill a node with all that runs on it."""
    (node,) = (node for node in cluster.list_all_nodes() if node.node_id == node_id)
    cluster.remove_node(node, allow_graceful=False)


def spare(cluster: Any) -> str:
    """Return the id of a node that is not the head."""
    return str(next(iter(cluster.worker_nodes)).node_id)


def kill_at_work(cluster: Any, notes: Path, n: int, killed: list[str]) -> None:
    """Kill a node at which a unit waits, once n of them do; then let all go."""
    wait_for(lambda: all(begun(notes, str(i)) for i in range(n)))
    nodes = {name: begun(notes, name)[0][0] for name in map(str, range(n))}
    head = cluster.head_node.node_id
    name = next(name for name, node in nodes.items() if node != head)
    killed.append(name)
    kill(cluster, nodes[name])
    wait_for(lambda: not _alive(int(begun(notes, name)[0][1])))  # it ends with its node
    (notes / "go").touch()


def test_units_that_fail_are_told(cluster: Any, notes: Path) -> None:
    """By name, with the end of their logs; one whose process ends is begun again, and counted."""
    do = RayExecutor(ExecutorConfig("ray", retries=1))
    units = {"bad": Unit(("no such thing",)), "worse": Unit((1,))}
    with pytest.raises(FailedError) as caught:
        do(ray_units.fail, units, "stage X")
    message = str(caught.value)
    assert message.startswith("stage X: 2 of 2 failed, the others are kept:\n")
    assert "  bad: RuntimeError: no such thing (on " in message
    assert "    | working on it\n" in message
    assert "    | a library says something\n" in message
    assert "    | RuntimeError: no such thing\n" in message
    with pytest.raises(FailedError, match="gone: was begun 2 times and never came back") as caught:
        do(ray_units.die, {"gone": Unit((notes,))}, "stage X")
    assert "--retries" in str(caught.value)
    assert len((notes / "died").read_text().splitlines()) == 2
    with pytest.raises(FailedError, match=r"gone: clip.mp4 was not decoded \(on "):
        do(ray_units.lose, {"gone": Unit((notes,))}, "stage X")
    assert len((notes / "lost").read_text().splitlines()) == 2


def test_an_interruption_leaves_nothing_running(cluster: Any, notes: Path) -> None:
    def interrupt() -> None:
        wait_for(lambda: all(begun(notes, str(i)) for i in range(3)))
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            RayExecutor(ExecutorConfig("ray"), jobs=3)(ray_units.wait, waiters(notes, 9), "long")
    finally:
        signal.signal(signal.SIGINT, before)
    wait_for(lambda: not any(_alive(int(begun(notes, str(i))[0][1])) for i in range(3)))
    assert not any(begun(notes, str(i)) for i in range(3, 9)), "others do not begin"


def _alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


@pytest.mark.parametrize("transfer", ["object-store", "file://{}/carried"])
def test_folders_come_from_nodes_that_share_none(
    cluster: Any, tmp_path: Path, transfer: str
) -> None:
    """A unit works in a folder of its own; what it reads is there, and nothing is left behind."""
    root = tmp_path / "root"
    config = ExecutorConfig("ray", transfer.format(tmp_path))
    with RayExecutor(config, root) as do:
        first = do(ray_units.write, {"a": Unit((root / "a", "A"), root / "a")}, "first")
        arguments = root / "b", "B", root / "a"
        do(ray_units.write, {"b": Unit(arguments, root / "b", (root / "a",))}, "second")
    assert not Path(first["a"]).is_relative_to(root)
    assert (root / "b" / "content").read_text() == "AB"
    assert sorted(path.name for path in root.iterdir()) == ["a", "b"]
    assert not [*tmp_path.glob("carried/*")]


def test_a_unit_takes_the_cpus_of_its_share_of_a_gpu(cluster: Any) -> None:
    """They are those of the node with the fewest for each GPU; a unit has as many threads.

    One that takes no GPU, for there is none and it may lack it, sees none.
    """
    lacking = RayExecutor(ExecutorConfig("ray"), gpu=True, may_lack_gpu=True)
    assigned, threads, _, seen = lacking(ray_units.taken, {"a": Unit(())}, "taken")["a"]
    assert (assigned, threads, seen) == ({"CPU": 1}, 1, "")
    node = cluster.add_node(num_cpus=5, num_gpus=2, object_store_memory=SMALL_STORE)
    do = RayExecutor(ExecutorConfig("ray", gpu_share=1.0), gpu=True)
    outcomes = do(ray_units.taken, {name: Unit(()) for name in "abc"}, "taken")
    cluster.remove_node(node)
    for assigned, threads, _, seen in outcomes.values():
        assert (assigned["CPU"], assigned["GPU"], threads) == (2, 1, 2)
        assert seen in ("0", "1")
    assert len({process for _, _, process, _ in outcomes.values()}) == 3, "each has its own"

    def nodes(*resources: dict[str, float], alive: bool = True) -> list[dict[str, Any]]:
        return [{"Alive": alive, "Resources": each} for each in resources]

    large, small = {"CPU": 96.0, "GPU": 8.0}, {"CPU": 4.0, "GPU": 1.0}
    assert cpus_of_unit(nodes(large, {"CPU": 64.0}), 1) == 12
    assert cpus_of_unit(nodes(large), 0.25) == 3
    assert cpus_of_unit(nodes(large), 2) == 24
    assert cpus_of_unit(nodes(large, small), 1) == 4
    assert cpus_of_unit(nodes(large) + nodes(small, alive=False), 1) == 12
    assert cpus_of_unit(nodes(small), 0.1) == 1
    assert cpus_of_unit(nodes(large), 0) == cpus_of_unit(nodes({"CPU": 8.0}), 1) == 1
    assert gpu_slots(nodes(large, small, small), 2) == 4  # those of the small ones go unused
    assert gpu_slots(nodes(large, {"CPU": 64.0}) + nodes(small, alive=False), 1) == 8
    assert [gpu_slots(nodes(large), share) for share in (0.3, 0.1, 0.6)] == [24, 80, 8]


def test_what_is_sent_again_leaves_nothing(tmp_path: Path) -> None:
    """A unit that has begun takes its folder with it, each time that it is begun."""

    class Task:
        def remote(self, *arguments: object) -> None:
            assert len([*tmp_path.glob("carried/*")]) == 1

    unit = Unit((tmp_path / "root" / "a",), tmp_path / "root" / "a")
    (tmp_path / "root" / "a").mkdir(parents=True)
    with RayExecutor(ExecutorConfig("ray", f"file://{tmp_path}/carried"), tmp_path / "root") as do:
        for _ in range(2):
            do._submit(Task(), None, None, unit)
    assert not [*tmp_path.glob("carried/*")]


def test_a_node_that_cannot_begin() -> None:
    message = _refused(
        Exception("\x1b[36mray::work()\x1b[39m (pid=1)\n  ...\nModuleNotFoundError: No x\n")
    )
    assert message == (
        "could not be begun on its node: ModuleNotFoundError: No x: install focusgym there, as here"
    )


def test_a_comparison_is_the_same(
    cluster: Any, notes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On nodes that share no files, one of which is killed at a cell; its runs are read alike."""
    write_cache(tmp_path / "cache", n=20)
    compare = ["--cache", str(tmp_path / "cache"), *HOW, "--seeds", "2", "--reward", "increments"]
    on_ray = ["--executor", "ray", "--transfer", "object-store"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "focusgym.runs.verbs.compare.executor_of", lambda *_, **__: nullcontext(in_turn)
        )
        main(["compare", str(tmp_path / "here"), *compare])
    killed: list[str] = []
    thread = Thread(target=kill_at_work, args=(cluster, notes, 2, killed))
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "_train_cell", partial(ray_units.train_cell, notes))
        main(["compare", str(tmp_path / "there"), *compare, *on_ray])
    thread.join()
    cluster.add_node(wait=False, **CPUS)  # in its place
    times = {name: len(begun(notes, name)) for name in ("0", "1")}
    assert times == {name: 1 + (name in killed) for name in times}
    here, on_nodes = ((tmp_path / name / "results.csv").read_text() for name in ("here", "there"))
    assert here == on_nodes
    cells = sorted(map(str, (tmp_path / "there" / "cells").glob("*/*/*")))
    assert len(cells) == 2
    capsys.readouterr()
    main(["evaluate", *cells, "--json"])
    main(["evaluate", *cells, "--json", *on_ray])
    here, on_nodes = capsys.readouterr().out.splitlines()
    assert json.loads(here) == json.loads(on_nodes)


def test_a_cache_is_the_same_whatever_becomes_of_a_node(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte what one process builds; what was complete before is not built again."""
    data = tmp_path / "data"
    table = make_digits(DigitsConfig(n_train=6, n_val=3, n_test=3, n_frames=4), data)
    for split, rows in table.groupby("split"):
        rows[["path", "label"]].to_csv(data / f"{split}.csv", index=False)
    build = ["cache", "build", *map(str, lists(data, "csv")), *SMALL]
    main([*build, str(tmp_path / "one")])
    parts, complete = tmp_path / "many.shards", dict[str, int]()

    def inodes() -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in parts.glob("*-of-6")}

    def act() -> None:
        wait_for(lambda: bool(inodes()))
        complete.update(inodes())
        kill(cluster, spare(cluster))

    merge, at_the_end = caches.merge_shards, dict[str, int]()

    def merged(places: Any, root: Path) -> Path:
        at_the_end.update(inodes())
        return merge(places, root)

    monkeypatch.setattr(caches, "merge_shards", merged)
    thread = Thread(target=act)
    thread.start()
    on_ray = ["--executor", "ray"]
    main([*build, str(tmp_path / "many"), *on_ray, "--shards", "6"])
    thread.join()
    assert complete.items() <= at_the_end.items()
    assert len(at_the_end) == 6
    one, many = (_content(tmp_path / name) for name in ("one", "many"))
    assert one == many
    assert not parts.exists()
    main(["cache", "verify", str(tmp_path / "many"), "--sample", "2", *on_ray])
    # Decoded by tasks on other CPUs, for as many parts at a time as there are such CPUs.
    config, node = ExecutorConfig("ray", gpu_share=0.25), {"num_cpus": 0, "num_gpus": 1}
    monkeypatch.setattr(
        "focusgym.runs.verbs.cache.executor_of",
        lambda *_, **__: RayExecutor(config, parts, gpu=True, one_cpu=True),
    )
    monkeypatch.setattr(
        "focusgym.runs.verbs.cache.build_apart",
        lambda *arguments, **options: caches.build_apart(*arguments, **{**options, "decoders": 2}),
    )
    monkeypatch.setattr(caches, "merge_shards", merge)
    added = cluster.add_node(object_store_memory=SMALL_STORE, **node)
    main([*build, str(tmp_path / "fed"), *on_ray, "--shards", "4"])
    cluster.remove_node(added)
    assert _content(tmp_path / "fed") == one


def test_decoding_tasks_are_begun_elsewhere(
    cluster: Any, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where their node is killed; what is wrong with a video, or a node, comes back as it is."""
    right, frames = decoding._decoded, FrameConfig(2, 64, None)
    clips = [Clip(str(notes / f"{i}.mp4"), f"{i}") for i in range(3)]

    def slow(versions: Any, clip: Clip, *arguments: Any) -> Any:
        ray_units.wait(notes, clip.key, notes / "go")
        return right(versions, clip, *arguments)

    def decode(clip: Clip) -> str:
        with pytest.raises(VideoError) as caught:
            decoding.read_anywhere(clip, frames)
        return str(caught.value)

    killed: list[str] = []
    thread = Thread(target=kill_at_work, args=(cluster, notes, 3, killed))
    thread.start()
    with monkeypatch.context() as patch, ThreadPoolExecutor(3) as pool:
        patch.setattr(decoding, "_decoded", slow)
        decoding._task.cache_clear()
        messages = [*pool.map(decode, clips)]
    decoding._task.cache_clear()
    thread.join()
    cluster.add_node(wait=False, **CPUS)  # in its place
    assert all(clip.path in each for clip, each in zip(clips, messages, strict=True))
    times = {name: len(begun(notes, name)) for name in "012"}
    assert times == {name: 1 + (name in killed) for name in times}
    other = right({**decoding._versions(), "av": "0.1"}, clips[0], frames, None, 0)
    assert isinstance(other, ExecutorError)
    assert "has other libraries: av " in str(other)


def test_what_a_dead_node_was_at_is_begun_elsewhere(
    cluster: Any, notes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What was finished is not; no more units are given out than are asked for."""
    killed: list[str] = []
    thread = Thread(target=kill_at_work, args=(cluster, notes, 3, killed))
    thread.start()
    do = RayExecutor(ExecutorConfig("ray"), jobs=3)
    outcomes = do(ray_units.wait, waiters(notes, 6), "waiting", 2, "unit")
    thread.join()
    assert outcomes == {str(i): str(i) for i in range(6)}
    times = {name: len(begun(notes, name)) for name in outcomes}
    assert times == {name: 1 + (name in killed) for name in outcomes}
    assert all((notes / f"{i}.done").read_text().count("\n") == 1 for i in range(6))
    bar = capfd.readouterr().err
    assert "8/8" in bar
    assert "nodes" in bar


def _content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
