"""The training steps: what they train on, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support import L, write_cache

from focusgym.agents import PPOConfig
from focusgym.feature_cache import FeatureCache, read_bundle
from focusgym.recognizer import (
    Batches,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FitConfig,
    GruClassifier,
    PatchGrid,
    PolicyConfig,
    PolicyNetwork,
    fit_encoder,
    fit_local,
)
from focusgym.runs.pipeline import (
    STAGES,
    make_classifier,
    make_finetuned,
    make_policy,
    random_batches,
    random_options,
)

FIT = FitConfig(epochs=3, batch_size=4, lr=1e-2)
PPO = PPOConfig(epochs=4, n_envs=6, minibatch=3, conv_channels=2, hidden=8)


def weights(path: Path, kind: str) -> torch.Tensor:
    bundle = read_bundle(path, kind)
    return torch.cat([value.flatten().float() for _, value in sorted(bundle.weights.items())])


def train_everything(cache: FeatureCache, folder: Path) -> dict[str, torch.Tensor]:
    folder.mkdir()
    config = ClassifierConfig(*(5, L, 3), hidden=7, dropout=0.0)
    make_classifier(folder / "f_c", config, cache, folder / "none", FIT, seed=0)
    make_policy(folder / "pi", PPO, cache, folder / "f_c", seed=0)
    policy = PolicyNetwork(PolicyConfig(3, 3, 5, 9, PPO.conv_channels, PPO.hidden))
    policy.load_state_dict(dict(read_bundle(folder / "pi", "policy").weights))
    make_finetuned(folder / "tuned", cache, folder / "f_c", policy, FIT, seed=0)
    return {
        "f_c": weights(folder / "f_c", "classifier"),
        "pi": weights(folder / "pi", "policy"),
        "adafocus": weights(folder / "tuned" / "adafocus", "classifier"),
        "random": weights(folder / "tuned" / "random", "classifier"),
    }


def replace_features(cache: FeatureCache, rows: np.ndarray) -> FeatureCache:
    rng = np.random.default_rng(7)
    for name in ("glance_maps", "glance_vectors", "local_vectors_p12_3x3"):
        values = np.load(cache.root / f"{name}.npy")
        values[rows] = rng.normal(size=values[rows].shape)
        np.save(cache.root / f"{name}.npy", values)
    return FeatureCache.open(cache.root)


def test_nothing_trained_depends_on_a_test_video(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "cache", n=40)
    before = train_everything(cache, tmp_path / "before")
    cache = replace_features(cache, cache.split("test"))
    after = train_everything(cache, tmp_path / "after")
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    cache = replace_features(cache, cache.split("train"))
    other = train_everything(cache, tmp_path / "other")
    assert not torch.equal(other["pi"], before["pi"]), "noise does change what is trained on"


def test_stage_iii_trains_on_the_policys_patches_and_its_control_on_random_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = write_cache(tmp_path / "cache", n=40)
    train_everything(cache, tmp_path / "run")
    policy = PolicyNetwork(PolicyConfig(3, 3, 5, 9, 2, 8)).eval()
    train = cache.split("train")
    with torch.no_grad():
        chosen = policy(cache.glance_maps(train)).argmax(-1).numpy()
    expected = cache.local_vectors(train[:, None], np.arange(cache.steps), chosen)
    seen: list[tuple[str, torch.Tensor]] = []

    def spy(
        network: GruClassifier,
        batches: Batches,
        config: FitConfig,
        validation: tuple[torch.Tensor, ...],
        name: str,
    ) -> object:
        everything = torch.arange(batches.n_videos)
        seen.append((name, batches.load(0, everything)[1]))
        seen.append((name, batches.load(1, everything)[1]))
        return fit(network, batches, config, validation, name)

    from focusgym.runs import pipeline

    fit = pipeline.fit_classifier
    monkeypatch.setattr(pipeline, "fit_classifier", spy)
    make_finetuned(tmp_path / "tuned", cache, tmp_path / "run" / "f_c", policy, FIT, seed=0)
    (_, first), (_, second), (_, control), (_, later) = seen
    assert torch.equal(first, expected)
    assert torch.equal(second, expected)
    assert not torch.equal(control, expected)
    assert not torch.equal(control, later), "other random patches in every epoch"


def test_no_two_stages_or_epochs_share_their_random_patches(cache: FeatureCache) -> None:
    drawn = [
        random_options(49, (40, 6), stage, seed, epoch).tobytes()
        for stage in STAGES
        for seed in (0, 1)
        for epoch in (0, 1, 2)
    ]
    assert len(set(drawn)) == len(drawn)
    batches = random_batches(cache, "control", 0)
    rows = torch.arange(batches.n_videos)
    options = random_options(9, (batches.n_videos, cache.steps), "control", 0, 2)
    train = cache.split("train")
    expected = cache.local_vectors(train[:, None], np.arange(cache.steps), options)
    assert torch.equal(batches.load(2, rows)[1], expected)


def test_encoders_learn_and_f_g_stays_fixed_in_stage_one() -> None:
    """Bright or dark frames: easy for both encoders; stage I moves f_L and f_C."""
    torch.manual_seed(0)
    labels = torch.arange(40) % 2
    frames = torch.randint(0, 60, (40, 2, 3, 32, 32)) + 150 * labels[:, None, None, None, None]
    frames = frames.to(torch.uint8)
    local = Encoder(EncoderConfig("small_local"))
    full = Batches(40, lambda epoch, rows: (frames[rows], labels[rows]), 0)
    before = {name: value.clone() for name, value in local.state_dict().items()}
    fit_encoder(local, 2, full, FitConfig(2, 8, 1e-2))
    assert not torch.equal(local.state_dict()["trunk.0.0.weight"], before["trunk.0.0.weight"])
    with torch.no_grad():
        pooled = local(frames[:, 0]).mean((2, 3))
    dark, light = pooled[labels == 0].mean(0), pooled[labels == 1].mean(0)
    nearest = ((pooled - light).norm(dim=1) < (pooled - dark).norm(dim=1)).long()
    assert torch.equal(nearest, labels)

    grid = PatchGrid(32, 16, 3)
    vectors = torch.randn(40, 2, 4)
    options = torch.randint(0, 9, (40, 2))
    classifier = GruClassifier(ClassifierConfig(4, 64, 2, hidden=8, dropout=0.0))
    stage_one = Batches(
        40, lambda epoch, rows: (frames[rows], vectors[rows], options[rows], labels[rows]), 0
    )
    weight = local.state_dict()["trunk.0.0.weight"].clone()
    fit_local(local, classifier, grid, stage_one, FitConfig(6, 8, 1e-2))
    assert not torch.equal(local.state_dict()["trunk.0.0.weight"], weight)
    assert not local.training
    with torch.no_grad():
        patches = grid.crop(frames.flatten(0, 1), options.flatten())
        seen = local(patches).mean((2, 3)).unflatten(0, (40, 2))
        assert (classifier(vectors, seen)[:, -1].argmax(-1) == labels).float().mean() > 0.9
