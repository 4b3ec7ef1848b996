"""Small recognizers with cubes, and the same computed one video and one cube after the other."""

from __future__ import annotations

from typing import Any

import torch
from recognizers import C, G, L, P, S, encode, make_encoder, make_frames
from torch import Tensor, nn

from focusgym.recognizer import (
    ClassifierConfig,
    CubePolicy,
    CubePolicyConfig,
    CubeRecognizer,
    Cubes,
    FrameConfig,
    build_classifier,
)

B, T, D, H = 6, 7, 3, 10
CONV, HIDDEN = 3, 6
SIZES: dict[str, Any] = {
    "steps": T,
    "cubes": D,
    "conv_channels": CONV,
    "hidden": HIDDEN,
}
FRAMES = make_frames(B, T)
DRAWS = torch.rand(B, D, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
# What a recognizer can be made of: frames of a cube, frames that are glanced at, axes.
KINDS: dict[str, dict[str, Any]] = {
    "frames": {},
    "fewer glanced at": {"steps": 3},
    "two frames": {"frames": 2},
    "more than the video": {"frames": 3},
    "random in time": {"frames": 2, "time": "random", "steps": 4},
    "random in space": {"space": "random"},
    "all at random": {"time": "random", "space": "random"},
    "all spread evenly": {"time": "uniform", "space": "uniform"},
}


@torch.no_grad()
def make_recognizer(frames: int = 1, reuse: bool = True, **policy: Any) -> CubeRecognizer:
    """Return a recognizer of random weights, whose cubes and predictions vary."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoders = make_encoder("small_glance", 8), make_encoder("small_local")
        sizes = ClassifierConfig(
            G, L, C, H, reuse_glance=reuse, aggregation="max_pool", steps=D + 1
        )
        f_c = build_classifier(sizes)
        pi = CubePolicy(CubePolicyConfig(4, 4, G, **{**SIZES, **policy}))
        for name, weight in pi.named_parameters():
            if name.startswith(("moments", "places")):
                weight.mul_(10)
        norms = [m for m in (*f_c.modules(), *pi.modules()) if isinstance(m, nn.BatchNorm1d)]
        for norm in norms:
            for values in (norm.running_mean, norm.bias):
                values.normal_(std=0.1)  # type: ignore[union-attr]
            for values in (norm.running_var, norm.weight):
                values.uniform_(0.5, 2)  # type: ignore[union-attr]
    return CubeRecognizer(
        *encoders,
        f_c,
        Cubes(S, P, T, frames),
        pi,
        frames=FrameConfig(T, S, 36),
        classes="abcd",
    )


def glanced_by_hand(recognizer: CubeRecognizer) -> list[int]:
    """Return the frames that are glanced at: the middles of equal parts."""
    n = recognizer.policy.config.steps
    return [(2 * k + 1) * T // (2 * n) for k in range(n)]


def frames_by_hand(recognizer: CubeRecognizer, when: list[float]) -> list[list[int]]:
    """Return the frames of each cube: those nearest to it in a list from which they are taken."""
    n, left, taken = recognizer.cubes.frames, list(range(T)), []
    for t in when:
        if n * len(when) > T:
            first = round(t * (T - n))
            taken.append(list(range(first, first + n)))
            continue
        middle = t * (T - n) + (n - 1) / 2
        windows = [left[i : i + n] for i in range(len(left) - n + 1)]
        taken.append(min(windows, key=lambda each: abs(sum(each) / n - middle)))
        left = [frame for frame in left if frame not in taken[-1]]
    return taken


def gmacs_by_hand(recognizer: CubeRecognizer) -> dict[str, float]:
    """Return what is multiplied: for the glance at a video, by π, for a cube, by f_C in a step."""
    policy, n = recognizer.policy.config, recognizer.policy.config.steps
    # (side of the output, channels in, channels out) of the 3×3 convolutions.
    glance = [(8, 3, 16), (4, 16, 32), (4, 32, 32)]
    local = [(6, 3, 16), (3, 16, 32), (2, 32, 64), (2, 64, 64)]
    each = [sum(9 * side**2 * i * o for side, i, o in layers) for layers in (glance, local)]
    of_policy = 0
    if policy.learns:  # a 1×1 convolution, a linear layer, and one over three frames
        of_policy = n * (16 * G * CONV + 16 * CONV * HIDDEN + 3 * HIDDEN * HIDDEN)
        if policy.time == "learned":
            of_policy += n * HIDDEN * D + n * D  # shares, and the mean time
        if policy.space == "learned":
            of_policy += n * HIDDEN * 2
    macs = {
        "glance": n * each[0],
        "policy": of_policy,
        "local": recognizer.cubes.frames * each[1],
        "classifier": (G + L) * H + H * C,
    }
    return {name: number / 1e9 for name, number in macs.items()}


@torch.no_grad()
def literal(recognizer: CubeRecognizer, video: Tensor, where: Tensor) -> tuple[Any, ...]:
    """Recognize one video with cubes at centres ``(D, 3)``, one after the other.

    Returns:
        Logits, boxes, middle frames and GMACs without π, all of D + 1 predictions.
    """
    glanced = glanced_by_hand(recognizer)
    vectors = torch.stack(
        [encode(recognizer.glance_encoder, video[t]).mean((1, 2)) for t in glanced]
    )
    f_c: Any = recognizer.classifier
    norm = f_c.norm

    def units(glance: Tensor, local: Tensor) -> Tensor:
        x = f_c.layer.weight @ torch.cat([glance, local]) + f_c.layer.bias
        x = (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        return (x * norm.weight + norm.bias).clamp(min=0)

    prices = gmacs_by_hand(recognizer)
    state = units(vectors.amax(0), torch.zeros(L))
    logits, boxes, middles = [f_c.heads[0](state)], [[0, 0, 0, 0]], [-1]
    spent = [prices["glance"] + prices["classifier"]]
    holds = frames_by_hand(recognizer, where[:, 2].tolist())
    for d, ((x, y, _), held) in enumerate(zip(where.tolist(), holds, strict=True)):
        left, top = round(x * (S - P)), round(y * (S - P))
        cube = [video[t, :, top : top + P, left : left + P] for t in held]
        local = torch.stack([encode(recognizer.local_encoder, each).mean((1, 2)) for each in cube])
        near = [min(range(len(glanced)), key=lambda k, t=t: abs(glanced[k] - t)) for t in held]  # type: ignore[misc]
        state = state.maximum(units(vectors[near].mean(0), local.mean(0)))
        logits.append(f_c.heads[d + 1](state))
        boxes.append([left, top, left + P, top + P])
        middles.append(held[len(held) // 2])
        spent.append(spent[-1] + prices["local"] + prices["classifier"])
    return torch.stack(logits), boxes, middles, spent


def centres(recognizer: CubeRecognizer) -> Tensor:
    """Return those ``(B, D, 3)`` that the policy names when it is given maps one by one."""
    glanced = glanced_by_hand(recognizer)
    with torch.no_grad():
        maps = [
            torch.stack([encode(recognizer.glance_encoder, video[t]) for t in glanced])
            for video in FRAMES
        ]
        return recognizer.policy(torch.stack(maps).permute(0, 1, 3, 4, 2), DRAWS)  # type: ignore[no-any-return]
