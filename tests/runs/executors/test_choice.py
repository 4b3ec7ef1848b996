"""Where units are done: what may be asked for, and caches in parts, done here in turn."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from cache_verb import SMALL, lists, run
from filelock import FileLock

from focusgym.feature_cache import DigitsConfig, make_digits, verify_cache
from focusgym.runs.cli import main
from focusgym.runs.configs.evaluate import EvaluateConfig
from focusgym.runs.configs.executor import ExecutorConfig
from focusgym.runs.configs.tune import TuneConfig
from focusgym.runs.evaluation.policy_candidate import find_deciders
from focusgym.runs.executors import executor_of
from focusgym.runs.executors.local import LocalExecutor, in_turn, jobs_here
from focusgym.runs.executors.units import ExecutorError
from focusgym.runs.options import checks
from focusgym.runs.options.parse import UsageError


@pytest.fixture
def has_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda name: name)


def refusal(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    with pytest.raises(SystemExit) as caught:
        main([*map(str, args)])
    assert caught.value.code == 2
    return capsys.readouterr().err.removeprefix("focusgym: ").strip()


def test_without_ray_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, before anything is opened."""
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    for verb in ("compare", "evaluate"):
        message = refusal(capsys, verb, tmp_path / "nothing", "--executor", "ray")
        assert message.startswith('--executor ray: Ray is not installed: `pip install ".[ray]"` in')


def test_without_ray_client_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda name: None if name == "grpc" else name)
    message = refusal(capsys, "compare", tmp_path / "nothing", "--executor", "ray://head:10001")
    assert message.startswith("--executor ray://head:10001: Ray Client is not installed: `pip inst")


@pytest.mark.usefixtures("has_ray")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--executor", "dask"), "--executor must be local, ray, or ray://HOST:PORT"),
        (("--executor", "ray://head"), "--executor must be local, ray, or ray://HOST:PORT"),
        (("--transfer", "mail"), "--transfer must be shared, object-store, or the URL of a folder"),
        (("--retries", "-1"), "--retries must be an integer of at least 0; got -1"),
        (("--gpu-share", "0"), "--gpu-share must be in [0.0001, 1], a share of a GPU, or"),
        (("--gpu-share", "1.5"), "--gpu-share must be in [0.0001, 1], a share of a GPU, or"),
        (("--gpu-share", "inf"), "--gpu-share must be in [0.0001, 1], a share of a GPU, or"),
        (("--transfer", "object-store"), "--transfer object-store is of Ray, and the executor is"),
        (("--retries", "2"), "--retries 2 is of Ray, and the executor is local: leave it"),
        (("--gpu-share", "0.5"), "--gpu-share 0.5 is of Ray, and the executor is local: leave it"),
        (("--decoders", "2"), "--decoders is of --executor ray with --device cuda: leave it out"),
        (("--executor", "ray", "--decoders", "2"), "--decoders is of --executor ray with --device"),
        (("--shards", "2"), "--shards is of an executor that is not local: leave it out"),
        (
            ("--executor", "ray", "--gpu-share", "0.5"),
            "--gpu-share 0.5 is of GPUs, and --device is",
        ),
        (("--executor", "ray", "--device", "cuda"), "there are no weights for mobilenet_v2: give"),
        (("--executor", "ray", "--shard", "1/2"), "--shard: --executor builds all parts itself"),
    ],
)
def test_what_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    videos = ("--videos", tmp_path, "--train", tmp_path / "none.csv")
    assert refusal(capsys, "cache", "build", tmp_path / "out", *videos, *options).startswith(
        message
    )


@pytest.mark.usefixtures("has_ray")
def test_a_cluster_may_be_larger_than_this_machine() -> None:
    many = TuneConfig(Path("out"), Path("space.yaml"), jobs=10_000)
    with pytest.raises(checks.OptionError, match="--jobs must be in"):
        checks.check_options(many)
    checks.check_options(replace(many, where=ExecutorConfig("ray")))
    checks.check_options(replace(many, where=ExecutorConfig("ray", gpu_share=2.0)))
    with pytest.raises(checks.OptionError, match="--jobs must be an integer of at least 1"):
        checks.check_options(replace(many, jobs=0, where=ExecutorConfig("ray")))


def test_options_of_zip_files_among_other_policies() -> None:
    """On a node the others are opened alone: what is asked for is not refused there."""
    config = EvaluateConfig((Path("run"), Path("model.zip")), algorithm="PPO")
    assert find_deciders([], config) == []
    with pytest.raises(UsageError, match="--algorithm: it is of zip files, and none is given"):
        find_deciders([], replace(config, policies=(Path("run"),)))


def test_one_unit_at_a_time_on_a_gpu_of_this_machine() -> None:
    for device, jobs, expected in (("cuda", None, 1), ("cuda:1", 3, 3), ("cpu", 2, 2)):
        with executor_of(ExecutorConfig(), device, jobs=jobs) as do:
            assert isinstance(do, LocalExecutor)
            assert do.jobs == expected
    assert jobs_here("cpu") == os.cpu_count()


def test_ray_chooses_the_gpu() -> None:
    with pytest.raises(ExecutorError, match="--device cuda:1: Ray says which GPU a unit gets"):
        executor_of(ExecutorConfig("ray"), "cuda:1")
    with pytest.raises(ExecutorError, match="--gpu-share 2.0: units compute on the CPU here"):
        executor_of(ExecutorConfig("ray", gpu_share=2.0), "cpu")
    with pytest.raises(ExecutorError, match="--decoders: parts compute on the CPU here"):
        executor_of(ExecutorConfig("ray"), "cpu", one_cpu=True)


@pytest.mark.usefixtures("has_ray")
def test_a_cache_in_parts_is_a_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts are gone; what is wrong in one is told as of the whole."""
    monkeypatch.setattr(
        "focusgym.runs.verbs.cache.executor_of", lambda *_, **__: nullcontext(in_turn)
    )
    data = tmp_path / "data"
    table = make_digits(DigitsConfig(n_train=3, n_val=2, n_test=2, n_frames=4), data)
    for split, rows in table.groupby("split"):
        rows[["path", "label"]].to_csv(data / f"{split}.csv", index=False)
    on_ray = ("--executor", "ray")
    build = ("build", *lists(data, "csv"), *SMALL)
    run(capsys, *build, tmp_path / "one")
    parts = tmp_path / "many.shards"
    (parts / "1-of-3").mkdir(parents=True)
    (parts / "1-of-3" / "thesis.txt").touch()
    message = run(capsys, *build, tmp_path / "many", *on_ray, status=2)
    assert f"{parts} holds what no build has made: 1-of-3; nothing was touched" in message
    (parts / "1-of-3" / "thesis.txt").unlink()
    (parts / "1-of-3").rmdir()
    with FileLock(f"{parts}.lock"):
        message = run(capsys, *build, tmp_path / "many", *on_ray, status=2)
    assert f"{tmp_path / 'many'} is being built by another process: wait for it" in message
    run(capsys, *build, tmp_path / "many", *on_ray, "--shards", "3")
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file():
            other = tmp_path / "many" / path.relative_to(tmp_path / "one")
            assert path.read_bytes() == other.read_bytes(), path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "many", "one"]
    run(capsys, *build, parts / "1-of-3", "--shard", "1/3")  # ended between merge and removal
    (parts / "2-of-3.partial-0123abcd").mkdir()
    (parts / "thesis.txt").touch()
    run(capsys, *build, tmp_path / "many", *on_ray)
    assert [path.name for path in parts.iterdir()] == ["thesis.txt"]
    array = tmp_path / "many" / "glance_vectors.npy"
    array.write_bytes(array.read_bytes()[:-1] + b"\7")
    all_problems = verify_cache(tmp_path / "many", sample=3)
    parts = [verify_cache(tmp_path / "many", 3, part=(i, 3)) for i in (1, 2, 3)]
    assert len(all_problems) == 2  # its checksum, and what is encoded now
    assert sorted(sentence for part in parts for sentence in part) == sorted(all_problems)
    message = run(capsys, "verify", tmp_path / "many", "--sample", "3", *on_ray, status=1)
    assert all_problems[0] in message
