"""Clips read through encoders that shift: a cache by hand, and the same agents on pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from digit_caches import digit_cache
from support import write_classifier
from torch import Tensor

from focusgym.agents import TaskRecognizer, play_task
from focusgym.agents.clips import read_clips
from focusgym.envs import FeatureSource, PixelSource
from focusgym.feature_cache import CacheConfig, DigitsConfig, FeatureCache, read_many
from focusgym.recognizer import (
    Encoder,
    EncoderConfig,
    FrameConfig,
    PatchGrid,
    PolicyConfig,
    build_policy,
    option_group,
    policy_gmacs,
    read_classifier,
)

S, P, GLANCES, LOOKS, K = 64, 28, 2, 3, 9
N_TEST = 5


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FeatureSource:
    """Videos of one segment: f_G reads two frames, f_L three others, both with a shift."""
    root = tmp_path_factory.mktemp("clips")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoders = {
            "glance": Encoder(EncoderConfig("small_residual_tsm", input_px=24)).eval(),
            "local": Encoder(EncoderConfig("small_residual_tsm")).eval(),
        }
    places = PatchGrid(S, P, 3)
    group = option_group(places, "local", encoders["local"], segment_frames=LOOKS)
    frames = FrameConfig(1, S, segment_frames=LOOKS, glance_frames=GLANCES, own_glance=True)
    digits = DigitsConfig(n_train=1, n_val=1, n_test=N_TEST, n_frames=12)
    cache = digit_cache(root, digits, encoders, CacheConfig(frames, (group,), dtype="float32"))
    path = write_classifier(cache, root / "f_c", aggregation="average_logits")
    return FeatureSource(cache, read_classifier(path))


def frames_of(cache: FeatureCache) -> Tensor:
    videos = cache.split("test")
    return torch.stack([frames for frames, _ in read_many(cache.clips(videos), cache.frames)])


@torch.no_grad()
def test_an_option_is_a_whole_pass_over_the_clip(source: FeatureSource) -> None:
    """Of the encoders as they were saved, on crops by hand: nothing else sees the frames."""
    cache = source.cache
    videos, frames = cache.split("test"), frames_of(cache)
    assert frames.shape == (N_TEST, 1, GLANCES + LOOKS, 3, S, S)
    glance, local = (cache.fused_encoders()[name] for name in ("glance", "local"))
    maps = glance.encode_frames(glance.prepare(frames[:, 0, :GLANCES]))  # (B, 2, G, h, w)
    joined = torch.cat([maps[:, 0], maps[:, 1]], dim=1).permute(0, 2, 3, 1)
    torch.testing.assert_close(cache.glance_maps(videos)[:, 0], joined, rtol=1e-3, atol=1e-4)
    vectors = maps.mean((1, 3, 4))
    torch.testing.assert_close(cache.glance_vectors(videos)[:, 0], vectors, rtol=1e-3, atol=1e-4)
    for k, (top, left) in enumerate((y, x) for y in (0, 18, 36) for x in (0, 18, 36)):
        clip = frames[:, 0, GLANCES:, :, top : top + P, left : left + P]
        expected = local.encode_frames(local.prepare(clip)).mean((1, 3, 4))
        local_vectors = cache.local_vectors(videos, np.zeros(N_TEST, dtype=int), np.full(N_TEST, k))
        torch.testing.assert_close(local_vectors, expected, rtol=1e-3, atol=1e-4)
        plain = local.encode_frames(local.prepare(clip.flip(1))).mean((1, 3, 4))
        assert float((local_vectors - plain).abs().max()) > 1e-3, "the order of frames matters"


def test_a_policy_on_pixels(source: FeatureSource) -> None:
    """The same predictions; encoders run once for a video, where the policy looks."""
    cache = source.cache
    with torch.random.fork_rng():
        torch.manual_seed(3)
        sizes = PolicyConfig(*cache.map_shape, K, 4, 16, network="clip")
        policy: Any = build_policy(sizes)
    with torch.no_grad():
        maps = cache.glance_maps(cache.split("test"))
        for _ in range(50):  # the statistics of these maps
            policy(maps)
        policy.eval().actor.weight.mul_(20)
        policy.actor.bias.sub_(policy(maps).mean((0, 1)))  # so that it prefers others in others
    assert cache.map_shape[2] == GLANCES * cache.glance_channels
    pixels = PixelSource(cache, source.classifier, cache.fused_encoders(), frames_of(cache))
    videos = cache.split("test")
    on_cache = read_clips(source, videos, policy)
    on_pixels = read_clips(pixels, np.arange(N_TEST), policy)
    assert on_pixels.options.tolist() == on_cache.options.tolist()
    assert len(set(on_cache.options.flatten().tolist())) > 1
    torch.testing.assert_close(on_pixels.logits, on_cache.logits, rtol=0, atol=1e-3)
    np.testing.assert_allclose(on_pixels.gmacs, on_cache.gmacs)
    cost = source.frame_cost
    encoders = cost.glance_gmacs + cost.local_gmacs
    np.testing.assert_allclose(pixels.encoder_gmacs, encoders)
    total_gmacs = encoders + cost.classifier_gmacs + policy_gmacs(policy)
    np.testing.assert_allclose(on_pixels.gmacs[:, -1], total_gmacs)


class Named:
    """Names an action for each video in turn."""

    def __init__(self, actions: Any) -> None:
        self.actions = actions

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, **_: Any
    ) -> tuple[np.ndarray, Any]:
        first = 0 if state is None else int(state)
        return self.actions[first : first + len(episode_start)], None


@pytest.mark.parametrize(
    "actions",
    [np.array([0, 8, 4, 1, 6]), np.random.default_rng(0).uniform(size=(5, 2)).astype(np.float32)],
    ids=["options", "centers"],
)
def test_actions_on_pixels(source: FeatureSource, actions: np.ndarray) -> None:
    cache, kind = source.cache, "options" if actions.ndim == 1 else "centers"
    path = Path(cache.root).parent / "f_c"
    config: Any = {"cache": str(cache.root), "classifier": str(path), "actions": kind}
    played = play_task(Named(actions), "focusgym/Clip-v0", split="test", **config)
    recognition = TaskRecognizer(Named(actions), "focusgym/Clip-v0", **config).look(
        frames_of(cache)
    )
    labels = cache.labels[cache.split("test")]
    sure = recognition.logits[:, -1].softmax(-1)[torch.arange(N_TEST), labels]
    np.testing.assert_allclose(sure, played["confidence"], atol=1e-3)
    assert (recognition.predicted == labels).tolist() == played["correct"].tolist()
    np.testing.assert_allclose(recognition.gmacs[:, -1], played["gmacs"])
