"""FocusPPO after a training: predictions are those of its weights, and it can be trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from focus_models import KINDS, N_ENVS, ROLLOUT, SIZES, Files, make_env, make_model
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from support import T, assert_choices

from focusgym.agents import (
    Checkpoints,
    EpisodeBuffer,
    FocusPPO,
    GlanceGruExtractor,
    load_checkpoint,
    save_checkpoint,
)
from focusgym.feature_cache import FeatureCache

every_kind = pytest.mark.parametrize("kind", KINDS)


class Interrupt(BaseCallback):
    """Stops the second training's first rollout as a user does, at its beginning or its end."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at = at

    def _on_step(self) -> bool:
        if self._at == "step":
            raise KeyboardInterrupt
        return True

    def _on_rollout_end(self) -> None:
        raise KeyboardInterrupt


@every_kind
def test_predictions_follow_a_training(files: Files, kind: str) -> None:
    """Asked for the same videos before and after it: a fused Adam does not mark its weights."""
    model = make_model(kind, files, learning_rate=0.05)
    cache, videos = FeatureCache.open(files["cache"]), np.arange(8)
    observations = [{"video": videos[:, None], "t": np.full((8, 1), t)} for t in range(T)]
    before = [model.predict(o, deterministic=True)[0] for o in observations]
    model.learn(4 * ROLLOUT)
    after = [model.predict(o, deterministic=True)[0] for o in observations]
    assert not np.array_equal(before, after), "the training changes decisions"
    options = np.stack(after, axis=1)
    attended = np.ones(options.shape[:2], dtype=bool)
    if kind == "both":
        options, attended = options[..., 0], options[..., 1] == 1
    assert_choices(model.network(), cache.glance_maps(videos), options, attended)


def test_a_stock_ppo_with_a_fused_adam_acts_with_its_weights(files: Files) -> None:
    cache = FeatureCache.open(files["cache"])
    model = PPO(
        "MultiInputPolicy",
        make_env("pi", files, n_envs=6),  # all training videos: each rollout plays the same
        n_steps=T,
        batch_size=6 * T,
        n_epochs=1,
        learning_rate=0.05,
        rollout_buffer_class=EpisodeBuffer,
        policy_kwargs={
            "features_extractor_class": GlanceGruExtractor,
            "features_extractor_kwargs": {"cache": cache, **SIZES},
            "optimizer_kwargs": {"fused": True},
        },
    )
    extractor = model.policy.features_extractor
    observation = {"video": torch.tensor([[1], [0], [1]]), "t": torch.tensor([[3], [0], [2]])}
    for _ in range(2):
        model.learn(6 * T)
        with torch.no_grad():
            maps = cache.glance_maps(np.array([1, 0, 1]))
            expected = extractor.trunk(maps)[0][torch.arange(3), torch.tensor([3, 0, 2])]
            torch.testing.assert_close(extractor(observation), expected, rtol=0, atol=1e-6)
        # One update of one batch: what was acted with is what was trained.
        assert model.logger.name_to_value["train/approx_kl"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("at", ["step", "end"])
def test_it_goes_on_after_an_interruption(files: Files, tmp_path: Path, at: str) -> None:
    model = make_model("both", files, n_epochs=2)
    model.learn(ROLLOUT)
    with pytest.raises(KeyboardInterrupt):
        model.learn(3 * ROLLOUT, callback=Interrupt(at), reset_num_timesteps=False)
    done = model.n_rollouts
    model.learn(2 * ROLLOUT, callback=Checkpoints(tmp_path / "c", 0), reset_num_timesteps=False)
    assert model.n_rollouts == done + 2
    save_checkpoint(tmp_path / "c", model)


def test_it_goes_on_after_an_evaluation_on_its_environments(files: Files) -> None:
    model = make_model("pi", files)
    model.learn(ROLLOUT)
    evaluate_policy(model, model.get_env(), n_eval_episodes=2 * N_ENVS)
    model.get_env().step(np.zeros(N_ENVS, dtype=np.int64))
    model.learn(ROLLOUT, reset_num_timesteps=False)
    assert model.n_rollouts == 2


def test_checkpoints_work_after_loading_with_other_epochs(files: Files, tmp_path: Path) -> None:
    model = make_model("pi", files)
    model.learn(ROLLOUT)
    model.save(tmp_path / "m")
    again = FocusPPO.load(tmp_path / "m", make_env("pi", files), n_epochs=3, device="cpu")
    again.learn(ROLLOUT, callback=Checkpoints(tmp_path / "c", 0), reset_num_timesteps=False)
    assert (tmp_path / "c").is_file()


def test_the_price_of_a_target_is_kept(files: Files, tmp_path: Path) -> None:
    """It goes with the model: into a file, and to other environments."""
    model = make_model("both", files, target_gmacs=5.0, penalty_rate=0.5)
    first = model.players[0].prices.penalty
    model.learn(4 * ROLLOUT)
    price = model.players[0].prices.penalty
    assert price != first
    model.save(tmp_path / "m")
    other: Any = make_env("both", files)
    assert FocusPPO.load(tmp_path / "m", other).players[0].prices.penalty == price
    model.set_env(make_env("both", files))
    assert model.players[0].prices.penalty == price
    save_checkpoint(tmp_path / "c", model)
    fresh = make_model("both", files, target_gmacs=5.0, penalty_rate=0.5)
    load_checkpoint(tmp_path / "c", fresh)
    fresh.set_env(make_env("both", files))
    assert fresh.players[0].prices.penalty == price
