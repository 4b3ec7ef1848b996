"""What recognizers check of frames, options and maps before they compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..classifiers.config import ClassifierConfig
from ..encoders.encoder import Encoder
from ..errors import PredictionError
from ..places.places import Places
from ..policies.base import Policy
from ..policies.config import PolicyConfig


def check_pixels(frames: Tensor, side_px: int, n_frames: int = 1) -> None:
    """Check that frames are uint8 of the shape that a recognizer reads, at least one.

    Args:
        frames: ``(B, T, 3, S, S)``, or ``(B, T, F, 3, S, S)`` where a segment has several.
        side_px: S, pixels.
        n_frames: F.

    Raises:
        ValueError: If they are not.
    """
    shape = tuple(frames.shape)
    image = (3, side_px, side_px)
    if frames.dtype != torch.uint8 or shape[2:] != (image if n_frames == 1 else (n_frames, *image)):
        expected = f"(B, T, 3, S, S) with S = {side_px}"
        if n_frames > 1:
            expected = f"(B, T, F, 3, S, S) with F = {n_frames} and S = {side_px}"
        raise ValueError(
            f"frames must be uint8 {expected}; got {frames.dtype} {shape}: call `prepare` first "
            "where they have another size"
        )
    if 0 in shape:
        raise ValueError(f"expected at least one video and one frame; got {shape}")


def check_maps(maps: Tensor, policy: PolicyConfig) -> None:
    """Check that glance maps ``(B, T, h, w, G)`` are of the size that a policy reads.

    Raises:
        ValueError: If they are not.
    """
    shape = tuple(maps.shape[2:])
    expected = (policy.map_height, policy.map_width, policy.glance_channels)
    if shape != expected:
        raise ValueError(
            f"the policy reads glance maps (h, w, G) = {expected}, f_G gives {shape}: assemble "
            "it with the encoder and the frame side that it was trained with"
        )


def check_policy(policy: Policy, places: Places) -> None:
    """Check that a policy chooses among places as they are named: by indices, or by centres.

    Raises:
        ValueError: If it names them in the other way, or there are more or fewer.
    """
    if policy.config.n_options != places.n_options:
        raise ValueError(
            f"expected a policy with the {places.n_options} options of {places.name}; got one "
            f"with {policy.config.n_options}: assemble it with the places it was trained on"
        )
    if policy.names_centers != places.names_centers:
        kinds = "indices of options", "centres of boxes"
        named, known = kinds[policy.names_centers], kinds[not policy.names_centers]
        raise ValueError(
            f"the policy names {named}, and {places.name} is named by {known}: assemble it with "
            "the places it was trained on"
        )


def check_channels(sizes: ClassifierConfig, glance: Encoder, local: Encoder) -> None:
    """Check that a classifier reads as many channels as the encoders have.

    Raises:
        ValueError: If it does not.
    """
    for name, encoder, channels in (
        ("f_G", glance, sizes.glance_channels),
        ("f_L", local, sizes.local_channels),
    ):
        if encoder.channels != channels:
            raise ValueError(
                f"the classifier reads {channels} channels of {name}, which has "
                f"{encoder.channels}: assemble it with the encoder it was trained with"
            )


def check_clips(name: str, encoder: Encoder, n_frames: int) -> None:
    """Check that an encoder that shifts channels along frames is given several at once.

    Args:
        name: What the encoder is, such as f_G, for the message.
        encoder: An encoder, which may shift or not.
        n_frames: How many frames of a segment it reads.

    Raises:
        ValueError: If it shifts and reads one.
    """
    if encoder.shift is not None and n_frames < 2:
        raise ValueError(
            f"{name}, {encoder.config.name}, shifts channels along the frames of a segment; got "
            f"{n_frames} frame of each: read several, such as 8 in a video of one segment (--steps "
            "1 --segment-frames 8), or take the network without _tsm"
        )


def check_named(where: Tensor) -> None:
    """Check that the places that a policy named are numbers.

    Raises:
        PredictionError: If one is not.
    """
    if where.is_floating_point() and not where.isfinite().all():
        raise PredictionError(
            "the policy names a centre that is NaN or infinite: a weight is not finite, or values "
            "are too large for the precision: lower the learning rates, compute in float32, or "
            "train the networks anew"
        )


def check_looks(
    options: Tensor | NDArray[Any] | None,
    attended: Tensor | NDArray[np.bool_] | None,
    places: Places,
    expected: tuple[int, ...],
) -> tuple[Tensor, Tensor] | None:
    """Check the places that a caller chose, and whether they are attended.

    Args:
        options: Places as ``places`` names them: int64 in ``[0, K)``, or centres ``(..., 2)``; any
            of them where they are not attended. None if none are given.
        attended: bool; None: everywhere.
        places: Where f_L may be run.
        expected: The shape that both should have, such as (B, T), the names' own axis left out.

    Returns:
        Both as tensors; None if none are given.

    Raises:
        ValueError: If their shape, their dtype or one of them is another, or it is said whether
            options are attended that are not given.
    """
    if options is None:
        if attended is None:
            return None
        raise ValueError("`attended` says which options are looked at: give `options` as well")
    chosen = torch.as_tensor(options)
    like = places.first(*expected)
    shape, wanted = tuple(chosen.shape), tuple(like.shape)
    if chosen.dtype != like.dtype or shape != wanted:
        what = f"option in [0, {places.n_options})"
        what = "centre (x, y) in [0, 1]" if places.names_centers else what
        raise ValueError(
            f"expected {str(like.dtype).removeprefix('torch.')} {wanted} for every frame; got "
            f"{chosen.dtype}, {shape}: give one {what} per frame"
        )
    looks = torch.ones(expected, dtype=torch.bool, device=chosen.device)
    looks = looks if attended is None else torch.as_tensor(attended).to(chosen.device)
    if looks.dtype != torch.bool or tuple(looks.shape) != expected:
        raise ValueError(
            f"expected a bool for every frame, {expected}, whether it is looked at; got "
            f"{looks.dtype}, {tuple(looks.shape)}"
        )
    try:
        places.check(chosen)
    except ValueError as error:
        raise ValueError(
            f"{error}; name one everywhere: `attended` says where it is not looked at"
        ) from error
    return chosen, looks


def check_finite(logits: Tensor, precision: str, feature_dtype: torch.dtype) -> None:
    """Check predictions.

    Args:
        logits: ``(B, T, C)``.
        precision: In which the encoders compute.
        feature_dtype: To which features are rounded.

    Raises:
        PredictionError: If a logit is not finite.
    """
    wrong = (~logits.isfinite().all(dim=-1)).nonzero()
    if len(wrong):
        video, step = wrong[0].tolist()
        of_several = f" for video {video} of the batch" if len(logits) > 1 else ""
        raise PredictionError(
            f"prediction {step}{of_several}, counted from 0, is NaN or infinite: a weight is not "
            f"finite, or values are too large for the precision {precision} or for features of "
            f"{str(feature_dtype).removeprefix('torch.')}: take the precision float32, or train "
            "the networks anew"
        )
