"""What environments draw and record, on real video files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from focusgym.envs import (
    Caption,
    FocusEnv,
    FocusVectorEnv,
    draw_decision,
    make_sb3,
    read_record,
    render_record,
)
from focusgym.feature_cache import FeatureCache, VideoError, clips_of, read_view

T, K, SIDE_PX, FACTOR = 3, 49, 64, 6  # of `real`; frames are enlarged to 384 px
GREEN, GREYS = [40, 220, 90], ([200, 200, 200], [70, 70, 70])
ACTIONS: dict[str, list[Any]] = {
    "focusgym/AdaFocus-v0": [0, 24, 48],
    "focusgym/AdaFocusPlus-v0": [np.array([0, 1]), np.array([24, 0]), np.array([48, 1])],
}
every_env = pytest.mark.parametrize("env_id", ACTIONS)


@every_env
def test_an_episode_is_drawn_while_it_is_played_and_later_from_its_record(
    real: dict[str, str], tmp_path: Path, env_id: str
) -> None:
    env = gymnasium.make(env_id, render_mode="rgb_array_list", split="test", **real)
    for _ in range(2):
        _, info = env.reset()
        rewards = []
        for action in ACTIONS[env_id]:
            _, reward, _, _, info = env.step(action)
            rewards.append(reward)
        record = env.unwrapped.record()
        record.write(tmp_path / "episode.json")
        later = render_record(read_record(tmp_path / "episode.json"))
        beginning, *drawn = env.render()
        assert later.shape == (T, 464, 384, 3)
        assert np.array_equal(later, drawn)
        assert not np.array_equal(beginning, drawn[0])
        assert record.rewards.tolist() == pytest.approx(rewards)
        assert record.options.tolist() == [0, 24, 48]
        assert record.video_id == info["video_id"]
        assert record.gmacs[-1] == info["gmacs"]
        assert record.confidences[-1] == pytest.approx(info["confidence"])


def test_a_picture_is_the_frame_of_the_decision_with_its_box(real: dict[str, str]) -> None:
    cache = FeatureCache.open(real["cache"])
    frames = read_view(clips_of(cache.videos.iloc[[2]])[0], cache.frames, cache.view(2))
    label = cache.classes[int(cache.labels[2])]
    env = FocusEnv(task="AdaFocusPlus", render_mode="rgb_array", action_set="flat", **real)
    _, info = env.reset(options={"video": 2})
    cells = cache.map_shape[:2]
    assert np.array_equal(env.render(), draw_decision(frames[0], Caption(label, T), cells))
    confidences: tuple[float, ...] = ()
    for t, option in enumerate((0, K, 48)):
        info = env.step(option)[4]
        confidences += (info["confidence"],)
        caption = Caption(label, T, confidences, info["correct"], info["gmacs"])
        box = None if option == K else tuple(info["box_px"].tolist())
        expected = draw_decision(frames[t], caption, cells, box, option < K)
        assert np.array_equal(env.render(), expected)


@pytest.mark.parametrize("looks", [True, False])
def test_the_box_is_green_where_f_l_ran_and_grey_where_it_did_not(
    real: dict[str, str], looks: bool
) -> None:
    env = FocusEnv(task="AdaFocusPlus", render_mode="rgb_array", **real)
    env.reset()
    left, top, right, bottom = env.step(np.array([17, looks]))[4]["box_px"]
    assert (left, top) == (3 * 36 // 6, 2 * 36 // 6)  # row 2, column 3 of 7 on 64 - 28 px
    frame = env.render()[-FACTOR * SIDE_PX :]
    for y, x in ((top, left), (bottom - 1 / FACTOR, left), (top, right - 1 / FACTOR)):
        colour = frame[round(y * FACTOR), round(x * FACTOR)].tolist()
        assert colour == GREEN if looks else colour in GREYS


@every_env
def test_all_faces_draw_what_single_environments_draw(real: dict[str, str], env_id: str) -> None:
    plus = "Plus" in env_id
    singles = [
        FocusEnv(
            task="AdaFocusPlus" if plus else "AdaFocus",
            first_episode=i,
            episode_stride=3,
            render_mode="rgb_array",
            **real,
        )
        for i in range(3)
    ]
    vector = gymnasium.make_vec(env_id, 3, render_mode="rgb_array", **real)
    batch = make_sb3(env_id, 3, render_mode="rgb_array", **real)
    for env in (*singles, vector, batch):
        env.reset()
    for step, action in enumerate([*ACTIONS[env_id], ACTIONS[env_id][0]]):
        actions = np.stack([action] * 3)
        vector.step(actions)
        batch.step(actions)
        for env in singles:
            if env.step(action)[2]:
                env.reset()
        pictures = [env.render() for env in singles]
        assert np.array_equal(pictures, vector.render())
        assert np.array_equal(pictures, batch.get_images())
        tiled = batch.render()
        assert tiled.shape == (2 * 464, 2 * 384, 3)
        assert np.array_equal(tiled[:464], np.concatenate(pictures[:2], axis=1))
        for single, record in zip(singles, batch.env_method("record"), strict=True):
            assert record.n_decisions == (step + 1) % T
            assert record.video_id == single.record().video_id
            assert record.options.tolist() == single.record().options.tolist()
        (only,) = batch.env_method("record", indices=1)
        assert only.video_id == singles[1].record().video_id


def test_nothing_is_drawn_without_a_render_mode(files: dict[str, str]) -> None:
    env, vector = FocusEnv(**files), FocusVectorEnv(2, **files)
    batch = make_sb3("focusgym/AdaFocus-v0", 2, **files)
    for each in (env, vector, batch):
        each.reset()
    assert env.render() is None
    assert vector.render() is None
    assert batch.get_images() == [None, None]


def test_what_cannot_be_drawn_says_why(files: dict[str, str]) -> None:
    env = FocusEnv(render_mode="rgb_array", **files)
    for ask in (env.render, env.record):
        with pytest.raises(RuntimeError, match=r"no episode was begun: call reset\(\) first"):
            ask()
    env.reset(options={"video": 3})
    with pytest.raises(VideoError, match=r"3\.mp4"):
        env.render()
    assert env.record().name == "3.mp4", "a record needs no pixels"
