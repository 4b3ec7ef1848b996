"""The environments in torchrl, skrl and Gymnasium's recorder: they play what they play by hand."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import RecordVideo
from support import GRID, T

from focusgym.envs import FocusEnv, FocusVectorEnv

K = GRID**2
EXTRA = "is not installed: pip install -e '.[libraries]' runs this test"


@pytest.fixture
def torchrl_envs() -> Any:
    return pytest.importorskip("torchrl.envs", reason=f"torchrl {EXTRA}")


@pytest.fixture
def wrap_env() -> Any:
    return pytest.importorskip("skrl.envs.wrappers.torch", reason=f"skrl {EXTRA}").wrap_env


@pytest.mark.parametrize("plus", [False, True])
def test_torchrl_makes_an_environment_by_its_id(
    torchrl_envs: Any, files: dict[str, str], plus: bool
) -> None:
    """It tries a keyword `frameskip` first, and looks for Python's words in the error."""
    env = torchrl_envs.GymEnv(f"focusgym/AdaFocus{'Plus' * plus}-v0", device="cpu", **files)
    env.set_seed(3)
    played = env.rollout(T + 1)
    assert played["next", "terminated"].flatten().tolist() == [False] * (T - 1) + [True]
    by_hand = FocusEnv(task="AdaFocusPlus" if plus else "AdaFocus", **files)
    by_hand.reset(seed=3)  # set_seed resets, and so does the rollout
    seen = by_hand.reset()[0]
    for t in range(T):
        np.testing.assert_array_equal(played["observation"][t], seen)
        parts = played["action"][t].split([K, 2] if plus else [K])
        action = [int(part.int().argmax()) for part in parts]
        seen, reward, *_ = by_hand.step(action if plus else action[0])
        assert float(played["next", "reward"][t]) == pytest.approx(reward, abs=1e-6)
        np.testing.assert_array_equal(played["next", "observation"][t], seen)


def test_torchrl_repeats_actions_and_is_told_of_wrong_keywords(
    torchrl_envs: Any, files: dict[str, str]
) -> None:
    env = torchrl_envs.GymEnv("focusgym/AdaFocus-v0", frame_skip=2, **files)
    assert env.rollout(T).batch_size == (T // 2,)
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'colour': expected"):
        torchrl_envs.GymEnv("focusgym/AdaFocus-v0", colour=1, **files)
    with pytest.raises(TypeError, match="missing the keyword argument 'classifier'"):
        torchrl_envs.GymEnv("focusgym/AdaFocus-v0", cache=files["cache"])


@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_torchrl_wraps_a_batch(torchrl_envs: Any, files: dict[str, str], mode: str) -> None:
    """Where an episode ends, the next observation is its last, not the next episode's first."""
    made = gymnasium.make_vec("focusgym/AdaFocus-v0", 3, autoreset_mode=mode, **files)
    env = torchrl_envs.GymWrapper(made, categorical_action_encoding=True)
    env.set_seed(3)
    played = env.rollout(2 * T + 1, break_when_any_done=False)
    by_hand = FocusVectorEnv(3, autoreset_mode=mode, **files)
    resets = [by_hand.reset(seed=3)[0], *(by_hand.reset()[0] for _ in range(4))]
    first = played["observation"][:, 0].numpy()
    n_resets = [np.array_equal(first, each) for each in resets].index(True)  # torchrl's affair
    seen = by_hand.reset(seed=3)[0]
    for _ in range(n_resets):
        seen = by_hand.reset()[0]
    for t in range(2 * T + 1):
        np.testing.assert_array_equal(played["observation"][:, t], seen)
        seen, rewards, done, _, infos = by_hand.step(played["action"][:, t].numpy())
        np.testing.assert_allclose(played["next", "reward"][:, t, 0], rewards, atol=1e-6)
        assert played["next", "done"][:, t, 0].tolist() == done.tolist() == [t % T == T - 1] * 3
        ended = done.all() and mode == "SameStep"
        last = np.stack(infos["final_obs"]) if ended else seen
        np.testing.assert_array_equal(played["next", "observation"][:, t], last)
        if done.all():  # torchrl resets also where the next episodes have begun: docs warn of it
            seen = by_hand.reset()[0]


@pytest.mark.parametrize("plus", [False, True])
def test_skrl_wraps_one_and_many(wrap_env: Any, files: dict[str, str], plus: bool) -> None:
    """Found by their classes, not told which they are."""
    task = "AdaFocusPlus" if plus else "AdaFocus"
    single, vector = partial(FocusEnv, task=task), partial(FocusVectorEnv, task=task)
    for made, by_hand in (
        (vector(1, **files), vector(1, **files)),
        (vector(3, **files), vector(3, **files)),
        (single(**files), vector(1, **files)),
        (gymnasium.make(f"focusgym/AdaFocus{'Plus' * plus}-v0", **files), vector(1, **files)),
    ):
        env, n = wrap_env(made, verbose=False), by_hand.num_envs
        observations, _ = env.reset()
        by_hand.action_space.seed(0)
        np.testing.assert_array_equal(observations.numpy(), by_hand.reset()[0])
        for t in range(T):
            actions = by_hand.action_space.sample()
            actions_tensor = torch.from_numpy(actions).reshape(n, -1)
            _, rewards, terminated, truncated, _ = env.step(actions_tensor)
            expected = by_hand.step(actions)[1]
            np.testing.assert_allclose(rewards.numpy()[:, 0], expected, atol=1e-6)
            assert terminated.flatten().tolist() == [t == T - 1] * n
            assert not truncated.any()


def test_gymnasium_records_a_video(real: dict[str, str], tmp_path: Path) -> None:
    """A frame before the first decision, and one after each."""
    pytest.importorskip("moviepy", reason=f"MoviePy {EXTRA}")
    env = gymnasium.make("focusgym/AdaFocus-v0", render_mode="rgb_array", **real)
    shape = env.unwrapped.player.cache.steps
    recorder = RecordVideo(env, str(tmp_path / "videos"), episode_trigger=lambda i: i == 0)
    recorder.reset(seed=0)
    frames = [env.render()]
    done = False
    while not done:
        _, _, done, _, _ = recorder.step(0)
        frames.append(env.render())
    recorder.close()
    import av

    with av.open(str(tmp_path / "videos" / "rl-video-episode-0.mp4")) as file:
        recorded = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(recorded) == len(frames) == shape + 1
    for one, other in zip(recorded, frames, strict=True):
        assert np.abs(one.astype(float) - other).mean() < 8, "but for what H.264 loses"
