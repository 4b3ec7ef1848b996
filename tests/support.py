"""What several test modules use: sizes and a writer of synthetic caches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from focusgym.envs import FeatureSource, FocusEngine
from focusgym.feature_cache import FeatureCache, video_table
from focusgym.feature_cache.reading.manifest import group_fingerprint
from focusgym.recognizer import (
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    OptionGroup,
    PatchGrid,
    Places,
    PolicyNetwork,
    WholeFrame,
    build_classifier,
    option_group,
    write_bundle,
)

LIST_COLUMNS = ["name", "path", "label", "labels", "split"]
LIST_COLUMNS += ["start_s", "end_s", "images", "n_images", "missing"]
N, T, SIDE, G, L, C, GRID = 10, 4, 3, 5, 6, 3, 3
NO_ENCODER = {"name": "random", "input_px": None, "weights_sha256": ""}


def write_cache(
    root: Path,
    *,
    n: int = N,
    steps: int = T,
    seed: int = 0,
    all_labels: Sequence[Sequence[int]] | None = None,
) -> FeatureCache:
    """Write a cache of random features: 60 % train, 20 % val, 20 % test.

    ``all_labels`` gives each video several labels; else it has one, at random.
    """
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(n, steps, SIDE, SIDE, G)).astype(np.float16)
    group = OptionGroup("p12_3x3", PatchGrid(32, 12, GRID), "local", L, 1.5)
    arrays = {
        "glance_maps": maps,
        "glance_vectors": maps.astype(np.float32).mean((2, 3)).astype(np.float16),
        "local_vectors_p12_3x3": rng.normal(size=(n, steps, GRID**2, L)).astype(np.float16),
        "frame_indices": np.tile(np.arange(steps), (n, 1)),
        "crops_px": np.tile(np.array([0, 0, 32, 32], dtype=np.int32), (n, 1)),
        "flipped": np.zeros(n, dtype=bool),
    }
    root.mkdir(parents=True)
    for name, values in arrays.items():
        np.save(root / f"{name}.npy", values)
    split = np.repeat(["train", "val", "test"], [n - 2 * (n // 5), n // 5, n // 5])
    labels = rng.integers(C, size=n)
    videos = video_table([f"{i}.mp4" for i in range(n)], labels.tolist(), split.tolist())
    if all_labels is not None:
        videos["label"] = [several[0] for several in all_labels]
        videos["labels"] = [";".join(map(str, several)) for several in all_labels]
    videos.drop(columns="missing").assign(view=-1).to_csv(root / "videos.csv", index=False)
    depends_on = {
        "classes": [str(i) for i in range(C)],
        "frames": {"steps": steps, "frame_px": 32, "resize_px": None},
        **{"augment": None, "dtype": "float16", "device": "cpu", "libraries": {}},
        "seed": seed,
    }
    manifest = {
        "depends_on": depends_on,
        "encoders": {"glance": NO_ENCODER, "local": NO_ENCODER},
        "groups": {},
        "fingerprints": {},
        "shard": None,
        "videos_root": {"from_cache": None, "absolute": ""},
        "skipped": [],
        "decoders": {},
        "glance_map_range": [float(maps.min()), float(maps.max())],
        "glance_gmacs": 0.3,
    }
    enter_group(root, manifest, group)
    return FeatureCache.open(root)


def enter_group(root: Path, manifest: dict[str, Any], group: OptionGroup) -> None:
    """Enter an option group into the manifest of a cache."""
    manifest["groups"][group.name] = group.describe()
    manifest["fingerprints"][group.name] = group_fingerprint(manifest, group.name)
    (root / "manifest.json").write_text(json.dumps(manifest))


def small_group(places: Places) -> OptionGroup:
    """Return the option group of places that ``small_local``, as the encoder ``local``, reads."""
    return option_group(places, "local", Encoder(EncoderConfig("small_local")))


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def make_images(folder: Path, template: str, n_images: int) -> None:
    for number in range(1, n_images + 1):
        touch(folder / (template % number))


def rows_of(videos: pd.DataFrame) -> list[tuple[object, ...]]:
    """All columns but the path; times that are not given as None."""
    assert list(videos.columns) == LIST_COLUMNS
    assert videos["label"].dtype == videos["n_images"].dtype == np.int64
    assert videos["start_s"].dtype == videos["end_s"].dtype == np.float64
    table = videos.drop(columns="path").astype(object)
    return list(table.where(table.notna(), None).itertuples(index=False, name=None))


def add_group(cache: FeatureCache) -> str:
    """Give a cache a second option group of 2×2 patches; returns its name."""
    group = OptionGroup("p8_2x2", PatchGrid(32, 8, 2), "local", L, 0.7)
    local = np.random.default_rng(1).normal(size=(cache.n_videos, cache.steps, 4, L))
    np.save(cache.root / f"local_vectors_{group.name}.npy", local.astype(np.float16))
    enter_group(cache.root, json.loads((cache.root / "manifest.json").read_text()), group)
    return group.name


def add_frames(cache: FeatureCache, sides: Sequence[int] = (32, 16)) -> tuple[str, ...]:
    """Give a cache an option group of whole frames for each side; returns their names.

    The price is that of a patch, 1.5 GMACs, for 12 px, and grows with the area.
    """
    manifest = json.loads((cache.root / "manifest.json").read_text())
    names = []
    for side in sides:
        group = OptionGroup(f"full{side}", WholeFrame(32, side), "local", L, 1.5 * (side / 12) ** 2)
        local = np.random.default_rng(side).normal(size=(cache.n_videos, cache.steps, 1, L))
        np.save(cache.root / f"local_vectors_{group.name}.npy", local.astype(np.float16))
        enter_group(cache.root, manifest, group)
        names.append(group.name)
    return tuple(names)


def write_classifier(cache: FeatureCache, path: Path, seed: int = 0, **config: Any) -> Path:
    """Write an f_C of random weights for the opened groups of a cache."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        widths = cache.glance_channels, cache.local_channels, cache.n_classes
        sizes = ClassifierConfig(*widths, **{"hidden": 7, **config})
        classifier = build_classifier(sizes).eval()
    with torch.no_grad():
        for weights in classifier.parameters():
            weights.mul_(3)  # confidences far from 1 / C
    write_bundle(path, "classifier", classifier.config, classifier, cache.fingerprint)
    return path


def broken(videos: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Damage three of the five files in three ways, and take one away."""
    folder.mkdir(exist_ok=True)
    intact = Path(videos["path"][0]).read_bytes()
    (folder / "1.mp4").write_bytes(intact[:500])
    (folder / "2.mp4").touch()
    (folder / "3.mp4").write_text("this is text")
    names = [str(folder / f"{i}.mp4") for i in range(1, 5)]
    return videos.assign(path=[videos["path"][0], *names])


class Literal:
    """Eq. 4 and 9 as the paper writes them: torch's own layers, float64, the files' raw features.

    Attributes:
        cache: What `write_cache` wrote.
        classifier: The network under test; only its weights are used here.
        files: Keywords of an environment over both.
    """

    def __init__(self, folder: Path, *, seed: int = 0, all_labels: Any = None, **config: Any):
        """Write a cache and a classifier of random weights into a folder."""
        self.cache = write_cache(folder / "cache", seed=seed, all_labels=all_labels)
        self.files = {"cache": self.cache.root, "classifier": folder / "classifier"}
        self.write_classifier(seed, **config)
        self._glance = np.load(self.cache.root / "glance_vectors.npy").astype(np.float64)
        self._local = np.load(self.cache.root / "local_vectors_p12_3x3.npy").astype(np.float64)

    def write_classifier(self, seed: int, **config: Any) -> None:
        """Write a classifier, or another one in its place."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.classifier = build_classifier(ClassifierConfig(G, L, C, hidden=7, **config)).eval()
        with torch.no_grad():
            for weights in self.classifier.parameters():
                weights.mul_(3)  # confidences far from 1 / C
        path, fingerprint = self.files["classifier"], self.cache.fingerprint
        write_bundle(path, "classifier", self.classifier.config, self.classifier, fingerprint)

    @torch.no_grad()
    def probabilities(self, video: int, looks: Sequence[tuple[int, int]]) -> Tensor:
        """Return p′_t(b_1, ..., b_t), ``(C,)``: ``looks`` has an option and b for every frame."""
        local = [b * self._local[video, t, option] for t, (option, b) in enumerate(looks)]
        x = torch.from_numpy(np.stack(local))
        config, weights = self.classifier.config, self.classifier.state_dict()
        if config.reuse_glance:
            x = torch.cat([torch.from_numpy(self._glance[video, : len(looks)]), x], dim=1)
        head = nn.Linear(weights["head.weight"].shape[1], C).double()
        head.load_state_dict({name: weights[f"head.{name}"] for name in ("weight", "bias")})
        if config.aggregation == "average":
            return torch.stack([head(frame).softmax(-1) for frame in x]).mean(0)
        gru = nn.GRU(x.shape[1], config.hidden).double()
        gru.load_state_dict(
            {name[4:]: value for name, value in weights.items() if name.startswith("gru.")}
        )
        return head(gru(x)[0][-1]).softmax(-1)

    def confidence(
        self, video: int, looks: Sequence[tuple[int, int]], labels: str = "first"
    ) -> float:
        """Return the probability of the first label, or the mean of those of all labels."""
        true = [int(k) for k in self.cache.videos["labels"][video].split(";")]
        p = self.probabilities(video, looks)
        return float(p[true[0]] if labels == "first" else sum(p[k] for k in true) / len(true))


@torch.no_grad()
def assert_choices(
    network: PolicyNetwork, maps: Tensor, options: Any, attended: Any, atol: float = 1e-4
) -> None:
    """Compare choices with a policy's probabilities; where these are equal, either choice is right.

    Two ways to compute a logit differ by rounding, and each processor rounds in its own way.

    Args:
        network: π, and π′ if it has one.
        maps: ``(B, T, h, w, G)``.
        options: ``(B, T)``, the most probable ones.
        attended: ``(B, T)`` bool, whether p^B reaches ρ.
        atol: By how much a logit, or p^B, may miss.
    """
    options, looks = torch.as_tensor(options), torch.as_tensor(attended)
    logits = network(maps)
    taken = logits.gather(-1, options[..., None])[..., 0]
    assert (logits.max(-1).values - taken <= atol).all()
    if network.keep is None:
        assert looks.all()
        return
    above = network.keep(maps) - network.config.threshold
    assert ((above >= 0) == looks)[above.abs() > atol].all()


@dataclass(frozen=True)
class Scaled:
    """A user's own reward design: the confidence, times a factor."""

    factor: float
    draws: ClassVar[int] = 0
    compares_skip: ClassVar[bool] = False

    def __call__(self, p: Any) -> Tensor:
        return self.factor * p.chosen


def assert_same(actual: Any, expected: Any, where: str = "it") -> None:
    """Compare what environments return, all the way down: floats within 1e-5, the rest exactly."""
    if isinstance(expected, dict):
        assert isinstance(actual, dict), where
        assert actual.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_same(actual[key], value, f"{where}: {key}")
    elif isinstance(expected, tuple | list):
        assert len(actual) == len(expected), where
        for i, value in enumerate(expected):
            assert_same(actual[i], value, f"{where}: {i}")
    elif isinstance(expected, np.ndarray) and expected.dtype != object:
        assert (type(actual), actual.shape) == (np.ndarray, expected.shape), where
        assert actual.dtype == expected.dtype, where
        atol = 1e-5 if expected.dtype.kind == "f" else 0
        np.testing.assert_allclose(actual, expected, rtol=0, atol=atol, err_msg=where)
    elif isinstance(expected, np.ndarray):
        assert (actual.dtype, actual.shape) == (object, expected.shape), where
        assert_same(list(actual), list(expected), where)
    else:
        assert type(actual) is type(expected), where
        assert actual == (pytest.approx(expected, abs=1e-5) if type(actual) is float else expected)


def engine_of(literal: Literal, labels: str = "first") -> FocusEngine:
    """Return an engine on the cache and f_C of a literal."""
    return FocusEngine(FeatureSource(literal.cache, literal.classifier), labels)


def advance(
    engine: FocusEngine, options: np.ndarray, attended: np.ndarray | None = None
) -> torch.Tensor:
    """Feed the next segments in order; return the logits."""
    looks = np.ones(len(options), dtype=bool) if attended is None else attended
    tried = engine.try_options(engine.step, np.where(looks, options, 0)[:, None], looks[:, None])
    engine.commit(tried)
    return engine.logits
