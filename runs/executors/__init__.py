"""Where units of work are done: in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from ..configs.executor import ExecutorConfig
from .local import LocalExecutor, jobs_here
from .ray import RayExecutor
from .units import Executor, ExecutorError


def executor_of(
    config: ExecutorConfig,
    device: str,
    root: Path | None = None,
    jobs: int | None = None,
    one_cpu: bool = False,
    may_lack_gpu: bool = False,
    trust: tuple[str, ...] = (),
) -> AbstractContextManager[Executor]:
    """Return what does units, as options say it, for a block.

    Args:
        config: The options.
        device: Where a unit computes, as of ``--device``.
        root: Folder of all that units leave and read of one another; None if they leave nothing.
        jobs: Units at a time; None for one per core, or on GPUs for one for each share of a GPU
            of a cluster, and one on this machine.
        one_cpu: Whether a unit on a GPU leaves the CPUs of its node to tasks that decode.
        may_lack_gpu: Whether a unit computes on CPUs where no node of the cluster has a GPU.
        trust: Modules that units import first, as of ``--trust``.

    Raises:
        ExecutorError: If a device does not go together with a cluster, or is the CPU where a share
            of a GPU, or decoding for GPUs, is asked for; or if no CPU of the cluster could decode.
    """
    if config.executor == "local":
        return nullcontext(LocalExecutor(jobs or jobs_here(device), trust))
    if device.startswith("cuda:"):
        raise ExecutorError(
            f"--device {device}: Ray says which GPU a unit gets: give --device cuda with "
            f"--executor {config.executor}"
        )
    if device == "cpu" and config.gpu_share != ExecutorConfig.gpu_share:
        raise ExecutorError(
            f"--gpu-share {config.gpu_share}: units compute on the CPU here, for --device or the "
            "cache says so: leave it out"
        )
    if device == "cpu" and one_cpu:
        raise ExecutorError(
            "--decoders: parts compute on the CPU here, for --device says so, or finds no GPU: "
            "leave it out, and all CPUs decode; or give --device cuda"
        )
    return RayExecutor(config, root, jobs, device == "cuda", one_cpu, may_lack_gpu, trust)
