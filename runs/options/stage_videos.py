"""The videos that a stage on pixels is trained on, as samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from ...feature_cache import AugmentConfig, VideoSamples, fingerprint, rows_digest
from ...recognizer import FrameConfig, Samples, rank_and_world
from ..configs.fit import FitAFNetConfig, FitEncoderConfig, FitPatchesConfig, JointConfig
from .parse import UsageError, augmentation, frames_of, print_line, videos_of


@dataclass(frozen=True)
class StageVideos:
    """The videos of a stage on pixels.

    Attributes:
        table: Those that are there.
        classes: Names of the C classes.
        frames: Which frames are taken.
        augment: How those of the training videos are drawn; None takes them as for testing.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    frames: FrameConfig
    augment: AugmentConfig | None

    @classmethod
    def read(
        cls, config: FitEncoderConfig | FitPatchesConfig | JointConfig | FitAFNetConfig
    ) -> StageVideos:
        """Read the lists; tell which missing videos are left out, if that was asked for."""
        videos, seed = config.videos, config.training.seed
        frames = frames_of(config.frames, videos.format)
        augment = augmentation(config.frames, videos.format, 1, seed) if config.augment else None
        listed = videos_of(videos, videos.skip_missing)
        missing = listed.videos["missing"] != ""
        if missing.any() and rank_and_world()[0] == 0:
            print_line(
                f"left out, for they are missing: {', '.join(listed.videos['name'][missing])}"
            )
        return cls(listed.videos[~missing], tuple(listed.classes), frames, augment)

    @property
    def n_classes(self) -> int:
        """C."""
        return len(self.classes)

    def samples(
        self,
        key: Sequence[int] | None = None,
        validation_key: Sequence[int] | None = None,
        draws_shape: tuple[int, int] | None = None,
    ) -> tuple[Samples, Samples]:
        """Return training and validation samples, with draws if there are keys for them."""
        train = self._split("train", key, self.augment, draws_shape)
        return train, self._split("val", validation_key, None, draws_shape)

    def fingerprint(self) -> str:
        """Return what tells the samples from others, but for the files' content."""
        return fingerprint(
            {
                "rows": rows_digest(self.table.assign(view=-1)),
                "n_classes": self.n_classes,
                "frames": asdict(self.frames),
                "augment": self.augment and asdict(self.augment),
            }
        )

    def _split(
        self,
        split: str,
        key: Sequence[int] | None,
        augment: AugmentConfig | None,
        draws_shape: tuple[int, int] | None,
    ) -> VideoSamples:
        chosen = self.table[self.table["split"] == split].reset_index(drop=True)
        if not len(chosen):
            raise UsageError(
                f"there are no videos in the split {split}: give --train, and --val or enough of "
                "each class that a fifth can be held out"
            )
        return VideoSamples(
            chosen,
            self.n_classes,
            self.frames,
            augment=augment,
            draws_key=key,
            draws_shape=draws_shape,
        )
