"""Compute accounting: multiply-adds counted by torch on the real modules."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..classifiers.base import Classifier
from ..encoders.config import FrameConfig
from ..encoders.encoder import Encoder
from ..places.cubes import Cubes
from ..places.option_group import OptionGroup
from ..places.places import Places
from ..policies.base import Policy
from ..policies.cubes import CubePolicy

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class Cost:
    """Multiply-adds by network, in GMACs.

    Attributes:
        glance_gmacs: f_G.
        policy_gmacs: π, and π′ where there is one.
        local_gmacs: f_L.
        classifier_gmacs: f_C.
    """

    glance_gmacs: float
    policy_gmacs: float
    local_gmacs: float
    classifier_gmacs: float

    @property
    def total_gmacs(self) -> float:
        """Of all networks."""
        return self.glance_gmacs + self.policy_gmacs + self.local_gmacs + self.classifier_gmacs


@dataclass(frozen=True)
class FrameCost(Cost):
    """Multiply-adds of each network on one segment, which often is one frame, in GMACs.

    Attributes:
        glance_gmacs: f_G on all frames of the segment that it reads.
        policy_gmacs: One step of π, actor included, and of π′ where there is one.
        local_gmacs: f_L on one patch of all frames of the segment.
        classifier_gmacs: One step of f_C.
    """

    def of_video(
        self, steps: int, *, policy: bool, patches: int = 1, kept_share: float = 1.0
    ) -> Cost:
        """Return the cost of a video of ``steps`` segments, by network.

        Args:
            steps: T.
            policy: Whether the policy network is run; a fixed policy pays none.
            patches: Patches that f_L and f_C are run on at each frame: 1, or K for the oracle,
                which tries them all.
            kept_share: Share of the frames that are looked at, in [0, 1]: f_L runs on no other; all
                else runs on every frame.
        """
        return Cost(
            glance_gmacs=steps * self.glance_gmacs,
            policy_gmacs=steps * policy * self.policy_gmacs,
            local_gmacs=steps * patches * kept_share * self.local_gmacs,
            classifier_gmacs=steps * patches * self.classifier_gmacs,
        )

    def of_frames(self, looks: Tensor, *, policy: bool) -> Tensor:
        """Return what each frame costs.

        Args:
            looks: ``(...)`` bool, whether f_L is run on it.
            policy: Whether the policy network is.

        Returns:
            ``(...)`` float64, GMACs.
        """
        every = self.glance_gmacs + policy * self.policy_gmacs + self.classifier_gmacs
        return looks.double() * self.local_gmacs + every


def count_gmacs(run: Callable[[], object]) -> float:
    """Return the multiply-adds of the matrix products and convolutions that ``run`` does, in G.

    Two floating-point operations are one multiply-add. On CPU: a fused CUDA GRU is not counted.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops()) / 2e9


def encoder_gmacs(encoder: Encoder, side_px: int, n_frames: int = 1) -> float:
    """Return the GMACs of an encoder on one image of the given side, or on a segment of several.

    Convolutions with a ``mac_share``, such as `QuantisedConv`, are charged that share of theirs.
    """
    encoder = _on_cpu(encoder)
    frames = () if n_frames == 1 and encoder.shift is None else (n_frames,)
    images = torch.zeros(1, *frames, 3, side_px, side_px, dtype=torch.uint8)
    with evaluating(encoder), _spared_gmacs(encoder) as spared:
        return count_gmacs(lambda: encoder(images)) - sum(spared)


@contextmanager
def _spared_gmacs(encoder: Encoder) -> Iterator[list[float]]:
    """Note what the convolutions with a ``mac_share`` do and are not charged, in the block."""
    spared: list[float] = []

    def note(module: nn.Module, _: object, maps: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        macs = maps.numel() * module.weight[0].numel()
        spared.append((1 - float(module.mac_share)) * macs / 1e9)  # type: ignore[arg-type]

    cheaper = [module for module in encoder.modules() if hasattr(module, "mac_share")]
    hooks = [module.register_forward_hook(note) for module in cheaper]
    try:
        yield spared
    finally:
        for hook in hooks:
            hook.remove()


def option_group(
    places: Places,
    encoder_name: str,
    encoder: Encoder,
    name: str | None = None,
    segment_frames: int = 1,
) -> OptionGroup:
    """Return the option group of some places and the encoder that reads them, with its price.

    Args:
        places: Where the K options are.
        encoder_name: How the encoder is called among those of a cache.
        encoder: The encoder, whose multiply-adds on one option are counted.
        name: Of the group; None takes that of the places.
        segment_frames: F, frames of a segment, all of which are read and paid.
    """
    gmacs = encoder_gmacs(encoder, places.side_px, segment_frames)
    return OptionGroup(
        name or places.name, places, encoder_name, encoder.channels, gmacs, segment_frames
    )


def frame_cost(
    glance_encoder: Encoder,
    local_encoder: Encoder,
    classifier: Classifier,
    policy: Policy | None,
    places: Places,
    frames: FrameConfig | None = None,
) -> FrameCost:
    """Count the multiply-adds of the networks on one segment, by running each once on zeros.

    Networks on another device are copied to the CPU for it.

    Args:
        glance_encoder: f_G.
        local_encoder: f_L.
        classifier: f_C.
        policy: π, and π′ where there is one; None without.
        places: Where the options are.
        frames: How many frames a segment has, and how many of them f_G reads; None is one.
    """
    n_glanced, n_frames = (len(frames.glanced), frames.segment_frames) if frames else (1, 1)
    f_c = _on_cpu(classifier)
    glance = torch.zeros(1, 1, classifier.config.glance_channels)
    local = torch.zeros(1, 1, classifier.config.local_channels)
    with evaluating(f_c):
        classifier_gmacs = count_gmacs(lambda: f_c(glance, local))
    return FrameCost(
        glance_gmacs=encoder_gmacs(glance_encoder, places.frame_px, n_glanced),
        policy_gmacs=0.0 if policy is None else policy_gmacs(policy),
        local_gmacs=encoder_gmacs(local_encoder, places.side_px, n_frames),
        classifier_gmacs=classifier_gmacs,
    )


def cube_cost(
    glance_encoder: Encoder,
    local_encoder: Encoder,
    classifier: Classifier,
    policy: CubePolicy,
    cubes: Cubes,
) -> Cost:
    """Count the multiply-adds of a video with D cubes, by running each network once.

    Networks on another device are copied to the CPU for it.

    Args:
        glance_encoder: f_G, which runs on the frames that π is for.
        local_encoder: f_L, which runs on every frame of every cube.
        classifier: f_C, which runs after the glance and after each cube.
        policy: π, which runs once.
        cubes: How large they are.

    Source: AdaFocusV3 (arXiv:2209.13465) section 4, metrics: GFLOPs per video.
    """
    steps, n_cubes = policy.config.steps, policy.config.cubes
    f_c = _on_cpu(classifier)
    glance = torch.zeros(1, n_cubes + 1, f_c.config.glance_channels)
    local = torch.zeros(1, n_cubes + 1, f_c.config.local_channels)
    with evaluating(f_c):
        classifier_gmacs = count_gmacs(lambda: f_c(glance, local))
    return Cost(
        glance_gmacs=encoder_gmacs(glance_encoder, cubes.frame_px, steps),
        policy_gmacs=cube_policy_gmacs(policy),
        local_gmacs=n_cubes * encoder_gmacs(local_encoder, cubes.side_px, cubes.frames),
        classifier_gmacs=classifier_gmacs,
    )


def cube_policy_gmacs(policy: CubePolicy) -> float:
    """Return the GMACs of π of AdaFocusV3, which runs once for a video."""
    policy = _on_cpu(policy)
    sizes = policy.config
    maps = torch.zeros(1, sizes.steps, sizes.map_height, sizes.map_width, sizes.glance_channels)
    draws = torch.zeros(1, sizes.cubes, 3)
    with evaluating(policy):
        return count_gmacs(lambda: policy(maps, draws))


def policy_gmacs(policy: Policy) -> float:
    """Return the GMACs of one step of π, actor included, and of π′ where there is one."""
    policy = _on_cpu(policy)
    config = policy.config
    maps = torch.zeros(1, 1, config.map_height, config.map_width, config.glance_channels)
    with evaluating(policy):
        return count_gmacs(lambda: policy.choose(maps))


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into eval mode inside the block; each of its modules is then as it was."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _on_cpu(module: ModuleT) -> ModuleT:
    tensors = [*module.parameters(), *module.buffers()]
    elsewhere = any(tensor.device.type != "cpu" for tensor in tensors)
    return copy.deepcopy(module).cpu() if elsewhere else module
