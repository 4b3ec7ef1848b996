"""What the embedded data sets are made of: the settings; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

DIGITS = 10
DRIFT_PX = 4  # of digit_pairs: how far, at most, two frames' places are apart in each axis


@dataclass(frozen=True, kw_only=True)
class DigitSettings:
    """How much is made: what the library and the command line have in common.

    Attributes:
        n_train: Training videos.
        n_val: Videos to select on.
        n_test: Videos to report on.
        n_frames: Frames F of a video.
        seed: Seed of every draw.
    """

    n_train: int = 2400
    n_val: int = 300
    n_test: int = 1000
    n_frames: int = 12
    seed: int = 0


@dataclass(frozen=True)
class DigitSceneConfig(DigitSettings):
    """What the embedded data sets have in common; the same config gives the same pixels.

    Attributes:
        frame_px: Frame side S, pixels.
        digit_px: Side of a digit's box, pixels.
        clutter: Grey fragments per video.
        fragment_px: Side of a fragment, pixels.
        contrast: Brightness of a digit's strokes over the background, in [0, 1].
        clutter_contrast: The same of the fragments.
        noise: Standard deviation of the pixel noise, in grey levels of 255.

    Raises:
        ValueError: If a size is out of range.
    """

    name: ClassVar[str]
    """The data set's, for messages."""

    frame_px: int = 64
    digit_px: int = 20
    clutter: int = 8
    fragment_px: int = 12
    contrast: float = 0.6
    clutter_contrast: float = 0.2
    noise: float = 10.0

    def __post_init__(self) -> None:
        """Check the sizes."""
        if min(self.n_train, self.n_val, self.n_test, self.n_frames) < 1:
            raise ValueError(
                f"{self.name} needs at least one video per split and one frame per video; got "
                f"{self.n_train}/{self.n_val}/{self.n_test} videos of {self.n_frames} frames"
            )
        if not 0 < self.digit_px <= self.frame_px // 2 or self.frame_px % 2:
            raise ValueError(
                f"{self.name} needs an even frame_px (H.264) and a digit_px of at most half of "
                f"it; got frame_px={self.frame_px}, digit_px={self.digit_px}"
            )


@dataclass(frozen=True)
class DigitsConfig(DigitSceneConfig):
    """What the data set is made of, beside sizes and contrasts.

    Attributes:
        visible_share: Expected share of frames in which the digit is visible.
        most_visible_share: Largest share of a video's frames in which it is; one frame at least.
        decoys: How many more things of the digit's tint drift and are hidden like it: scans whose
            quarters are exchanged. From afar they look like the digit; they say nothing.
        largest_digit_px: Side of the largest digit's box, pixels: each video draws the side of its
            digit, and of its decoys, between ``digit_px`` and this, all ratios of sides alike, so
            that a large digit can be read at a low resolution and a small one cannot. None for
            ``digit_px`` in all videos.

    Raises:
        ValueError: If a size, a share or a number is out of range.
    """

    name: ClassVar[str] = "digits"

    visible_share: float = 0.7
    most_visible_share: float = 1.0
    decoys: int = 0
    largest_digit_px: int | None = None

    @property
    def n_classes(self) -> int:
        """How many digits there are, C."""
        return DIGITS

    def __post_init__(self) -> None:
        """Check sizes and shares."""
        super().__post_init__()
        for name in ("visible_share", "most_visible_share"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be in (0, 1]; got {getattr(self, name)}")
        if self.decoys < 0:
            raise ValueError(f"decoys must not be negative; got {self.decoys}")
        largest = self.largest_digit_px
        if largest is not None and not self.digit_px <= largest <= self.frame_px:
            raise ValueError(
                f"largest_digit_px must be in {self.digit_px}..{self.frame_px}, from digit_px to "
                f"frame_px; got {largest}"
            )


@dataclass(frozen=True)
class DigitPairsConfig(DigitSceneConfig):
    """What the data set is made of, beside sizes and contrasts.

    Attributes:
        n_frames: Frames F of a video, two at least.
        n_digits: The digits 0 to n_digits - 1 are shown: n_digits * (n_digits - 1) classes.

    Raises:
        ValueError: If a size is out of range.
    """

    name: ClassVar[str] = "digit_pairs"

    n_frames: int = 24
    frame_px: int = 48
    clutter: int = 5
    n_digits: int = 5

    def __post_init__(self) -> None:
        """Check the sizes."""
        super().__post_init__()
        if self.n_frames < 2:
            raise ValueError(
                f"digit_pairs needs at least two frames, one for each digit; got {self.n_frames}"
            )
        if not 2 <= self.n_digits <= DIGITS:
            raise ValueError(f"n_digits must be in 2..{DIGITS}; got {self.n_digits}")
        if self.frame_px < self.digit_px + DRIFT_PX:
            raise ValueError(
                f"digit_pairs needs a frame_px of at least digit_px + {DRIFT_PX}, for the place "
                f"drifts; got frame_px={self.frame_px}, digit_px={self.digit_px}"
            )

    @property
    def n_classes(self) -> int:
        """How many ordered pairs of different digits there are, C."""
        return self.n_digits * (self.n_digits - 1)
