"""Shared fixtures: a synthetic cache with a classifier, and where the real clips are."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch
from support import C, G, L, write_cache

from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import ClassifierConfig, GruClassifier, write_bundle

# The tests' networks are small: a thread each, unless another number is asked for.
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))

# A busy machine takes long for anything.
SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("focusgym", deadline=None, suppress_health_check=SLOW)
hypothesis.settings.load_profile("focusgym")


def _leave_in_memory(descriptor: int) -> None:
    """Return without waiting for the disk: no test takes the power away."""


os.fsync = _leave_in_memory  # thousands of files are written; tests of it put in their own


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process waits for another at the end."""
    first = ("test_docs.py", "test_kinds.py", "runs", "recognizer")

    def rank(item: pytest.Item) -> int:
        names = item.path.relative_to(Path(__file__).parent).parts
        return next((i for i, name in enumerate(first) if name in names), len(first))

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Look for garbage in what tests make alone: all that is imported takes a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def logs_of_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Stable-Baselines3 makes a folder for whatever logs nowhere: let it be one of this run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SB3_LOGDIR", str(tmp_path_factory.mktemp("sb3")))
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread: a process that is forked from several may wait forever."""
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return write_cache(tmp_path / "cache")


@pytest.fixture
def classifier() -> GruClassifier:
    torch.manual_seed(0)
    return GruClassifier(ClassifierConfig(G, L, C, hidden=7)).eval()


@pytest.fixture
def classifier_path(tmp_path: Path, cache: FeatureCache, classifier: GruClassifier) -> Path:
    path = tmp_path / "classifier"
    write_bundle(path, "classifier", classifier.config, classifier, cache.fingerprint)
    return path


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real clips and weights that stands beside the project, or a skip."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    path = Path(os.environ.get("FOCUSGYM_DATA", default)).resolve()
    if not (path / "gestures").is_dir():
        pytest.skip(f"no real clips at {path}: set FOCUSGYM_DATA to run this test")
    return path
