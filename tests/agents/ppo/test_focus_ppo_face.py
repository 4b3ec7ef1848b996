"""FocusPPO as users of Stable-Baselines3 know it: callbacks, loggers, files, evaluation."""

from __future__ import annotations

import copy
import csv
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from focus_models import (
    IDS,
    N_ENVS,
    ROLLOUT,
    Files,
    flat,
    informative_files,
    make_env,
    make_model,
)
from reference_ppo import Spy
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    StopTrainingOnMaxEpisodes,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from support import Literal, T, assert_choices

from focusgym.agents import FocusPPO, GruPolicy
from focusgym.envs import make_sb3
from focusgym.feature_cache import FeatureCache

every_kind = pytest.mark.parametrize("kind", IDS)
TRAINING = {"n_epochs": 2, "batch_size": 2 * T, "learning_rate": 1e-2}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A classifier whose confidences are far from even."""
    return Literal(tmp_path / "literal").files


class Journal(BaseCallback):
    """Writes down which of its methods was called, and what was known then."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.known: list[dict[str, Any]] = []
        self._stop_at = stop_at

    def _on_training_start(self) -> None:
        self.calls.append("training starts")
        self.known.append({"total": self.locals["total_timesteps"]})

    def _on_rollout_start(self) -> None:
        self.calls.append("rollout starts")

    def _on_step(self) -> bool:
        self.calls.append(f"step {self.locals['n_steps']}, {self.num_timesteps}")
        self.known.append(dict(self.locals))
        return self.n_calls != self._stop_at

    def _on_rollout_end(self) -> None:
        self.calls.append("rollout ends")
        self.known.append(dict(self.locals))

    def _on_training_end(self) -> None:
        self.calls.append("training ends")


@every_kind
def test_callbacks_are_called_as_sb3_calls_them(files: Files, kind: str) -> None:
    model, journal = make_model(kind, files), Journal()
    model.learn(ROLLOUT + 1, callback=journal)
    rollouts = [
        ["rollout starts", *[f"step {t}, {r * ROLLOUT + (t + 1) * N_ENVS}" for t in range(T)],
         "rollout ends"]
        for r in range(2)
    ]  # fmt: skip
    assert journal.calls == ["training starts", *rollouts[0], *rollouts[1], "training ends"]
    assert journal.known[0] == {"total": ROLLOUT + 1}
    for t, known in enumerate(journal.known[1 : T + 1]):
        assert known["self"] is model
        assert known["env"] is model.env
        assert known["callback"] is journal
        assert known["rewards"].shape == known["dones"].shape == (N_ENVS,)
        assert known["dones"].all() == known["dones"].any() == (t == T - 1)
        assert model.action_space.contains(known["actions"][0])
        assert known["new_obs"]["t"].tolist() == [[(t + 1) % T]] * N_ENVS
        assert len(known["infos"]) == N_ENVS
        assert all(("episode" in info) == (t == T - 1) for info in known["infos"])
    assert journal.n_calls == 2 * T
    assert model._n_updates == 2 * model.n_epochs
    assert model.n_rollouts == 2


@pytest.mark.parametrize("stop_at", [1, 3, T])
@pytest.mark.parametrize("reset", [True, False])
def test_a_callback_stops_the_training_and_it_can_go_on(
    files: Files, stop_at: int, reset: bool
) -> None:
    model = make_model("both", files, **TRAINING)
    before = flat(model.policy)
    journal = Journal(stop_at)
    model.learn(3 * ROLLOUT, callback=journal)
    assert journal.calls[-2:] == [f"step {stop_at - 1}, {stop_at * N_ENVS}", "training ends"]
    assert torch.equal(flat(model.policy), before), "no update from a rollout that was cut off"
    assert (model.n_rollouts, model.mean_returns) == (0, [])
    spy = Spy()
    model.learn(2 * ROLLOUT, callback=spy, reset_num_timesteps=reset)
    assert [len(played.rewards) for played in spy.played] == [T, T]
    assert all(played.dones[-1].all() for played in spy.played)
    assert model.n_rollouts == 2
    assert not torch.equal(flat(model.policy), before)


def test_training_stops_after_so_many_episodes(files: Files) -> None:
    model = make_model("pi", files)
    model.learn(10 * ROLLOUT, callback=StopTrainingOnMaxEpisodes(2))
    assert model.num_timesteps == 2 * ROLLOUT


@every_kind
def test_predict_is_what_the_network_chooses(files: Files, kind: str) -> None:
    """Deterministic actions, of batches and one at a time, are those of what is plugged back."""
    model = make_model(kind, files, **TRAINING)
    model.learn(2 * ROLLOUT)
    cache = FeatureCache.open(files["cache"])
    videos = np.arange(cache.n_videos)
    if kind == "both":
        with torch.no_grad():  # to p^B around 1/2
            keep = model.policy.learners["keep"]
            keep.actor.bias -= keep.episodes(videos)[0][..., 1].median()
    network, maps = model.network(), cache.glance_maps(videos)
    batches, singles = [], []
    for t in reversed(range(T)):  # a policy without a state can be asked in any order
        observation = {"video": videos[:, None], "t": np.full((len(videos), 1), t)}
        actions, state = model.predict(observation, deterministic=True)
        assert state is None
        batches.insert(0, actions)
        one = {"video": np.array([7]), "t": np.array([t])}
        action, _ = model.predict(one, deterministic=True)
        assert action.shape == model.action_space.shape
        singles.insert(0, action[None])
    for predicted, glance_maps in ((np.stack(batches, 1), maps), (np.stack(singles, 1), maps[7:8])):
        options, attended = predicted, np.ones(predicted.shape[:2], dtype=bool)
        if kind == "both":
            options, attended = predicted[..., 0], predicted[..., 1] == 1
        assert_choices(network, glance_maps, options, attended)
    chosen = np.stack(batches, 1)
    assert len(np.unique(chosen[..., 0] if kind == "both" else chosen)) > 1
    assert kind == "pi" or 0 < chosen[..., 1].sum() < chosen[..., 1].size


@every_kind
def test_predict_samples_from_the_policy(files: Files, kind: str) -> None:
    model = make_model(kind, files)
    m, video, t = 20000, 4, 2
    observation = {"video": np.full((m, 1), video), "t": np.full((m, 1), t)}
    actions, _ = model.predict(observation)
    maps = FeatureCache.open(files["cache"]).stored_glance_maps(np.array([video]))
    with torch.no_grad():
        network = model.network()
        shares = {"location": network(maps)[0, t].softmax(-1).numpy()}
        if network.keep is not None:
            p = float(network.keep(maps)[0, t])
            shares["keep"] = np.array([1 - p, p])
    for column, p in zip(actions.reshape(m, -1).T, shares.values(), strict=True):
        frequencies = np.bincount(column, minlength=len(p)) / m
        assert (np.abs(frequencies - p) < 5 * np.sqrt(p * (1 - p) / m)).all()


@every_kind
def test_evaluation_plays_what_the_network_chooses(files: Files, kind: str) -> None:
    reward = {"name": "increment_over_random", "draws": None}
    model = make_model(kind, files, config={"reward": reward})
    cache = FeatureCache.open(files["cache"])
    videos = cache.split("val")
    evaluation = make_env(kind, files, 2, split="val", order="listed", reward=reward)
    mean, _ = evaluate_policy(model, evaluation, len(videos))
    with torch.no_grad():
        options, looks = model.network().choose(cache.stored_glance_maps(videos))
    env = gymnasium.make(
        f"focusgym.envs:{IDS[kind]}", split="val", order="listed", reward=reward,
        **{k: v for k, v in evaluation.player.config.__dict__.items() if k == "penalty"}, **files,
    )  # fmt: skip
    returns = []
    for row in range(len(videos)):
        env.reset()
        actions = [
            int(o) if kind == "pi" else [int(o), int(b)]
            for o, b in zip(options[row], looks[row], strict=True)
        ]
        returns.append(sum(float(env.step(np.array(a))[1]) for a in actions))
    assert mean == pytest.approx(np.mean(returns), abs=1e-5)


def test_callbacks_that_evaluate_and_save_do_not_disturb_the_training(
    files: Files, tmp_path: Path
) -> None:
    plain, watched = (make_model("both", files, **TRAINING) for _ in range(2))
    plain.learn(4 * ROLLOUT)
    callbacks = CallbackList(
        [
            EvalCallback(
                make_env("both", files, 2, split="val"), n_eval_episodes=2, eval_freq=3,
                log_path=str(tmp_path), best_model_save_path=str(tmp_path), deterministic=False,
                verbose=0,
            ),
            CheckpointCallback(2 * T, str(tmp_path), "model"),
        ]
    )  # fmt: skip
    watched.learn(4 * ROLLOUT, callback=callbacks)
    assert torch.equal(flat(watched.policy), flat(plain.policy))
    stored = np.load(tmp_path / "evaluations.npz")
    assert stored["timesteps"].tolist() == [i * 3 * N_ENVS for i in range(1, 6)]
    assert (stored["ep_lengths"] == T).all()
    saved = sorted(path.name for path in tmp_path.glob("*.zip"))
    assert saved == ["best_model.zip", "model_40_steps.zip", "model_80_steps.zip"]
    half = FocusPPO.load(tmp_path / "model_40_steps", device="cpu")
    assert (half.num_timesteps, half.n_rollouts) == (2 * ROLLOUT, 1)
    assert (flat(half.policy) - flat(plain.policy)).abs().max() > 1e-4


@pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")  # SB3's bar is such a one
def test_the_log(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_model("both", files, verbose=1, stats_window_size=N_ENVS, **TRAINING)
    model.set_logger(configure(str(tmp_path), ["stdout", "csv"]))
    model.learn(3 * ROLLOUT, progress_bar=True)
    model.logger.close()
    printed = capsys.readouterr().out
    for name in ("ep_rew_mean", "train_keep/", "options/", "gains_below_penalty", "entropy_loss"):
        assert name in printed
    with (tmp_path / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["time/total_timesteps"]) for row in rows] == [ROLLOUT, 2 * ROLLOUT, 3 * ROLLOUT]
    for row, mean in zip(rows, model.mean_returns, strict=True):
        assert float(row["rollout/ep_rew_mean"]) == pytest.approx(mean, abs=1e-5)
        assert float(row["rollout/ep_len_mean"]) == T
        assert 1 <= float(row["options/effective"]) <= 9
        assert 0 <= float(row["keep/share"]) <= 1
    for name in ("train", "train_keep"):
        assert np.isnan(float(rows[0][f"{name}/value_loss"] or "nan")), "before any update"
        parts = {key: float(rows[2][f"{name}/{key}"]) for key in (
            "loss", "policy_gradient_loss", "value_loss", "entropy_loss"
        )}  # fmt: skip
        assert parts["loss"] == pytest.approx(
            parts["policy_gradient_loss"]
            + 0.5 * parts["value_loss"]
            + 0.01 * parts["entropy_loss"],
            abs=1e-5,
        )


@every_kind
def test_a_file_holds_weights_and_no_features(tmp_path: Path, kind: str) -> None:
    sizes = []
    for n in (10, 300):
        files, _ = informative_files(tmp_path / str(n), n)
        model = make_model(kind, files)
        model.learn(ROLLOUT)
        model.save(tmp_path / f"{n}.zip")
        sizes.append((tmp_path / f"{n}.zip").stat().st_size)
    assert abs(sizes[1] - sizes[0]) < 200
    weights = sum(p.nbytes for p in model.policy.parameters())
    assert sizes[1] < 3 * weights + 60_000, "the weights, Adam's two moments, and settings"


@every_kind
def test_it_is_loaded_without_an_environment_and_goes_on_with_one(
    files: Files, tmp_path: Path, kind: str
) -> None:
    model = make_model(kind, files, **TRAINING, config={"options_allowed": [1, 3, 8]})
    model.learn(2 * ROLLOUT)
    model.save(tmp_path / "model")
    again = FocusPPO.load(tmp_path / "model", device="cpu")
    assert again.get_env() is None
    assert torch.equal(flat(again.policy), flat(model.policy))
    observation = {"video": np.arange(10)[:, None], "t": np.full((10, 1), T - 1)}
    for deterministic in (True, False):
        actions = []
        for each in (model, again):
            torch.manual_seed(0)
            actions.append(each.predict(observation, deterministic=deterministic)[0])
        assert np.array_equal(*actions)
    maps = FeatureCache.open(files["cache"]).glance_maps(np.arange(10))
    assert torch.equal(again.network()(maps), model.network()(maps))
    assert again.network().config == model.network().config
    # On with the environment that it had; or with as many as one likes.
    env = make_env(kind, files, options_allowed=[1, 3, 8])
    again.set_env(env)
    model.set_env(make_env(kind, files, options_allowed=[1, 3, 8]))
    spies = Spy(), Spy()
    for each, spy in zip((again, model), spies, strict=True):
        each.learn(2 * ROLLOUT, callback=spy, reset_num_timesteps=False)
        assert each.num_timesteps == 4 * ROLLOUT
        assert each.n_rollouts == 4
    assert torch.equal(flat(again.policy), flat(model.policy)), "Adam's state was there too"
    more = make_env(kind, files, 7, options_allowed=[1, 3, 8])
    third = FocusPPO.load(tmp_path / "model", env=more, device="cpu", learning_rate=0.5)
    third.learn(7 * T)
    assert third.rollout_buffer.videos.shape == (7,)
    assert third.policy.optimizer.param_groups[0]["lr"] == 0.5


def test_parameters_are_given_and_taken(files: Files) -> None:
    one, other = make_model("both", files, **TRAINING), make_model("both", files, **TRAINING)
    start = copy.deepcopy(one.get_parameters())
    one.learn(2 * ROLLOUT)
    other.learn(ROLLOUT)
    other.set_parameters(one.get_parameters())
    assert torch.equal(flat(one.policy), flat(other.policy))
    assert set(one.get_parameters()) == {"policy", "policy.optimizer"}
    moments = [
        torch.cat([m.policy.optimizer.state[p]["exp_avg"].flatten() for p in m.policy.parameters()])
        for m in (one, other)
    ]
    assert torch.equal(*moments)
    observation = {"video": np.array([[3]]), "t": np.array([[2]])}
    values = []
    for model in (one, other):
        tensors = model.policy.obs_to_tensor(observation)[0]
        with torch.no_grad():
            model.policy.predict_values(tensors)
            model.set_parameters(start)
            values.append(model.policy.predict_values(tensors))
            learners = model.policy.learners.values()
            by_hand = sum(learner.episodes(np.array([3]))[1][0, 2] for learner in learners)
        assert float(values[-1]) == pytest.approx(float(by_hand), abs=1e-6)
    assert torch.equal(*values), "features that were kept are not those of other weights"


@every_kind
def test_the_policy_alone_is_saved_and_loaded(files: Files, tmp_path: Path, kind: str) -> None:
    model = make_model(kind, files, config={"options_allowed": [2, 5]})
    model.policy.save(str(tmp_path / "policy.pth"))
    policy = GruPolicy.load(str(tmp_path / "policy.pth"), device="cpu")
    observation = {"video": np.arange(10)[:, None], "t": np.full((10, 1), 1)}
    expected = model.predict(observation, deterministic=True)[0]
    assert np.array_equal(policy.predict(observation, deterministic=True)[0], expected)


def test_evaluate_actions_sums_over_pi_and_pi_prime(files: Files) -> None:
    """For algorithms of Stable-Baselines3 that ask the policy, not FocusPPO."""
    model = make_model("both", files)
    rng = np.random.default_rng(0)
    video, t = torch.from_numpy(rng.integers(10, size=(6, 1))), torch.tensor([[0], [1], [2]] * 2)
    actions = torch.from_numpy(rng.integers([9, 2], size=(6, 2)))
    with torch.no_grad():
        values, log_probs, entropies = model.policy.evaluate_actions(
            {"video": video, "t": t}, actions
        )
        maps = FeatureCache.open(files["cache"]).stored_glance_maps(video[:, 0].numpy())
        network = model.network()
        rows = torch.arange(6), t[:, 0]
        pi, keep = network(maps).softmax(-1)[rows], network.keep(maps)[rows]
    keep = torch.stack([1 - keep, keep], dim=1)
    expected = pi.gather(1, actions[:, :1]).log() + keep.gather(1, actions[:, 1:]).log()
    torch.testing.assert_close(log_probs, expected[:, 0], rtol=0, atol=1e-5)
    entropy = -(pi * pi.log()).sum(1) - (keep * keep.log()).sum(1)
    torch.testing.assert_close(entropies, entropy, rtol=0, atol=1e-5)
    with torch.no_grad():
        heads = [learner({"video": video, "t": t}) for learner in model.policy.learners.values()]
    torch.testing.assert_close(values, heads[0][1] + heads[1][1], rtol=0, atol=1e-6)


def test_it_goes_on_with_other_environments(files: Files) -> None:
    model = make_model("pi", files)
    model.learn(ROLLOUT)
    env = make_sb3(IDS["pi"], N_ENVS, observation="index", split="val", **files)
    model.set_env(env)
    assert model.players == [env.player]
    model.learn(ROLLOUT)
    val = FeatureCache.open(files["cache"]).split("val")
    assert set(model.rollout_buffer.videos) <= set(val.tolist())
