"""Rows of a cache with random and with a policy's patches; the same training as on pixels."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from support import G, T
from torch import Tensor

from focusgym.feature_cache import (
    CacheConfig,
    DigitsConfig,
    FeatureCache,
    VideoSamples,
    build_cache,
    make_digits,
    video_table,
)
from focusgym.recognizer import (
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FitConfig,
    Fitted,
    FrameConfig,
    OnFeatures,
    OnPixels,
    PatchGrid,
    PolicyConfig,
    PolicyNetwork,
    Purpose,
    Samples,
    TensorSamples,
    build_classifier,
    fit,
    generator,
    option_group,
    read_checkpoint,
)
from focusgym.runs.training.samples import (
    in_order,
    policy_samples,
    random_samples,
    segment_order,
)

K = 9


def make_policy(
    shape: tuple[int, int, int], n_options: int, threshold: float | None
) -> PolicyNetwork:
    torch.manual_seed(2)
    config = PolicyConfig(*shape, n_options, conv_channels=4, hidden=8, threshold=threshold)
    policy = PolicyNetwork(config).eval()
    with torch.no_grad():
        for head in [policy.actor, *([policy.keep.actor] if policy.keep else [])]:
            head.weight.mul_(60)
    return policy


def chosen(samples: TensorSamples, cache: FeatureCache, split: str, epoch: int) -> Tensor:
    """Return the options ``(n, T)`` whose local vectors the samples have, one row at a time."""
    local = np.load(cache.root / "local_vectors_p12_3x3.npy").astype(np.float32)
    options = []
    for row, video in enumerate(cache.split(split)):
        _, e_l, _ = samples.load(epoch, torch.tensor([row]))
        for t in range(T):
            same = [k for k in range(K) if np.array_equal(local[video, t, k], e_l[0, t])]
            options += same or [K]
            assert same or not e_l[0, t].any()
    return torch.tensor(options).view(-1, T)


def test_random_patches(cache: FeatureCache) -> None:
    """Floor(9·u) of the first draw, a skip where the second is below the rate: keyed by row."""
    for rate in (0.0, 0.4):
        samples = random_samples(cache, "train", rate, [5, 1])
        assert samples.n == 6
        options_by_epoch = []
        for epoch in (0, 1):
            options = chosen(samples, cache, "train", epoch)
            for row in range(6):
                drawn = generator(Purpose.SAMPLE_DRAWS, 5, 1, epoch, row).random((T, 2))
                expected = [K if skip < rate else int(K * where) for where, skip in drawn]
                assert options[row].tolist() == expected
            options_by_epoch.append(options)
            batch = samples.load(epoch, torch.tensor([4, 0]))
            for i, row in enumerate((4, 0)):
                alone = samples.load(epoch, torch.tensor([row]))
                assert all(torch.equal(a[i], b[0]) for a, b in zip(batch, alone, strict=True))
        assert not torch.equal(*options_by_epoch)
        assert bool((options_by_epoch[0] == K).any()) == (rate > 0)


@pytest.mark.parametrize("sample", [False, True])
@pytest.mark.parametrize("threshold", [None, 0.5])
def test_a_policys_patches(threshold: float | None, sample: bool, cache: FeatureCache) -> None:
    """Literally: one video and frame after the other, from the maps on disk."""
    policy = make_policy((3, 3, G), K, threshold)
    maps = torch.from_numpy(np.load(cache.root / "glance_maps.npy").astype(np.float32))
    with torch.no_grad():
        if policy.keep:
            policy.keep.actor.bias -= policy.keep(maps).logit().median()
        p = policy(maps).double().softmax(-1).numpy()
        keep = policy.keep(maps).numpy() if policy.keep else np.ones(maps.shape[:2])
    options_by_epoch: dict[int, list[Tensor]] = {0: [], 1: []}
    for split, epoch in itertools.product(("train", "val"), options_by_epoch):
        samples = policy_samples(cache, split, policy, 0.3, [5, 2], sample=sample)
        options = chosen(samples, cache, split, epoch)
        for row, video in enumerate(cache.split(split)):
            drawn = generator(Purpose.SAMPLE_DRAWS, 5, 2, epoch, row).random((T, 2))
            for t, (where, whether) in enumerate(drawn):
                option = int(p[video, t].argmax())
                looks = keep[video, t] >= 0.5
                if sample:
                    option = int((p[video, t].cumsum() <= where).sum())
                    looks = whether < keep[video, t]
                if threshold is None:  # no π′: skipped at random
                    looks = whether >= 0.3
                assert options[row, t] == (option if looks else K)
        options_by_epoch[epoch].append(options)
    first, second = (torch.cat(each) for each in options_by_epoch.values())
    assert bool((first == K).any())
    assert len(first.unique()) > 2
    assert torch.equal(first, second) == (not sample and threshold is not None)


SIZES: dict[str, Any] = {"steps": 3, "frame_px": 64}
CONFIG = FitConfig(4, 3, {"classifier": 0.2})


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    root = tmp_path_factory.mktemp("digits") / "data"
    table = make_digits(DigitsConfig(n_train=8, n_val=1, n_test=1, n_frames=6), root)
    paths = [str(root / path) for path in table["path"]]
    return video_table(paths, table["label"].tolist(), table["split"].tolist())


@pytest.fixture(scope="module")
def encoders() -> tuple[Encoder, Encoder]:
    torch.manual_seed(0)
    glance, local = (
        Encoder(EncoderConfig("small_glance", input_px=12)),
        Encoder(EncoderConfig("small_local")),
    )
    for encoder in (glance, local):  # statistics that are not those of a new network
        encoder.train()
        with torch.no_grad():
            for _ in range(3):
                encoder(torch.randint(256, (16, 3, 28, 28), dtype=torch.uint8))
    return glance.eval(), local.eval()


@pytest.fixture(scope="module")
def caches(
    digits: pd.DataFrame,
    encoders: tuple[Encoder, Encoder],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, FeatureCache]:
    root, classes = tmp_path_factory.mktemp("caches"), [str(i) for i in range(10)]
    groups = (option_group(PatchGrid(64, 28), "local", encoders[1]),)
    networks = dict(zip(("glance", "local"), encoders, strict=True))
    return {
        dtype: FeatureCache.open(
            build_cache(
                digits,
                classes,
                root / dtype,
                networks,
                CacheConfig(FrameConfig(**SIZES), groups, dtype=dtype),
            )
        )
        for dtype in ("float16", "float32")
    }


def trained(
    stage: OnPixels | OnFeatures, samples: Callable[[bool], Samples], checkpoint: Path
) -> tuple[Fitted, list[Tensor], dict[str, Tensor]]:
    """Train f_C, and select on what it was trained on, so that it gets better.

    Returns:
        What was kept, the logits of all batches, and the last weights.
    """
    logits: list[Tensor] = []
    stage.register_forward_hook(lambda module, inputs, out: logits.append(out.detach()))
    data, validation = samples(True), samples(False)
    kept = fit(stage, data, validation, CONFIG, name="test", seed=[1], checkpoint=checkpoint)
    tensors = read_checkpoint(checkpoint)[1]
    return kept, logits, {k: v for k, v in tensors.items() if k.startswith("weights.")}


CASES: dict[str, dict[str, Any]] = {
    "stage I": {},
    "stage I with skips": {"skip_rate": 0.3},
    "stage I, no glance": {"reuse_glance": False},
    "stage III": {"threshold": 0.5},
    "stage III, no second policy": {"threshold": None, "skip_rate": 0.3},
    "stage III, sampled": {"threshold": 0.5, "sample": True},
    "stage III, no glance": {"threshold": 0.5, "reuse_glance": False},
    "stage III, no glance, sampled": {"threshold": 0.5, "reuse_glance": False, "sample": True},
}


@pytest.mark.parametrize(
    ("case", "dtype"),
    [*((case, "float32") for case in CASES), ("stage I", "float16"), ("stage III", "float16")],
)
def test_pixels_and_cache_are_one_training(
    case: str,
    dtype: str,
    digits: pd.DataFrame,
    encoders: tuple[Encoder, Encoder],
    caches: dict[str, FeatureCache],
    tmp_path: Path,
) -> None:
    """Same start, same draws, f_L frozen: logits and weights within the rounding of features."""
    cache, options = caches[dtype], dict(CASES[case])
    reuse_glance, skip_rate = options.pop("reuse_glance", True), options.get("skip_rate", 0.0)
    policy = None
    if "threshold" in options:
        policy = make_policy(cache.map_shape, cache.n_options, options.pop("threshold"))
        if policy.keep:
            with torch.no_grad():
                everywhere = policy.keep(cache.glance_maps(np.arange(cache.n_videos)))
                policy.keep.actor.bias -= everywhere.logit().median() + 0.01

    def on_pixels(training: bool) -> VideoSamples:
        videos = digits[digits["split"] == "train"].reset_index(drop=True)
        return VideoSamples(videos, 10, FrameConfig(**SIZES), draws_key=[4, 5])

    def on_cache(training: bool) -> TensorSamples:
        # What is validated is neither skipped at random nor sampled.
        rate = skip_rate if training else 0.0
        if policy is None:
            return random_samples(cache, "train", rate, [4, 5])
        sample = training and options.get("sample", False)
        return policy_samples(cache, "train", policy, rate, [4, 5], sample=sample)

    stages: list[OnPixels | OnFeatures] = []
    for on in ("pixels", "cache"):
        torch.manual_seed(1)
        sizes = ClassifierConfig(*(e.channels for e in encoders), 10, 16, 0.3, reuse_glance)
        classifier = build_classifier(sizes)
        if on == "pixels":
            stages.append(OnPixels(*encoders, classifier, cache.places, policy, **options))
        else:
            stages.append(OnFeatures(classifier))
    start = {k: v.clone() for k, v in stages[0].classifier.state_dict().items()}
    patches = list_of_looks(stages[0])
    kept, logits, weights = trained(stages[0], on_pixels, tmp_path / "pixels")
    kept_cache, logits_cache, weights_cache = trained(stages[1], on_cache, tmp_path / "cache")

    rounding = 1e-4 if dtype == "float16" else 2e-6
    assert len(logits) == len(logits_cache) == 3 + 4 * (3 + 3)
    for one, other in zip(logits, logits_cache, strict=True):
        assert torch.allclose(one, other, atol=rounding, rtol=rounding)
    assert kept.epoch == kept_cache.epoch > 0
    assert kept.val_accuracy == kept_cache.val_accuracy
    assert kept.val_loss == pytest.approx(kept_cache.val_loss, rel=rounding)
    for name, before in start.items():
        one, other = (each[f"weights.classifier.{name}"] for each in (weights, weights_cache))
        assert float((one - other).norm()) < 5 * rounding * float((one - before).norm())
    if "skip_rate" in CASES[case] or CASES[case].get("threshold"):
        assert 0 < sum(patches) < (len(logits) - 3) * 9, "some frames are skipped"


def list_of_looks(stage: Any) -> list[int]:
    """Return what is filled with how many patches f_L sees in each batch."""
    patches: list[int] = []
    stage.local_encoder.trunk.register_forward_pre_hook(
        lambda _, inputs: patches.append(len(inputs[0]))
    )
    return patches


@pytest.mark.parametrize("order", ["coarse_to_fine", "shuffled", "gaps"])
def test_segments_in_another_order(cache: FeatureCache, order: str) -> None:
    """The same segments, glance and look together; drawn anew for every video and epoch."""
    steps = np.arange(T, dtype=np.float32)
    glance = torch.from_numpy(np.tile(steps[:, None], (5, 1, G)))
    plain = TensorSamples(5, lambda _, rows: (glance[rows], 10 * glance[rows], rows))
    key, rows = [3, 10], torch.tensor([4, 0, 2])
    ((seen, local, labels),) = in_order(plain, order, T, key).batches(1, [rows])
    assert torch.equal(local, 10 * seen)
    assert torch.equal(labels, rows)
    orders = seen[..., 0].long().tolist()
    assert orders == [segment_order(order, T, [*key, 1, r]).tolist() for r in rows.tolist()]
    assert [sorted(each) for each in orders] == 3 * [[*range(T)]]
    drawn = {tuple(segment_order(order, 9, [*key, epoch, 0])) for epoch in range(50)}
    if order == "coarse_to_fine":
        assert drawn == {(4, 0, 8, 2, 6, 3, 5, 1, 7)}
    if order == "shuffled":
        assert len(drawn) == 50
    if order == "gaps":
        falls = [sum(a > b for a, b in itertools.pairwise(each)) for each in drawn]
        assert set(falls) == {0, 1}, "at most once back, to those left out"
    assert in_order(plain, "video", T, key) is plain
