"""Small recognizers whose choices and predictions vary, and the same computed frame by frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.functional import normalize

from focusgym.recognizer import (
    AdaptiveRecognizer,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FrameConfig,
    PatchGrid,
    PolicyConfig,
    PolicyNetwork,
    Recognition,
    build_classifier,
)

S, P, N_PER_AXIS, K, C, H = 32, 12, 3, 9, 4, 8
G, L, CONV = 32, 64, 4
OFFSETS = (0, 10, 20)  # of three patches of 12 px in 32 px
GLANCE_PX = 8

# Options for three videos of five frames, and whether they are attended: not at the begin, not at
# the end, nowhere. Where they are not, an option is named all the same.
CHOICES = (
    torch.tensor([[0, 4, 2, 6, 0], [8, 1, 3, 3, 5], [0, 0, 2, 7, 8]]),
    torch.tensor([[0, 1, 0, 0, 1], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]]).bool(),
)

# Everything that a recognizer can be made of; "skips" is the share of frames that π′ skips.
KINDS: dict[str, dict[str, Any]] = {
    "pi": {},
    "some skipped": {"skips": 0.4},
    "all skipped": {"skips": 1.0},
    "none skipped": {"skips": 0.0},
    "local vectors only": {"skips": 0.4, "reuse_glance": False},
    "average": {"skips": 0.4, "aggregation": "average"},
    "average of local vectors": {"aggregation": "average", "reuse_glance": False},
}


def make_frames(batch: int, steps: int, seed: int = 0, side: int = S) -> Tensor:
    """Return ``(B, T, 3, side, side)`` uint8: coloured blotches, other ones in every frame."""
    generator = torch.Generator().manual_seed(seed)
    coarse = 255 * torch.rand(batch * steps, 3, 4, 4, generator=generator)
    noise = 30 * torch.randn(batch * steps, 3, side, side, generator=generator)
    smooth = functional.interpolate(coarse, size=side, mode="bilinear")
    pixels = (smooth + noise).clamp(0, 255).to(torch.uint8)
    frames: Tensor = pixels.unflatten(0, (batch, steps))
    return frames


def make_encoder(name: str, input_px: int | None = None) -> Encoder:
    """Return an encoder with the statistics of a few frames: its features vary."""
    encoder = Encoder(EncoderConfig(name, input_px))
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        encoder(make_frames(1, 12, seed=99)[0])
    return encoder.eval()


def make_recognizer(
    *,
    skips: float | None = None,
    policy: bool = True,
    seed: int = 0,
    feature_dtype: torch.dtype = torch.float16,
    options_allowed: list[int] | None = None,
    **classifier: Any,
) -> AdaptiveRecognizer:
    """Return a recognizer of random weights; with ``skips`` it has π′.

    Of the frames of ``make_frames(3, 5)`` it skips this share, to a frame.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoders = make_encoder("small_glance", GLANCE_PX), make_encoder("small_local")
        f_c = build_classifier(ClassifierConfig(G, L, C, hidden=H, **classifier))
        threshold = None if skips is None else 0.5
        config = PolicyConfig(4, 4, G, K, CONV, 6, options_allowed, threshold)
        pi = PolicyNetwork(config) if policy else None
    recognizer = AdaptiveRecognizer(
        *encoders,
        f_c,
        PatchGrid(S, P, N_PER_AXIS),
        pi,
        feature_dtype,
        frames=FrameConfig(steps=5, frame_px=S, resize_px=36),
        classes=["a", "b", "c", "d"],
    )
    frames = make_frames(3, 5)
    if pi is not None:
        for network in (pi, pi.keep) if pi.keep else (pi,):
            spread(network.trunk.linear, recognizer, frames)
            spread(network.actor, recognizer, frames)
    if pi is not None and skips is not None:
        keep = keep_probabilities(recognizer, frames).flatten().sort().values.tolist()
        edges = [0.0, *keep, 1.0]
        skipped = round(skips * len(keep))
        pi.config = replace(config, threshold=(edges[skipped] + edges[skipped + 1]) / 2)
    spread(f_c.get_submodule("head"), recognizer, frames)
    return recognizer


@torch.no_grad()
def spread(head: Any, recognizer: AdaptiveRecognizer, frames: Tensor) -> None:
    """Scale and shift a linear layer: its outputs on these frames have mean 0 and deviation 1."""
    outputs: list[Tensor] = []
    hook = head.register_forward_hook(
        lambda _, inputs, output: outputs.append(output.flatten(0, -2))
    )
    every = torch.arange(15).view(3, 5)
    recognizer(frames, *([] if recognizer.policy else [every % K, every % (K + 1) < K]))
    hook.remove()
    last_outputs = torch.cat(outputs)[-15:]  # the first ones may be of zeros, for counting
    scale = 1 / last_outputs.std(dim=0)
    head.weight.mul_(scale[:, None])
    head.bias.sub_(last_outputs.mean(dim=0)).mul_(scale)


def rounded(values: Tensor, recognizer: AdaptiveRecognizer) -> Tensor:
    return values.to(recognizer.feature_dtype).float()


def encode(encoder: nn.Module, image: Tensor) -> Tensor:
    """Return the map ``(channels, h, w)`` of one image ``(3, side, side)`` uint8."""
    x = normalize(image / 255.0, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    if encoder.config.input_px is not None:  # type: ignore[union-attr]
        x = functional.avg_pool2d(x, S // GLANCE_PX)
    maps: Tensor = encoder.trunk(x[None])[0]  # type: ignore[operator]
    return maps


def cell_of(gru: nn.GRU) -> nn.GRUCell:
    cell = nn.GRUCell(gru.input_size, gru.hidden_size)
    cell.load_state_dict(
        {name.removesuffix("_l0"): value for name, value in gru.state_dict().items()}
    )
    return cell


class Stepped:
    """A policy network's trunk and head, run on one map after the other with torch's own layers."""

    def __init__(self, trunk: Any, actor: nn.Linear) -> None:
        weight = trunk.conv.weight
        self.conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=False)
        self.conv.load_state_dict({"weight": weight[:, :, None, None]})
        self.linear, self.cell, self.actor = trunk.linear, cell_of(trunk.gru), actor
        self.state = torch.zeros(1, trunk.gru.hidden_size)

    def __call__(self, glance_map: Tensor) -> Tensor:
        """Return the head's outputs for a map ``(G, h, w)``."""
        cells = self.conv(glance_map[None]).relu()
        x = self.linear(cells.permute(0, 2, 3, 1).flatten(1)).relu()
        self.state = self.cell(x, self.state)
        outputs: Tensor = self.actor(self.state)[0]
        return outputs


@torch.no_grad()
def keep_probabilities(recognizer: AdaptiveRecognizer, frames: Tensor) -> Tensor:
    """Return p^B ``(B, T)``."""
    assert recognizer.policy is not None
    keep = recognizer.policy.keep
    assert keep is not None
    probabilities = []
    for video in frames:
        stepped = Stepped(keep.trunk, keep.actor)
        maps = [rounded(encode(recognizer.glance_encoder, frame), recognizer) for frame in video]
        probabilities.append(torch.stack([stepped(each)[0].sigmoid() for each in maps]))
    return torch.stack(probabilities)


@torch.no_grad()
def literal(
    recognizer: AdaptiveRecognizer,
    frames: Tensor,
    options: Tensor | None = None,
    attended: Tensor | None = None,
) -> Recognition:
    """Recognize as the paper describes it: one video after the other, one frame after the other."""
    rows = []
    for b, video in enumerate(frames):
        decisions = None
        if options is not None:
            looks = [True] * len(video) if attended is None else attended[b].tolist()
            decisions = list(zip(options[b].tolist(), looks, strict=True))
        rows.append(_literal_video(recognizer, video, decisions))
    return Recognition(*(torch.stack(column) for column in zip(*rows, strict=True)))


def _literal_video(
    recognizer: AdaptiveRecognizer, video: Tensor, decisions: list[tuple[int, bool]] | None
) -> tuple[Tensor, ...]:
    f_c: Any = recognizer.classifier
    average = f_c.config.aggregation == "average"
    policy: Any = recognizer.policy
    if decisions is None:
        pi = Stepped(policy.trunk, policy.actor)
        pi_prime = policy.keep and Stepped(policy.keep.trunk, policy.keep.actor)
    cell = None if average else cell_of(f_c.gru)
    state, mean, spent = torch.zeros(1, H), torch.zeros(C), 0.0
    prices = gmacs_by_hand(recognizer)
    columns: list[list[Any]] = [[], [], [], [], []]
    for t, frame in enumerate(video):
        exact = encode(recognizer.glance_encoder, frame)
        glance_map = rounded(exact, recognizer)
        if decisions is None:
            logits = pi(glance_map).tolist()
            option, looks = logits.index(max(logits)), True
            if pi_prime:
                looks = float(pi_prime(glance_map)[0].sigmoid()) >= policy.config.threshold
            spent += prices["policy"]
        else:
            option, looks = decisions[t]
        box, local = (0, 0, 0, 0), torch.zeros(L)
        spent += prices["glance"] + prices["classifier"]
        if looks:
            top, left = OFFSETS[option // N_PER_AXIS], OFFSETS[option % N_PER_AXIS]
            box = (left, top, left + P, top + P)
            patch = frame[:, top : top + P, left : left + P]
            local = rounded(encode(recognizer.local_encoder, patch).mean((1, 2)), recognizer)
            spent += prices["local"]
        x = torch.cat([rounded(exact.mean((1, 2)), recognizer), local])
        x = x if f_c.config.reuse_glance else local
        if cell is None:
            mean = (t * mean + f_c.head(x).softmax(-1)) / (t + 1)
            prediction = mean.log()
        else:
            state = cell(x[None], state)
            prediction = f_c.head(state)[0]
        for column, value in zip(columns, (prediction, option, box, looks, spent), strict=True):
            column.append(value)
    return (
        torch.stack(columns[0]),
        torch.tensor(columns[1]),
        torch.tensor(columns[2]),
        torch.tensor(columns[3]),
        torch.tensor(columns[4], dtype=torch.float64),
    )


def gmacs_by_hand(recognizer: AdaptiveRecognizer) -> dict[str, float]:
    """Return what the networks of `make_recognizer` multiply on one frame, from their sizes."""
    config = recognizer.classifier.config
    inputs = L + G * config.reuse_glance
    of_gru = 3 * H * (inputs + H) + H * C
    classifier = inputs * C if config.aggregation == "average" else of_gru
    policy = 0
    if recognizer.policy is not None:
        trunk = 16 * G * CONV + 16 * CONV * 6 + 3 * 6 * (6 + 6)
        policy = trunk + 6 * K
        if recognizer.policy.keep is not None:
            policy += trunk + 6
    # (side of the output, channels in, channels out) of the 3×3 convolutions.
    glance = [(8, 3, 16), (4, 16, 32), (4, 32, 32)]
    local = [(6, 3, 16), (3, 16, 32), (2, 32, 64), (2, 64, 64)]
    macs = {"policy": policy, "classifier": classifier}
    for name, layers in (("glance", glance), ("local", local)):
        macs[name] = sum(side**2 * 9 * n_in * n_out for side, n_in, n_out in layers)
    return {name: number / 1e9 for name, number in macs.items()}


def assert_recognized(recognition: Recognition, expected: Recognition, atol: float = 1e-5) -> None:
    """Compare what recognizers return: logits and GMACs within rounding, the rest exactly."""
    assert recognition.logits.dtype == torch.float32
    torch.testing.assert_close(recognition.logits, expected.logits, rtol=0, atol=atol)
    for name in ("options", "boxes_px", "attended"):
        one, other = getattr(recognition, name), getattr(expected, name)
        assert one.dtype == other.dtype, name
        assert torch.equal(one, other), name
    assert recognition.gmacs.dtype == torch.float64
    torch.testing.assert_close(recognition.gmacs, expected.gmacs, rtol=1e-12, atol=0)


def watch(encoder: Encoder) -> list[Tensor]:
    """Return what is filled with the images of each run of an encoder, as uint8 again."""
    seen: list[Tensor] = []

    def note(prepared: Tensor) -> Tensor:
        pixels = 255 * (prepared * encoder.std + encoder.mean)
        seen.append(pixels.round().to(torch.uint8))
        return encode(prepared)

    encode = encoder.encode
    encoder.encode = note  # type: ignore[method-assign]
    return seen


def watched(recognizer: AdaptiveRecognizer) -> tuple[list[Tensor], list[Tensor]]:
    """Watch f_G and f_L, from after the compute was counted."""
    assert recognizer.cost.total_gmacs > 0
    return watch(recognizer.glance_encoder), watch(recognizer.local_encoder)
