"""Units on a Ray cluster, several at a time; what a lost node was at is begun again elsewhere."""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..configs.executor import ExecutorConfig
from .node import Carried, Done, Head, work
from .transfer import SHARED, Archive, Carrier, below
from .units import ExecutorError, Unit, check_failures

_AHEAD = 2  # units that are given out for each CPU, so that none waits for this process
_LOOK_S = 5.0  # between looks at how large the cluster is
_ENVIRONMENT = {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}  # of processes that do units
_NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}  # else --device auto finds those that Ray gives to others


class RayExecutor:
    """Does units as tasks of Ray, each on a CPU, or on GPUs and their CPUs; see `Executor`.

    It joins a cluster when there is something to do, and leaves it at the end of the block that it
    is the context manager of. A cluster that it started itself ends then.
    """

    def __init__(
        self,
        config: ExecutorConfig,
        root: Path | None = None,
        jobs: int | None = None,
        gpu: bool = False,
        one_cpu: bool = False,
        may_lack_gpu: bool = False,
        trust: tuple[str, ...] = (),
    ) -> None:
        """Say where, and how.

        Args:
            config: Which cluster, how files come here, how often a lost unit is begun again.
            root: Folder of all that units leave and read of one another.
            jobs: Units at a time; None for as many as the cluster has CPUs or GPUs for.
            gpu: Whether a unit takes a share of a GPU.
            one_cpu: Whether it then leaves those that go with its share to tasks that decode.
            may_lack_gpu: Whether units take CPUs where no node has such a share.
            trust: Modules that units import first.
        """
        self._config = config
        self._root = None if root is None else root.resolve()
        self._jobs = jobs
        self._gpus = config.gpu_share if gpu else 0.0
        self._one_cpu = one_cpu
        self._may_lack_gpu = may_lack_gpu
        self._trust = trust
        self._carrier = None if config.transfer == SHARED else Carrier(config.transfer)
        self._ray: Any = None
        self._leaves = False
        self._sent: dict[Path, Archive | Any] = {}  # archives, or Ray's references to them
        self._looked_s = -_LOOK_S
        self._nodes = 0
        self._at_once = 1
        self._cpus = 1

    def __enter__(self) -> RayExecutor:
        """Join nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the cluster, if it was joined here; what was carried there is removed."""
        try:
            if self._carrier is not None:
                for archive in self._sent.values():
                    self._carrier.remove(archive)
        finally:
            if self._leaves:
                self._ray.shutdown()

    def __call__(
        self,
        function: Callable[..., Any],
        units: Mapping[str, Unit],
        title: str,
        done: int = 0,
        kind: str = "training",
    ) -> dict[str, Any]:
        """Do all units."""
        if not units:
            return {}
        ray = self._join()
        if self._gpus and self._may_lack_gpu and not gpu_slots(ray.nodes(), self._gpus):
            self._gpus = 0.0
        # A process that has computed on a GPU keeps memory there, and the first GPU it was given.
        once = {"max_calls": 1} if self._gpus else {}
        anywhere = ray.remote(max_retries=0, **once)(work)
        environment = _ENVIRONMENT if self._gpus else _ENVIRONMENT | _NO_GPU
        head, sent = Head(os.getcwd(), trust=self._trust), ray.put(_pickled(function))
        waiting = [*units][::-1]
        begun = dict.fromkeys(units, 0)
        running: dict[Any, str] = {}
        results: dict[str, Any] = {}
        failures: dict[str, str] = {}
        bar = tqdm(total=done + len(units), initial=done, desc=title, unit=kind)
        try:
            while waiting or running:
                self._look(bar, sum(times - 1 for times in begun.values() if times > 1))
                sized_head = replace(head, cpus=self._cpus)
                # Whoever waits for tasks that decode must hold no CPU that they wait for: Ray lends
                # a waiting task's CPU to others only if it waits in its main thread.
                task = anywhere.options(
                    num_cpus=0 if self._one_cpu else self._cpus,
                    num_gpus=self._gpus,
                    runtime_env={"env_vars": environment},
                )
                while waiting and len(running) < self._at_once:
                    name = waiting.pop()
                    begun[name] += 1
                    running[self._submit(task, sized_head, sent, units[name])] = name
                ready, _ = ray.wait([*running], timeout=_LOOK_S)
                for each in ready:
                    name = running.pop(each)
                    try:
                        became: Done = ray.get(each)
                    except ray.exceptions.RayError as error:
                        # A task itself raises nothing, unless the node lacks focusgym.
                        is_lost = not isinstance(error, ray.exceptions.RayTaskError)
                        why = _lost(error, begun[name]) if is_lost else _refused(error)
                        became = Done(failure=why, is_lost=is_lost)
                    if became.is_lost and begun[name] <= self._config.retries:
                        waiting.append(name)
                        continue
                    self._take(became, units[name])
                    if became.failure:
                        failures[name] = became.failure
                    else:
                        results[name] = became.result
                    bar.update()
        finally:
            bar.close()
            for each in running:  # an interruption, or a full disk, waits for nobody
                ray.cancel(each, force=True)
            if running:
                ray.wait([*running], num_returns=len(running), timeout=_LOOK_S)
        check_failures(failures, len(units), title)
        return {name: results[name] for name in units}

    def _join(self) -> Any:
        """Join the cluster, and return the module of Ray."""
        if self._ray is not None:
            return self._ray
        if self._carrier is not None:
            self._carrier.check()
        import ray

        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if not ray.is_initialized():
            where = self._config.executor
            try:
                ray.init("auto" if where == "ray" else where, **quiet)
            except ConnectionError as error:
                if where != "ray" or "RAY_ADDRESS" in os.environ:
                    of_client = (
                        ""
                        if where == "ray"
                        else ". The port is that of Ray Client, 10001 unless "
                        "`ray start` got another; and with a cluster that wants a token, set "
                        "RAY_AUTH_MODE=token here, and give its token"
                    )
                    raise ExecutorError(
                        f"--executor {where}: no Ray cluster answers ({error}): start one with "
                        f"`ray start --head`, or check the address and RAY_ADDRESS{of_client}"
                    ) from error
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it is nobody's cluster
                ray.init("local", include_dashboard=False, **quiet)
            self._leaves = True
        self._ray = ray
        return ray

    def _look(self, bar: tqdm[Any], again: int) -> None:
        """See how large the cluster is now, and show it."""
        if time.monotonic() - self._looked_s < _LOOK_S:
            return
        self._looked_s = time.monotonic()
        resources, nodes = self._ray.cluster_resources(), self._ray.nodes()
        if self._one_cpu and not resources.get("CPU"):
            raise ExecutorError(
                "--decoders: the cluster has no CPU that could decode: add a node with CPUs, or "
                "start one with another `ray start --num-cpus`"
            )
        self._nodes = sum(node["Alive"] for node in nodes)
        self._cpus = 1 if self._one_cpu else cpus_of_unit(nodes, self._gpus)
        slots = gpu_slots(nodes, self._gpus) if self._gpus else int(resources.get("CPU", 0))
        self._at_once = self._jobs or max(1, _AHEAD * slots)
        shown = [f"{self._nodes} node{'' if self._nodes == 1 else 's'}"]
        shown += [f"{again} begun again"] if again else []
        shown += [] if slots else [f"waiting for a {'GPU' if self._gpus else 'CPU'}"]
        bar.set_postfix_str(", ".join(shown))

    def _submit(self, task: Any, head: Any, function: Any, unit: Unit) -> Any:
        """Give out a unit; return Ray's reference to what becomes of it."""
        if self._carrier is None or self._root is None:
            return task.remote(head, function, _pickled(unit.arguments), None)
        out = None if unit.out is None else self._place(unit.out)
        begun = [unit.out] if unit.out is not None and unit.out.exists() else []  # it goes on
        paths = [*dict.fromkeys((*unit.reads, *begun))]
        for path in paths:
            if path not in self._sent or path in begun:
                archive = self._carrier.pack(path)
                by_url = isinstance(archive, str)
                if by_url and path in self._sent:
                    self._carrier.remove(self._sent[path])
                self._sent[path] = archive if by_url else self._ray.put(archive)
        carried = Carried(self._carrier, out, tuple(map(self._place, paths)))
        arguments = _pickled(unit.arguments, self._root)
        return task.remote(
            head, function, arguments, carried, *(self._sent[path] for path in paths)
        )

    def _place(self, path: Path) -> str:
        assert self._root is not None
        return path.resolve().relative_to(self._root).as_posix()

    def _take(self, became: Done, unit: Unit) -> None:
        """Put the folder of a unit into its place."""
        if became.full is not None:
            number, name = became.full
            raise OSError(number, os.strerror(number), name)
        if became.archive is not None and self._carrier is not None and unit.out is not None:
            self._carrier.place(became.archive, unit.out)


def cpus_of_unit(nodes: Iterable[Mapping[str, Any]], gpus: float) -> int:
    """Return how many CPUs a unit takes: one, or the CPUs that go with its share of a GPU.

    They decode beside the encoders. As many as the node has that has the fewest for each GPU, so
    that a unit fits on every node with a GPU.

    Args:
        nodes: As Ray lists them.
        gpus: That a unit takes.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"]] if gpus else []
    per_gpu = [has.get("CPU", 0) / has["GPU"] for has in resources if has.get("GPU")]
    return max(1, int(gpus * min(per_gpu, default=0)))


def gpu_slots(nodes: Iterable[Mapping[str, Any]], gpus: float) -> int:
    """Return how many units run at a time: none has GPUs of two nodes, or shares of two GPUs.

    Args:
        nodes: As Ray lists them.
        gpus: That a unit takes, a share of one or a whole number.
    """
    gpu_counts = [int(node["Resources"].get("GPU", 0)) for node in nodes if node["Alive"]]
    if gpus >= 1:
        return sum(n // int(gpus) for n in gpu_counts)
    return sum(gpu_counts) * int(1 / gpus + 1e-9)  # 1 / (1 / 49) is rounded


def _pickled(value: Any, root: Path | None = None) -> bytes:
    """Return a value for other machines; paths below the root are those of the unit there."""
    from ray import cloudpickle  # what a script has defined itself travels too

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def persistent_id(self, value: object) -> tuple[str, str] | None:
            return None if root is None else below(root, value)

    content = io.BytesIO()
    Pickler(content).dump(value)
    return content.getvalue()


def _refused(error: Exception) -> str:
    """Say why a node could not even begin a unit."""
    last = [line for line in str(error).splitlines() if line.strip()][-1:] or [repr(error)]
    return f"could not be begun on its node: {last[0].strip()}: install focusgym there, as here"


def _lost(error: Exception, times: int) -> str:
    """Say that a unit did not come back."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    tried = "once" if times == 1 else f"{times} times"
    return (
        f"was begun {tried} and never came back, for its process or its node ended: {first} (of "
        "memory it may need more; --retries says how often it is begun again)"
    )
