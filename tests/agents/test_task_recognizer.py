"""Agents of every environment on pixels, against the same agents on the cache of these videos."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from digit_caches import digit_cache
from fused_once import fused_once
from support import write_classifier

from focusgym.agents import TaskRecognizer, play_task
from focusgym.envs import FeatureSource
from focusgym.envs.engine import pixels
from focusgym.envs.tasks.registry import TASKS, config_class, env_id
from focusgym.feature_cache import (
    CacheConfig,
    CacheError,
    DigitsConfig,
    FeatureCache,
    read_many,
)
from focusgym.recognizer import (
    Encoder,
    EncoderConfig,
    ExitRule,
    FrameConfig,
    PatchGrid,
    WholeFrame,
    option_group,
)

STEPS = 5
EXIT = "focusgym/Exit-v0"
PLAYED = [
    (name, {"observation": seen})
    for name in TASKS
    if name != "Boxes"  # whose features on a cache are interpolated: see test_centers.py
    for seen in config_class(name).observations
    if seen != "index"
] + [("AdaFocusPlus", {"action_set": "flat"})]


@pytest.fixture(scope="module", autouse=True)
def encoders_once() -> Iterator[None]:
    with fused_once():
        yield


@pytest.fixture(scope="module", params=[1, 2], ids=["frames", "segments"])
def files(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, Any]:
    """Keywords of environments on a cache of digit videos, with two groups of different widths."""
    root = tmp_path_factory.mktemp("pixels")
    f = request.param
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoders = {
            "glance": Encoder(EncoderConfig("small_glance", input_px=24)).eval(),
            "local": Encoder(EncoderConfig("small_local")).eval(),
            "cheap": Encoder(EncoderConfig("small_glance", input_px=16)).eval(),
        }
    groups = (
        option_group(WholeFrame(64, 16), "cheap", encoders["cheap"], segment_frames=f),
        option_group(PatchGrid(64, 28, 2), "local", encoders["local"], segment_frames=f),
    )
    frames = FrameConfig(steps=STEPS, frame_px=64, segment_frames=f, glance_frames=1)
    digits = DigitsConfig(n_train=1, n_val=1, n_test=7, n_frames=12)
    cache = digit_cache(root, digits, encoders, CacheConfig(frames, groups, dtype="float32"))
    path = root / "classifier"
    write_classifier(cache, path)
    write_classifier(cache, root / f"{path.name}_of_looks", reuse_glance=False)
    names = [group.name for group in groups]
    patches = FeatureCache.open(cache.root, names[1])
    for kind in ("", "_of_looks"):
        write_classifier(patches, root / f"{path.name}_of_patches{kind}", reuse_glance=not kind)
    return {"cache": str(cache.root), "classifier": str(path), "group": names}


class Stranger:
    """Acts by a hash of the video's number and of how many decisions it has made."""

    def __init__(self, space: gymnasium.Space[Any], n_videos: int) -> None:
        self._space, self._n = space, n_videos

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, **_: Any
    ) -> tuple[np.ndarray, Any]:
        n = len(episode_start)
        steps = np.zeros(n, dtype=int) if state is None else state
        steps = np.where(episode_start, 0, steps) + 1
        rng = [np.random.default_rng((i % self._n, d)) for i, d in enumerate(steps.tolist())]
        if isinstance(self._space, gymnasium.spaces.Box):
            low, high = self._space.low, self._space.high
            return np.stack([each.uniform(low, high) for each in rng]), steps
        sizes = getattr(self._space, "nvec", getattr(self._space, "n", None))
        return np.stack([each.integers(sizes) for each in rng]), steps


def frames_of(cache: FeatureCache, split: str) -> torch.Tensor:
    decoded = read_many(cache.clips(cache.split(split)), cache.frames)
    return torch.stack([frames for frames, _ in decoded])


@pytest.mark.parametrize(("name", "keywords"), PLAYED)
def test_pixels_and_cache_agree(files: dict[str, Any], name: str, keywords: dict[str, str]) -> None:
    config = files | keywords | {"policy_gmacs": 1e-6}
    space = gymnasium.make(env_id(name), split=None, **config).action_space
    cache = FeatureCache.open(files["cache"], files["group"])
    videos = cache.split("test")
    model = Stranger(space, len(videos))
    expected = play_task(model, env_id(name), split="test", **config)
    recognizer = TaskRecognizer(model, env_id(name), **config)
    recognition = recognizer.look(frames_of(cache, "test"))
    assert recognition.decisions.tolist() == expected["decisions"].tolist()
    np.testing.assert_allclose(recognition.gmacs[:, -1], expected["gmacs"])
    sure = recognition.logits[:, -1].softmax(-1)[torch.arange(len(videos)), cache.labels[videos]]
    np.testing.assert_allclose(sure, expected["confidence"], atol=1e-4)
    correct = (recognition.predicted == cache.labels[videos]).tolist()
    assert correct == expected["correct"].tolist()


@pytest.mark.parametrize("name", ["AdaFocus", "Jump", "Resolution"])
def test_exits_stop_the_work(files: dict[str, Any], name: str) -> None:
    """Against what the same agent does without them, up to the first sure prediction of a video."""
    config = files | {"observation": "map" if name == "AdaFocus" else "state"}
    cache = FeatureCache.open(files["cache"], files["group"])
    frames, space = frames_of(cache, "test"), gymnasium.make(env_id(name), **config).action_space
    recognizer = TaskRecognizer(Stranger(space, 7), env_id(name), **config)
    alone = recognizer.look(frames)
    sure = alone.logits.double().softmax(-1).amax(-1).numpy()
    rule = ExitRule("confidence", tuple(np.quantile(sure, [0.9, 0.4, 0.6, 0.5, 0.5]).tolist()))
    recognition = TaskRecognizer(Stranger(space, 7), env_id(name), exits=rule, **config).look(
        frames
    )
    earlier = 0
    for video, fed in enumerate(alone.fed):
        looks = np.flatnonzero(fed).tolist()
        stops = [at for t, at in enumerate(looks) if sure[video, at] >= rule.thresholds[t]]
        last = [*stops, STEPS - 1][0]
        earlier += last < alone.valid[video].sum() - 1
        assert recognition.fed[video].tolist() == [f and t <= last for t, f in enumerate(fed)]
        np.testing.assert_allclose(
            recognition.logits[video, -1], alone.logits[video, last], atol=1e-5
        )
        assert recognition.gmacs[video, -1] == pytest.approx(alone.gmacs[video, last])
    assert earlier > 1
    cost = FeatureSource(cache, recognizer.classifier).frame_cost
    f_c = recognition.fed.sum(axis=1) * cost.classifier_gmacs
    np.testing.assert_allclose(recognition.gmacs[:, -1], recognition.encoder_gmacs + f_c, rtol=1e-6)
    with pytest.raises(ValueError, match="expected exits of 5 steps, .* got 4: solve the rule"):
        TaskRecognizer(
            Stranger(space, 7), env_id(name), exits=ExitRule("margin", (0.5,) * 4), **config
        )


@pytest.mark.parametrize("reuse_glance", [True, False])
@pytest.mark.parametrize("name", TASKS)
def test_what_is_charged_is_what_runs(
    files: dict[str, Any], name: str, reuse_glance: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Count the images that go into each encoder; nothing runs for what was not looked at."""
    ran = {"images": 0}
    plain = Encoder._encode_images

    def counted(self: Encoder, images: torch.Tensor, *shift: Any) -> torch.Tensor:
        ran["images"] += len(images)
        return plain(self, images, *shift)

    config = files | {"observation": "map" if "AdaFocus" in name else "state"}
    if name == "Boxes":  # between the options of one grid
        config |= {"classifier": f"{files['classifier']}_of_patches", "group": files["group"][1:]}
    if not reuse_glance:
        config["classifier"] += "_of_looks"
    env = gymnasium.make(env_id(name), split=None, **config).unwrapped
    timeline = env.player.task.timeline
    cache = FeatureCache.open(files["cache"], config["group"])
    recognizer = TaskRecognizer(Stranger(env.action_space, 7), env_id(name), **config)
    frames = frames_of(cache, "test")
    monkeypatch.setattr(Encoder, "_encode_images", counted)
    recognition = recognizer.look(frames)
    glances = (recognition.encoder_gmacs - _looks_gmacs(recognition, cache)) / cache.glance_gmacs
    f = cache.frames.segment_frames
    assert ran["images"] == round(float(glances.sum())) + f * int(recognition.attended.sum())
    cost = FeatureSource(cache, recognizer.classifier).frame_cost
    f_c = recognition.fed.sum(axis=1) * cost.classifier_gmacs
    if timeline.glances == "all" or (timeline.glances == "next" and not timeline.may_stop):
        np.testing.assert_allclose(glances, STEPS)
    np.testing.assert_allclose(recognition.gmacs[:, -1], recognition.encoder_gmacs + f_c, rtol=1e-6)


def _looks_gmacs(recognition: Any, cache: FeatureCache) -> np.ndarray:
    prices = np.append(cache.option_gmacs, 0.0)[recognition.options]
    return (prices * recognition.attended).sum(axis=1)


def test_files_are_read_in_batches(files: dict[str, Any]) -> None:
    recognizer = TaskRecognizer(Stranger(gymnasium.spaces.Discrete(2), 3), EXIT, **files)
    cache = recognizer.cache
    clips = cache.clips(cache.split("test"))
    recognitions = list(recognizer.recognize(clips, batch_size=3))
    assert [len(each.decisions) for each in recognitions] == [3, 3, 1]
    alone = recognizer.look(frames_of(cache, "test")[3:6])
    assert recognitions[1].decisions.tolist() == alone.decisions.tolist()
    np.testing.assert_allclose(recognitions[1].logits, alone.logits, atol=1e-5)


def test_maps_that_are_not_finite(files: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Told of the video and the frame, also where the mean over places is finite."""
    glance_at = pixels.glance_at

    def broken(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
        maps, vectors = glance_at(*arguments)
        maps[-1, 0, 0, 0] = torch.inf
        return maps, vectors

    monkeypatch.setattr(pixels, "glance_at", broken)
    space = gymnasium.make(env_id("AdaFocus"), split=None, **files).action_space
    recognizer = TaskRecognizer(Stranger(space, 7), env_id("AdaFocus"), **files)
    with pytest.raises(CacheError, match="video 6 of the batch, segment 0: an encoder gives NaN"):
        recognizer.look(frames_of(recognizer.cache, "test"))


def test_another_observation_is_refused(files: dict[str, Any]) -> None:
    space = gymnasium.spaces.Discrete(2)
    with pytest.raises(ValueError, match="expected observations of the kind map, state or maps"):
        TaskRecognizer(Stranger(space, 1), "focusgym/AdaFocus-v0", observation="index", **files)


def test_other_frames_are_refused(files: dict[str, Any]) -> None:
    space = gymnasium.spaces.Discrete(2)
    recognizer = TaskRecognizer(Stranger(space, 1), EXIT, **files)
    with pytest.raises(ValueError, match="expected videos of 5 segments, as the cache's; got 4"):
        recognizer.look(frames_of(recognizer.cache, "test")[:, :4])
