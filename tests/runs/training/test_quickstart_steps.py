"""The training steps: what they train on, and what they leave alone."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from support import L, write_cache

from focusgym.agents import PlusTraining, PPOConfig
from focusgym.feature_cache import FeatureCache, video_table
from focusgym.recognizer import (
    ClassifierConfig,
    OnFeatures,
    PolicyConfig,
    PolicyNetwork,
    Samples,
    fit,
    read_bundle,
    read_classifier,
    sequence_losses,
)
from focusgym.runs.training import stages
from focusgym.runs.training.quickstart_steps import (
    make_classifier,
    make_encoders,
    make_finetuned,
    make_policy,
)
from focusgym.runs.training.recipes import DIGITS, Recipe, adamw

FIT = adamw(3, 4, classifier=1e-2)
PPO = PPOConfig(epochs=4, n_envs=6, minibatch=3, conv_channels=2, hidden=8)


def weights(path: Path, kind: str) -> torch.Tensor:
    bundle = read_bundle(path, kind)
    return torch.cat([value.flatten().float() for _, value in sorted(bundle.weights.items())])


def train_everything(cache: FeatureCache, folder: Path) -> dict[str, torch.Tensor]:
    folder.mkdir()
    config = ClassifierConfig(*(5, L, 3), hidden=7, dropout=0.0)
    make_classifier(folder / "f_c", config, cache, folder / "none", FIT, 0.25, seed=0)
    make_policy(folder / "pi", PPO, cache.root, folder / "f_c", seed=0)
    policy = PolicyNetwork(PolicyConfig(3, 3, 5, 9, PPO.conv_channels, PPO.hidden))
    policy.load_state_dict(dict(read_bundle(folder / "pi", "policy").weights))
    make_finetuned(folder / "tuned", cache, folder / "f_c", policy, FIT, 0.25, seed=0)
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


def test_encoders_are_the_same_in_processes_of_their_own(
    tmp_path: Path, tiny: Recipe, tiny_run: tuple[Path, dict[str, Any]]
) -> None:
    """What goes to a process is all that decides them: copies, called in the other order."""
    out, _ = tiny_run
    videos = pd.read_csv(out / "data" / "videos.csv")
    paths = f"{out}/data/" + videos["path"]
    videos = video_table(paths.tolist(), videos["label"].tolist(), videos["split"].tolist())

    def elsewhere(function: Any, calls: Any) -> None:
        for each in reversed(pickle.loads(pickle.dumps([(function, x) for x in calls.values()]))):
            torch.rand(3)  # what others draw changes nothing
            each[0](*each[1])

    make_encoders(tmp_path / "encoders", tiny, videos, 10, 0, elsewhere)
    for name, kind in (("glance", "encoder"), ("local", "encoder"), ("classifier", "classifier")):
        made_weights = weights(tmp_path / "encoders" / name, kind)
        assert torch.equal(made_weights, weights(out / "encoders" / name, kind)), name


Seen = dict[tuple[str, int], tuple[torch.Tensor, ...]]


@pytest.fixture
def trained_on(monkeypatch: pytest.MonkeyPatch) -> tuple[Seen, dict[str, torch.Tensor]]:
    """All training tensors of the first two epochs of each fit, and the validation's vectors."""
    batches_of: Seen = {}
    validated_on: dict[str, torch.Tensor] = {}

    def spy(
        stage: OnFeatures, train: Samples, validation: Samples, *args: Any, **keywords: Any
    ) -> object:
        name = keywords["name"]
        for epoch in (0, 1):
            (batches_of[name, epoch],) = train.batches(epoch, [torch.arange(train.n)])
        ((_, validated_on[name], _),) = validation.batches(0, [torch.arange(validation.n)])
        return fit(stage, train, validation, *args, **keywords)

    monkeypatch.setattr(stages, "fit", spy)
    return batches_of, validated_on


@pytest.mark.parametrize("skip_rate", [0.0, 0.25])
def test_stage_iii_trains_on_the_policys_patches_and_its_control_on_random_ones(
    tmp_path: Path, trained_on: tuple[Seen, dict[str, torch.Tensor]], skip_rate: float
) -> None:
    seen, validated_on = trained_on
    cache = write_cache(tmp_path / "cache", n=200)
    config = ClassifierConfig(5, L, 3, hidden=7, dropout=0.0)
    f_c = tmp_path / "f_c"
    make_classifier(f_c, config, cache, tmp_path / "none", FIT, skip_rate, seed=0)
    policy = PolicyNetwork(PolicyConfig(3, 3, 5, 9, 2, 8)).eval()
    make_finetuned(tmp_path / "tuned", cache, f_c, policy, FIT, skip_rate, seed=0)
    local = {key: tensors[1] for key, tensors in seen.items()}

    def at_the_policys(videos: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            chosen = policy(cache.glance_maps(videos)).argmax(-1).numpy()
        return cache.local_vectors(videos[:, None], np.arange(cache.steps), chosen)

    stage_iii, control = "stage III: f_C", "control: f_C, random patches"
    expected = at_the_policys(cache.split("train"))
    skips = {key: (vectors == 0).all(-1) for key, vectors in local.items()}
    for epoch in (0, 1):
        skipped = skips[stage_iii, epoch]
        assert torch.equal(local[stage_iii, epoch], expected.masked_fill(skipped[..., None], 0))
        assert torch.equal(skipped, skips[control, epoch]), "the control skips the same frames"
    assert not torch.equal(local[control, 0][~skipped], expected[~skipped])
    assert not torch.equal(local[control, 0], local[control, 1]), "other ones in every epoch"
    for skipped in skips.values():
        assert float(skipped.double().mean()) == pytest.approx(skip_rate, abs=0.07)  # σ = 0.02
    if skip_rate:
        stages = ("f_C on the cache", stage_iii)
        drawn = [skips[stage, epoch].numpy().tobytes() for stage in stages for epoch in (0, 1)]
        assert len(set(drawn)) == 4, "every stage and every epoch skips other frames"
    for name in (stage_iii, control):
        assert torch.equal(validated_on[name], at_the_policys(cache.split("val"))), "no skips"
    assert (validated_on["f_C on the cache"] != 0).any(-1).all(), "no skips"


def test_f_c_knows_skips_if_it_has_met_them(tmp_path: Path) -> None:
    """Patches show the label plainly, glances less so; nothing at all is like label 0's.

    Who has not met skips takes a zero vector for a patch, and not for none.
    """
    cache = write_cache(tmp_path / "cache", n=300)
    rng = np.random.default_rng(0)
    truth = np.eye(5)[cache.labels.numpy()]
    glance = 2 * truth[:, None] + rng.normal(size=(300, cache.steps, 5))
    local = (4 * np.eye(L)[cache.labels.numpy()] - 3 * np.eye(L)[0])[:, None, None]
    noise = rng.normal(size=(300, cache.steps, 9, L))
    np.save(cache.root / "glance_vectors.npy", glance.astype(np.float16))
    np.save(cache.root / "local_vectors_p12_3x3.npy", (local + noise).astype(np.float16))
    cache = FeatureCache.open(cache.root)
    test = cache.split("test")
    nothing = torch.zeros(len(test), cache.steps, L)
    losses = []
    for rate in (0.0, 0.25):
        config = ClassifierConfig(5, L, 3, hidden=8, dropout=0.0)
        folder = tmp_path / f"f_c{rate}"
        fit = adamw(12, 20, classifier=1e-2)
        make_classifier(folder, config, cache, tmp_path / "none", fit, rate, seed=0)
        f_c = read_classifier(folder, cache.fingerprint)
        with torch.no_grad():
            logits = f_c(cache.glance_vectors(test), nothing)
            losses.append(float(sequence_losses(logits, cache.labels[test]).mean()))
            looking = f_c(*cache.sequences(test, np.zeros((len(test), cache.steps), int))[:2])
        accuracy = (looking[:, -1].argmax(-1) == cache.labels[test]).double().mean()
        assert accuracy > 0.95, "looking still pays"
    assert losses[1] < 0.5 * losses[0]


def test_recipes_are_checked() -> None:
    assert DIGITS.skip_rate == 0.25
    for wrong in (-0.1, 1.0):
        with pytest.raises(ValueError, match=rf"skip_rate must be in \[0, 1\), .*; got {wrong}"):
            replace(DIGITS, skip_rate=wrong)
    assert DIGITS.keep_ratio == 0.5
    by_cost = replace(DIGITS.ppo, plus=PlusTraining(keep_ratio=None, target_gmacs=0.01))
    for ppo in (DIGITS.ppo, by_cost):
        with pytest.raises(ValueError, match=r"π′ for a keep_ratio; got plus=.*: set it to PlusT"):
            replace(DIGITS, ppo_plus=ppo)
