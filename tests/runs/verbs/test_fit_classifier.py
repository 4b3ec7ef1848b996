"""``focusgym fit classifier``: f_C on rows of a cache, on random and on a policy's patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support import GRID, C, G, L, T, add_group, write_cache
from torch import Tensor
from verbs import Call, assert_kept, make_policy, refused, run_fit, single_batch

from focusgym.agents import policy_plan, read_policy
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import (
    ClassifierConfig,
    FitConfig,
    GruClassifier,
    OnFeatures,
    PolicyNetwork,
    read_bundle,
    read_classifier,
    uniform_draws,
    write_bundle,
)

K = GRID**2
HOW = ("--epochs", "3", "--batch-size", "8", "--hidden", "7", "--dropout", "0")


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    """A cache whose features show the labels."""
    cache = write_cache(tmp_path / "cache", n=40)
    for name in ("glance_vectors", "local_vectors_p12_3x3"):
        values = np.load(cache.root / f"{name}.npy")
        shown = np.eye(values.shape[-1])[cache.labels.numpy()]
        values += 2 * shown.reshape(len(values), *[1] * (values.ndim - 2), -1).astype(np.float16)
        np.save(cache.root / f"{name}.npy", values)
    return FeatureCache.open(cache.root)


def policy_of(path: Path, cache: FeatureCache, threshold: float | None = None) -> PolicyNetwork:
    maps = cache.glance_maps(np.arange(cache.n_videos))
    make_policy(path, threshold, maps)
    policy = read_policy(path)
    write_bundle(path, "policy", policy.config, policy, cache.fingerprint)
    return policy


def vectors(cache: FeatureCache, split: str, options: np.ndarray, looks: np.ndarray) -> Tensor:
    """Return the local vectors ``(B, T, L)`` of options ``(B, T)``, straight from the file."""
    local = np.load(cache.root / "local_vectors_p12_3x3.npy").astype(np.float32)
    chosen = np.zeros((len(options), T, L), np.float32)
    for row, video in enumerate(cache.split(split)):
        for t, option in enumerate(options[row].tolist()):
            chosen[row, t] = local[video, t, option] if looks[row, t] else 0
    return torch.from_numpy(chosen)


def test_stage_one(
    tmp_path: Path,
    cache: FeatureCache,
    calls: list[Call],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Random patches and skips in training, random patches and no skips in validation."""
    out = tmp_path / "f_c"
    run_fit("classifier", out, "--cache", cache.root, *HOW, "--skip-rate", "0.4", "--seed", "5")
    (call,) = calls
    assert call.settings == FitConfig(3, 8, {"classifier": 0.05}, lr_batch_size=64)
    assert call.seed[0] == 5
    assert isinstance(call.stage, OnFeatures)
    for epoch in (0, 1):
        glance, local, labels = single_batch(call.train, epoch)
        drawn = uniform_draws(range(24), T, [*call.seed, epoch]).numpy()
        options, looks = (drawn[..., 0] * K).astype(int), drawn[..., 1] >= 0.4
        assert 0.5 < looks.mean() < 0.7
        assert torch.equal(local, vectors(cache, "train", options, looks))
        rows = cache.split("train")
        stored = np.load(cache.root / "glance_vectors.npy").astype(np.float32)
        np.testing.assert_array_equal(glance, stored[rows])
        assert torch.equal(labels, cache.labels[rows])
    _, local, _ = single_batch(call.validation)
    assert (local != 0).any(-1).all()

    stage, kept = call.again(), call.kept
    assert kept.epoch > 0
    assert_kept(out, "classifier", stage.classifier, kept)
    bundle = read_bundle(out, "classifier", cache.fingerprint)
    assert bundle.config == {
        "glance_channels": G,
        "local_channels": L,
        "n_classes": C,
        "hidden": 7,
        "dropout": 0.0,
        "reuse_glance": True,
        "aggregation": "gru",
        "steps": cache.steps,
    }
    with torch.no_grad():
        logits = read_classifier(out)(*single_batch(call.validation)[:2])
    labels = cache.labels[cache.split("val")]
    right = (logits.argmax(-1) == labels[:, None]).double().mean()
    assert kept.val_accuracy == pytest.approx(float(right))
    log_p = logits.double().log_softmax(-1)[
        torch.arange(8)[:, None], torch.arange(T), labels[:, None]
    ]
    assert kept.val_loss == pytest.approx(float(-log_p.mean()), rel=1e-6)
    printed = capsys.readouterr().out
    assert "stage I on the cache: batches of 8 instead of 64: learning rates times 0.125" in printed


@pytest.mark.parametrize("threshold", [None, 0.5])
@pytest.mark.parametrize("sample", [False, True])
def test_stage_three(
    threshold: float | None, sample: bool, tmp_path: Path, cache: FeatureCache, calls: list[Call]
) -> None:
    """The policy's best patches, or drawn ones, others in every epoch; its best in validation."""
    policy = policy_of(tmp_path / "pi", cache, threshold)
    run_fit("classifier", tmp_path / "f_c", "--cache", cache.root, *HOW)
    folders = ("--cache", cache.root, "--classifier", tmp_path / "f_c", "--policy", tmp_path / "pi")
    more = ("--sample-policy",) if sample else ()
    run_fit(
        "classifier", tmp_path / "tuned", *folders, *HOW[:4], *more, "--preset", "mini_kinetics"
    )
    stage_one, call = calls
    assert call.settings.lr == {"classifier": 5e-4}
    assert call.seed != stage_one.seed, "other draws"
    start = read_bundle(tmp_path / "f_c", "classifier").weights
    for name, value in call.stage.classifier.state_dict().items():
        assert torch.equal(value, start[name])
    local_by_epoch = []
    for epoch in (0, 1):
        drawn = uniform_draws(range(24), T, [*call.seed, epoch]) if sample else None
        plan = policy_plan(policy, cache, cache.split("train"), drawn)
        assert len(np.unique(plan.options)) > 3
        assert (~plan.attended).any() == (threshold is not None)
        local_by_epoch.append(single_batch(call.train, epoch)[1])
        assert torch.equal(local_by_epoch[-1], vectors(cache, "train", plan.options, plan.attended))
    assert torch.equal(*local_by_epoch) == (not sample)
    best = policy_plan(policy, cache, cache.split("val"))
    expected = vectors(cache, "val", best.options, best.attended)
    assert torch.equal(single_batch(call.validation)[1], expected)
    assert_kept(tmp_path / "tuned", "classifier", call.again().classifier, call.kept)


def test_what_is_of_another_cache_is_refused(
    tmp_path: Path, cache: FeatureCache, capsys: pytest.CaptureFixture[str]
) -> None:
    """With both paths and fingerprints; f_C of a stage on pixels is of no cache."""
    other = write_cache(tmp_path / "other", n=40, seed=1)
    policy_of(tmp_path / "pi", other)
    torch.manual_seed(0)
    f_c = GruClassifier(ClassifierConfig(G, L, C, hidden=7))
    arguments = ("classifier", tmp_path / "out", "--cache", cache.root, *HOW[:4])
    write_bundle(tmp_path / "theirs", "classifier", f_c.config, f_c, other.fingerprint)
    for option, path in (("--policy", "pi"), ("--classifier", "theirs")):
        message = refused(capsys, *arguments, option, tmp_path / path)
        assert f"in {tmp_path / path} was trained on another cache (fingerprint " in message
        assert f"{other.fingerprint[:12]}…) than {cache.root} (fingerprint " in message
    wide = GruClassifier(ClassifierConfig(G, L + 1, C, hidden=7))
    write_bundle(tmp_path / "wide", "classifier", wide.config, wide)
    message = refused(capsys, *arguments, "--classifier", tmp_path / "wide")
    assert (
        f"for (glance, local, classes) = ({G}, {L + 1}, {C}), expected ({G}, {L}, {C})" in message
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("cache", "other", "pi", "theirs", "wide")
    ]
    write_bundle(tmp_path / "pixels", "classifier", f_c.config, f_c)
    run_fit(*arguments, "--classifier", tmp_path / "pixels")
    assert read_bundle(tmp_path / "out", "classifier").cache_fingerprint == cache.fingerprint


def test_mistakes_are_one_line(
    tmp_path: Path, cache: FeatureCache, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("classifier", tmp_path / "out", "--cache", cache.root, *HOW)
    for options, text in (
        (("--lr-local", 1), "--lr-local: this stage does not train it: leave the option out"),
        (("--skip-rate", -0.1), "--skip-rate must be in [0, 1), a share of the frames; got -0.1"),
        (("--sample-policy",), "there is no policy to draw from: give --policy as well"),
        (("--aggregation", "max_pol"), "aggregation 'max_pol': did you mean 'max_pool'? aggregat"),
        (("--cache", tmp_path), "is not a complete feature cache"),
        (("--group", "p9_9x9"), "holds no option group 'p9_9x9': choose one of ['p12_3x3']"),
    ):
        assert text in refused(capsys, *arguments, *options)
    add_group(cache)
    assert "holds 2 option groups: say which of" in refused(capsys, *arguments)
    run_fit(*arguments, "--group", "p12_3x3")
    assert read_bundle(tmp_path / "out", "classifier").cache_fingerprint == cache.fingerprint


@pytest.mark.parametrize("reuse", [True, False])
def test_averaging(reuse: bool, tmp_path: Path, cache: FeatureCache) -> None:
    """Predictions are the mean of what the linear layer says of each frame; by either name."""
    own = "focusgym.recognizer.classifiers.average:AverageClassifier"
    head = ("--aggregation", *(("average",) if reuse else (own, "--no-reuse-glance")))
    run_fit("classifier", tmp_path / "out", "--cache", cache.root, *HOW, *head)
    weights = read_bundle(tmp_path / "out", "classifier").weights
    assert {name: tuple(value.shape) for name, value in weights.items()} == {
        "head.weight": (C, (G if reuse else 0) + L),
        "head.bias": (C,),
    }
    torch.manual_seed(0)
    glance, local = torch.randn(2, T, G), torch.randn(2, T, L)
    x = torch.cat([glance, local], -1) if reuse else local
    frames = (x @ weights["head.weight"].T + weights["head.bias"]).softmax(-1)
    with torch.no_grad():
        predictions = read_classifier(tmp_path / "out")(glance, local).softmax(-1)
    for t in range(T):
        torch.testing.assert_close(predictions[:, t], frames[:, : t + 1].mean(1), rtol=0, atol=1e-6)
