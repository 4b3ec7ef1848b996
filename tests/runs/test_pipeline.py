"""The training steps: what they train on, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support import L, write_cache

from focusgym.agents import PlusTraining, PPOConfig
from focusgym.feature_cache import FeatureCache
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
    read_bundle,
    read_classifier,
    sequence_loss,
)
from focusgym.runs.pipeline import (
    STAGES,
    make_classifier,
    make_finetuned,
    make_policy,
    random_batches,
    random_options,
    with_skips,
)
from focusgym.runs.recipes import DIGITS

FIT = FitConfig(epochs=3, batch_size=4, lr=1e-2)
PPO = PPOConfig(epochs=4, n_envs=6, minibatch=3, conv_channels=2, hidden=8)


def weights(path: Path, kind: str) -> torch.Tensor:
    bundle = read_bundle(path, kind)
    return torch.cat([value.flatten().float() for _, value in sorted(bundle.weights.items())])


def train_everything(cache: FeatureCache, folder: Path) -> dict[str, torch.Tensor]:
    folder.mkdir()
    config = ClassifierConfig(*(5, L, 3), hidden=7, dropout=0.0)
    make_classifier(folder / "f_c", config, cache, folder / "none", FIT, 0.25, seed=0)
    make_policy(folder / "pi", PPO, cache, folder / "f_c", seed=0)
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


Seen = dict[tuple[str, int], tuple[torch.Tensor, ...]]


@pytest.fixture
def trained_on(monkeypatch: pytest.MonkeyPatch) -> tuple[Seen, dict[str, torch.Tensor]]:
    """All training tensors of the first two epochs of each fit, and the validation's vectors."""
    batches_of: Seen = {}
    validated_on: dict[str, torch.Tensor] = {}

    def spy(
        network: GruClassifier,
        batches: Batches,
        config: FitConfig,
        validation: tuple[torch.Tensor, ...],
        name: str,
    ) -> object:
        for epoch in (0, 1):
            batches_of[name, epoch] = batches.load(epoch, torch.arange(batches.n_videos))
        validated_on[name] = validation[1]
        return fit(network, batches, config, validation, name)

    from focusgym.runs import pipeline

    fit = pipeline.fit_classifier
    monkeypatch.setattr(pipeline, "fit_classifier", spy)
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
        fit = FitConfig(epochs=12, batch_size=20, lr=1e-2)
        make_classifier(folder, config, cache, tmp_path / "none", fit, rate, seed=0)
        f_c = read_classifier(folder, cache.fingerprint)
        with torch.no_grad():
            logits = f_c(cache.glance_vectors(test), nothing)
            losses.append(float(sequence_loss(logits, cache.labels[test])))
            looked = f_c(*cache.sequences(test, np.zeros((len(test), cache.steps), int))[:2])
        accuracy = (looked[:, -1].argmax(-1) == cache.labels[test]).double().mean()
        assert accuracy > 0.95, "looking still pays"
    assert losses[1] < 0.5 * losses[0]


def test_no_two_stages_or_epochs_share_their_random_patches(cache: FeatureCache) -> None:
    drawn = [
        random_options(49, (40, 6), stage, seed, epoch).tobytes()
        for stage in STAGES
        for seed in (0, 1)
        for epoch in (0, 1, 2)
    ]
    assert len(set(drawn)) == len(drawn)
    batches = random_batches(cache, "finetune", 0.0, 0)
    rows = torch.arange(batches.n_videos)
    options = random_options(9, (batches.n_videos, cache.steps), "finetune", 0, 2)
    train = cache.split("train")
    expected = cache.local_vectors(train[:, None], np.arange(cache.steps), options)
    assert torch.equal(batches.load(2, rows)[1], expected)


def test_skips_are_drawn_at_their_rate_apart_from_the_patches() -> None:
    options = random_options(9, (400, 50), "cache", 0, 3)
    assert np.array_equal(with_skips(options, 9, 0.0, "cache", 0, 3), options)
    assert (with_skips(options, 9, 1.0, "cache", 0, 3) == 9).all()
    drawn = with_skips(options, 9, 0.25, "cache", 0, 3)
    skipped = drawn == 9
    assert np.array_equal(drawn[~skipped], options[~skipped])
    for option in range(9):  # 2,222 frames each: σ = 0.009
        assert skipped[options == option].mean() == pytest.approx(0.25, abs=0.04)
    others = [
        with_skips(options, 9, 0.25, stage, seed, epoch) == 9
        for stage, seed, epoch in (("finetune", 0, 3), ("cache", 1, 3), ("cache", 0, 4))
    ]
    for other in others:  # independent draws agree on 0.25² + 0.75² of the frames
        assert (other == skipped).mean() == pytest.approx(0.625, abs=0.02)


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
