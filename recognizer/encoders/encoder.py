"""The encoders f_G and f_L: networks that turn frames or patches into feature maps."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..limits import check_side
from .config import REDUCTIONS
from .masks import MaskProfile, ReuseMemory
from .shift import ClipShift, Shift, ShiftMemory
from .trunks import build_trunk, check_name


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoder, and at which resolution it sees its input.

    Attributes:
        name: ``small_glance``, ``small_local``, ``small_residual``,
            ``small_residual_glance`` (this project's, for the embedded data sets); a classification
            network of torchvision's, which is taken without its pooling and head; or
            ``module:attribute`` of a function of your own that returns a `Trunk`. With ``_tsm`` at
            its end, channels are shifted along the frames of a segment; with ``_4bit``, or another
            number of bits, convolutions are quantised; with ``_reuse50``, or another percentage,
            channels are taken from an earlier frame, see `build_trunk`.
        input_px: Side to which the input is down-sampled first, pixels; None leaves it as it comes.
        reduction: How: by ``area`` average; or ``bilinear``, between the four pixels around each
            place, the outermost of which are the corner pixels' centres. The latter is not
            anti-aliased: what lies between is not seen.

    Raises:
        ValueError: If the name or the reduction is unknown, ``input_px`` is not positive or larger
            than sides of frames may be, or a reduction is asked for without it.

    Source: ``bilinear`` is how the released code of AdaFocusV2 (arXiv:2112.14238) reduces frames to
        the 96 px of its ResNet-50 glance.
    """

    name: str
    input_px: int | None = None
    reduction: str = "area"

    def __post_init__(self) -> None:
        """Check the name, the size and the reduction."""
        check_name(self.name)
        if self.input_px is not None and self.input_px < 1:
            raise ValueError(
                f"input_px must be at least 1, or None to keep the size; got {self.input_px}"
            )
        check_side(self.input_px or 0, "the images that an encoder sees (input_px)")
        if self.reduction not in REDUCTIONS:
            raise ValueError(
                f"reduction must be one of {', '.join(REDUCTIONS)}; got {self.reduction!r}"
            )
        if self.input_px is None and self.reduction != "area":
            raise ValueError(
                f"the reduction {self.reduction!r} needs input_px, the side to which the input is "
                "reduced; got None: give a side, or leave the reduction out"
            )

    def describe(self) -> dict[str, Any]:
        """Return the values, JSON-able, as manifests hold them.

        The area average is left out, as it was before there was another reduction: the fingerprints
        of such caches stay as they are.
        """
        values = asdict(self)
        if self.reduction == "area":
            del values["reduction"]
        return values


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalise images by the mean and the deviation of each colour.

    Args:
        images: ``(..., 3, side, side)`` uint8.
        mean: ``(3, 1, 1)``, of images in [0, 1].
        std: ``(3, 1, 1)``, of images in [0, 1].

    Returns:
        The same shape, float32, channels last in memory.

    Raises:
        ValueError: If the images are not uint8: normalisation expects 0 to 255.
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"images must be uint8 in 0..255; got {images.dtype}")
    # In planes first: five times as fast as arithmetic on three interleaved colours.
    planes = images.to(torch.float32, memory_format=torch.contiguous_format)
    planes.mul_(1 / (255.0 * std)).sub_(mean / std)
    flat = planes.flatten(0, -4).contiguous(memory_format=torch.channels_last)
    prepared: Tensor = flat.unflatten(0, images.shape[:-3])
    return prepared


class Encoder(nn.Module):
    """A trunk with its input resolution and the normalisation that its weights expect.

    Attributes:
        config: What it was built from.
        channels: G or L, the channels of the feature map.
        trunk: The network, from normalised images to maps.
        shift: How it shifts channels along the frames of a segment; None if it does not.
        profile: Which channels it does not compute; None if it computes all.
        is_fused: Whether it is a copy that `fused` made.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: EncoderConfig, *, trusted: bool = True) -> None:
        """Build the encoder with random weights.

        Args:
            config: Which, and at which resolution.
            trusted: Whether the module of a network of your own may be imported; see `build_trunk`.

        Raises:
            EncoderError: If the network has no feature map before its pooling.
        """
        super().__init__()
        self.config = config
        trunk = build_trunk(config.name, trusted=trusted)
        self.channels = trunk.channels
        self.shift = trunk.shift
        self.profile = trunk.profile
        self.is_fused = False
        # Channels last: up to twice as fast on CPU, and the order in which maps are stored.
        self.trunk = trunk.network.train().to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(trunk.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(trunk.std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Prepare and encode images.

        Args:
            images: ``(M, 3, side, side)`` uint8, or segments of F frames ``(M, F, 3, side, side)``.

        Returns:
            ``(M, channels, h, w)`` float32: ``e^G`` or ``e^L`` before pooling.

        Raises:
            ValueError: If the images are not uint8.

        Source: AdaFocus (arXiv:2105.03245) Eq. 1 and 2.
        """
        return self.encode(self.prepare(images))

    def prepare(self, images: Tensor) -> Tensor:
        """Normalise images; crops of a prepared frame are prepared crops.

        Args:
            images: ``(..., 3, side, side)`` uint8.

        Returns:
            The same shape, float32, channels last in memory.

        Raises:
            ValueError: If the images are not uint8: normalisation expects 0 to 255.
        """
        return normalise(images, self.mean, self.std)

    def encode(self, prepared: Tensor) -> Tensor:
        """Encode images, or segments of several frames, that `prepare` normalised.

        The map of a segment is the mean of the maps of its frames, see `encode_frames`.

        Args:
            prepared: ``(M, 3, side, side)`` float32, or segments ``(M, F, 3, side, side)``; fastest
                if channels last in memory.

        Returns:
            ``(M, channels, h, w)`` float32: ``e^G`` or ``e^L`` before pooling.

        Raises:
            ValueError: If it shifts channels along the frames of segments, and images are given.

        Source: AdaFocus (arXiv:2105.03245) Eq. 1 and 2. A linear layer on the mean over frames is
            the mean of frame-wise predictions, with which TSM (arXiv:1811.08383) ends.
        """
        if prepared.ndim == 5:
            return self.encode_frames(prepared).float().mean(dim=1)
        if self.shift is not None:
            raise ValueError(
                f"{self.config.name} reads segments of several frames, (M, F, 3, side, side); got "
                f"images {tuple(prepared.shape)}: make segments of several frames, such as 1 of 8 "
                "(--steps 1 --segment-frames 8), or take the network without _tsm"
            )
        return self._encode_images(prepared)

    def encode_frames(self, prepared: Tensor) -> Tensor:
        """Encode segments; the maps of their frames are not averaged.

        Each frame is read by itself, or, if the network shifts, together with those beside it.

        Args:
            prepared: ``(M, F, 3, side, side)`` that `prepare` normalised.

        Returns:
            ``(M, F, channels, h, w)``.

        Source: TSM (arXiv:1811.08383), as in AdaFocus-TSM (arXiv:2105.03245) section 4.2 and in
            AdaFocusV3 (arXiv:2209.13465), where the order of frames matters.
        """
        shift = None if self.shift is None else ClipShift(prepared.shape[1], self.shift)
        maps = self._encode_images(prepared.flatten(0, 1), shift)
        of_frames: Tensor = maps.unflatten(0, prepared.shape[:2])
        return of_frames

    def encode_next(self, prepared: Tensor, memory: ShiftMemory) -> Tensor:
        """Encode the next frame of videos that come frame by frame.

        Frame after frame, the maps are those of `encode_frames` on the whole videos.

        Args:
            prepared: ``(B, 3, side, side)`` that `prepare` normalised.
            memory: Of these videos; a new one before their first frame. It is changed.

        Returns:
            ``(B, channels, h, w)``.

        Raises:
            ValueError: If the shift is not from the past alone.

        Source: TSM (arXiv:1811.08383) section 4.2, online models.
        """
        if self.shift != "online":
            raise ValueError(
                f"expected an encoder that shifts from the past alone; got {self.config.name}: "
                "train one whose name ends in _tsm_online"
            )
        memory.begin_frame()
        return self._encode_images(prepared, memory)

    def encode_after(self, before: Tensor, prepared: Tensor) -> Tensor:
        """Encode frames that take channels from the frames before them.

        Those are computed in full. Elsewhere, as in `encode`, a frame stands in for the one before.

        Args:
            before: ``(M, 3, side, side)`` that `prepare` normalised.
            prepared: The same shape.

        Returns:
            ``(M, channels, h, w)``.

        Raises:
            ValueError: If it computes all channels.

        Source: AdaFuse (arXiv:2102.05775) section 3: the channels of the frame before.
        """
        pairs = torch.stack([before, prepared], dim=1)
        maps = self._encode_images(pairs.flatten(0, 1), self._checked_profile().in_pairs)
        of_pairs: Tensor = maps.unflatten(0, (-1, 2))
        return of_pairs[:, 1]

    def encode_from(self, prepared: Tensor, memory: ReuseMemory, rows: Tensor) -> Tensor:
        """Encode the next frames of videos; channels are reused as they were last computed.

        Args:
            prepared: ``(M, 3, side, side)`` that `prepare` normalised.
            memory: Of N videos, of this network at this side and of other profiles of it; changed.
            rows: ``(M,)`` int64, which of the N, each once.

        Returns:
            ``(M, channels, h, w)``.

        Raises:
            ValueError: If it computes all channels.
        """
        maps = self._encode_images(prepared, memory.begin(rows, self._checked_profile()))
        memory.end(rows)
        return maps

    def _checked_profile(self) -> MaskProfile:
        if self.profile is None:
            raise ValueError(
                f"expected an encoder with a mask profile, such as resnet50_reuse50; got "
                f"{self.config.name}"
            )
        return self.profile

    def _encode_images(self, prepared: Tensor, shift: Shift | None = None) -> Tensor:
        """Return the maps ``(M, channels, h, w)`` of images ``(M, 3, side, side)``."""
        if shift is None and self.profile is not None:
            shift = self.profile.alone
        if self.config.input_px is not None:
            mode = self.config.reduction
            corners = None if mode == "area" else True  # torch takes it for interpolation alone
            prepared = functional.interpolate(
                prepared, size=self.config.input_px, mode=mode, align_corners=corners
            )
        maps: Tensor = self.trunk(prepared) if shift is None else self.trunk(prepared, shift)
        return maps

    def fused(self) -> Encoder:
        """Return a copy for inference, with every BatchNorm folded that follows a convolution.

        Its maps are the encoder's within rounding. Its state dict is another one: save and
        fingerprint the encoder, not the copy.
        """
        from torch.fx.experimental.optimization import fuse

        encoder = copy.deepcopy(self).eval()
        trunk = fuse(encoder.trunk, inplace=True, no_trace=True)
        encoder.trunk = trunk.to(memory_format=torch.channels_last)
        encoder.is_fused = True
        # Autocast keeps the weights that it has cast where they require gradients, else casts anew.
        return encoder.requires_grad_(True)
