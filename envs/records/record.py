"""The record of an episode: a JSON file from which it is rendered without its environment."""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ...feature_cache import Clip, View
from ...recognizer import FocusgymError, FrameConfig, in_words
from ...recognizer.files.atomic import write_whole
from ...recognizer.files.documents import read_json
from ...recognizer.files.typed import is_finite

FORMAT = 5
# The arrays of a record: the key of a decision in the file, and the type.
_COLUMNS: Mapping[str, tuple[str, type[np.generic]]] = {
    "segments": ("segment", np.int64),
    "options": ("option", np.int64),
    "attended": ("attended", np.bool_),
    "fed": ("fed", np.bool_),
    "boxes_px": ("box_px", np.int64),
    "confidences": ("confidence", np.float64),
    "correct": ("correct", np.bool_),
    "rewards": ("reward", np.float64),
    "gmacs": ("gmacs", np.float64),
}
_PLAIN = {np.int64: int, np.bool_: bool, np.float64: float}
_DECISION = {key: _PLAIN[dtype] for key, dtype in _COLUMNS.values()} | {"box_px": [int] * 4}
# A type, the keys of an object, or the items of a list: one stands for any number.
_FILE = {
    "format": int,
    "video_id": int,
    "name": str,
    "label": str,
    "cache_fingerprint": str,
    "clip": get_type_hints(Clip),
    "frames": get_type_hints(FrameConfig),
    "view": {"frame_indices": [int], "crop_px": [int] * 4, "flipped": bool},
    "map_cells": [int] * 2,
    "decisions": [_DECISION],
}


class RecordError(FocusgymError):
    """An episode record cannot be read or written; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class EpisodeRecord:
    """What happened in one episode, and where its pixels are: enough to render it.

    D is the number of segments that decisions were about: at most T, and smaller where the episode
    was not finished or ended early. A decision about a subset of segments has a row for each.

    Attributes:
        video_id: Row of the cache.
        name: Of the video, as the cache's table says.
        label: Name of the true class; several are joined by ``; ``.
        clip: The video.
        frames: T, the frame side S, and how frames become S×S.
        view: Which frames ``(T,)`` or ``(T, F)``, crop and flip were taken of the video.
        map_cells: (h, w) of the glance map.
        cache_fingerprint: Of the cache that the episode was played on.
        segments: ``(D,)`` int64 in ``[0, T)``, the segment that each row is about.
        options: ``(D,)`` int64, chosen options; −1 where none was chosen.
        attended: ``(D,)`` bool, whether f_L ran; False where it was skipped.
        fed: ``(D,)`` bool, whether f_C went on; False where the decision was to stop or to skip
            the segment altogether.
        boxes_px: ``(D, 4)`` int64, (left, top, right, bottom) in the S×S frame; right and bottom
            exclusive; zeros where no option was chosen.
        confidences: ``(D,)`` float64, on the true label, after each decision.
        correct: ``(D,)`` bool, whether the prediction after each decision is right.
        rewards: ``(D,)`` float64; the reward of a subset stands in its last row.
        gmacs: ``(D,)`` float64, cost so far after each decision, GMACs.

    Raises:
        ValueError: If an array has another shape or type, D is larger than T, or a box, the crop
            or ``map_cells`` cannot be.
    """

    video_id: int
    name: str
    label: str
    clip: Clip
    frames: FrameConfig
    view: View
    map_cells: tuple[int, int]
    cache_fingerprint: str
    segments: NDArray[np.int64]
    options: NDArray[np.int64]
    attended: NDArray[np.bool_]
    fed: NDArray[np.bool_]
    boxes_px: NDArray[np.int64]
    confidences: NDArray[np.float64]
    correct: NDArray[np.bool_]
    rewards: NDArray[np.float64]
    gmacs: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Check that the parts agree with each other."""
        n, steps, side = self.n_decisions, self.frames.steps, self.frames.frame_px
        if self.view.frame_indices.shape != self.frames.shape:
            raise ValueError(
                f"view.frame_indices must have shape {self.frames.shape}, one per frame; got "
                f"{self.view.frame_indices.shape}: give the frames and the view of one cache"
            )
        if n > steps:
            raise ValueError(f"an episode of {steps} frames has at most {steps} decisions; got {n}")
        for name, (_, dtype) in _COLUMNS.items():
            values, shape = getattr(self, name), (n, 4) if name == "boxes_px" else (n,)
            if values.shape != shape or values.dtype != dtype:
                raise ValueError(
                    f"{name} must be {np.dtype(dtype)} of shape {shape}; got {values.dtype} of "
                    f"shape {values.shape}: give one value per decision"
                )
        if not ((self.segments >= 0) & (self.segments < steps)).all():
            raise ValueError(f"segments must be in [0, {steps}); got {self.segments.tolist()}")
        low, high = self.boxes_px[:, :2], self.boxes_px[:, 2:]
        if not ((low >= 0) & (low <= high) & (high <= side)).all():
            expected = f"(left, top, right, bottom) within 0 and {side}"
            raise ValueError(f"boxes_px must be {expected}; got {self.boxes_px.tolist()}")
        left, top, right, bottom = self.view.crop_px
        if not (0 <= left < right and 0 <= top < bottom) or min(self.map_cells) < 1:
            received = f"{self.view.crop_px} and {self.map_cells}"
            raise ValueError(f"view.crop_px must be a box and map_cells positive; got {received}")

    @property
    def n_decisions(self) -> int:
        """D, the decisions that were made."""
        return len(self.options)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the record as a JSON file; it appears complete, or not at all.

        Args:
            path: The file; its folder must exist. Another episode record there is replaced.

        Raises:
            RecordError: If something else is there, the file cannot be written, or a number is not
                finite.
        """
        target = Path(os.path.realpath(path))  # a link stays one
        content = self._content()
        try:
            _from_json(content)
        except ValueError as error:
            raise RecordError(f"{path} is not written: {error}: correct the record") from error
        if os.path.lexists(target):
            try:
                read_record(target)
            except RecordError as error:
                raise RecordError(
                    f"{path} is there and is no episode record: nothing was touched; give another "
                    "path"
                ) from error
        try:
            write_whole(target, _text(content))
        except OSError as error:
            raise RecordError(
                f"{path} cannot be written ({in_words(error)}): make its folder, or give another "
                "path"
            ) from error

    def _content(self) -> dict[str, Any]:
        """Return what the file holds, in plain types."""
        plain = json.loads(json.dumps(asdict(self), default=lambda array: array.tolist()))
        plain["view"]["frame_indices"] = self.view.frame_indices.ravel().tolist()
        columns = zip(*(plain.pop(name) for name in _COLUMNS), strict=True)
        rows = [dict(zip(_DECISION, values, strict=True)) for values in columns]
        return {"format": FORMAT, **plain, "decisions": rows}


def shown_options(options: NDArray[np.int64], named: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return options as files hold them: −1 where none was named, ``named`` being False."""
    return np.where(named, options, -1)


def read_record(path: str | os.PathLike[str]) -> EpisodeRecord:
    """Read an episode record.

    Raises:
        RecordError: If the file is not there, or is not an intact record of this format.
    """
    if not os.path.isfile(path):
        raise RecordError(f"{path}: no such file: expected an episode record; check the path")
    try:
        return _from_json(read_json(path))
    except (OSError, ValueError, OverflowError) as error:
        raise RecordError(
            f"{path} is not a readable episode record ({in_words(error)}): record the episode "
            "again, or give another path"
        ) from error


def _text(content: dict[str, Any]) -> bytes:
    """Return a key per line, and a decision per line."""
    shown = {key: json.dumps(value, ensure_ascii=False) for key, value in content.items()}
    rows = ",".join(f"\n    {json.dumps(row)}" for row in content["decisions"])
    shown["decisions"] = f"[{rows}\n  ]"
    text = ",\n".join(f'  "{key}": {value}' for key, value in shown.items())
    # A file name need not be valid Unicode: what is not is escaped as JSON escapes.
    return f"{{\n{text}\n}}\n".encode("utf-8", "backslashreplace")


def _from_json(content: Any) -> EpisodeRecord:
    """Build a record of a file's content; ValueError says what is wrong with it."""
    file_format = content.get("format", FORMAT) if isinstance(content, dict) else FORMAT
    if file_format != FORMAT:
        raise ValueError(f"expected format {FORMAT}, got {file_format!r}: another version wrote it")
    _check("the record", content, _FILE)
    images, view = content["clip"]["images"], content["view"]
    if images and not re.fullmatch(r"[^%/]*%(0?[1-9])?d[^%/]*", images):
        raise ValueError(f"clip.images must be a file name with one %d; got {images!r}")
    indices, frames = np.array(view["frame_indices"], np.int64), FrameConfig(**content["frames"])
    if len(indices) == math.prod(frames.shape):  # another number is refused by the record
        indices = indices.reshape(frames.shape)
    parts: dict[str, Any] = {
        "clip": Clip(**content["clip"]),
        "frames": frames,
        "view": View(indices, tuple(view["crop_px"]), view["flipped"]),
        "map_cells": tuple(content["map_cells"]),
    }
    for name, (key, dtype) in _COLUMNS.items():
        values = np.array([row[key] for row in content["decisions"]], dtype=dtype)
        parts[name] = values.reshape(-1, 4) if name == "boxes_px" else values  # also for D = 0
    kept = {key: content[key] for key in ("video_id", "name", "label", "cache_fingerprint")}
    return EpisodeRecord(**kept, **parts)


def _check(where: str, value: Any, expected: Any) -> None:
    """Check types and keys all the way down."""
    if isinstance(expected, dict):
        keys = value.keys() if isinstance(value, dict) else set()
        if keys != expected.keys():
            lacks, unknown = sorted(expected.keys() - keys), sorted(keys - expected.keys())
            raise ValueError(f"{where} lacks the keys {lacks} and has unknown keys {unknown}")
        for key, part in expected.items():
            _check(f"{where}: {key}", value[key], part)
    elif isinstance(expected, list):
        if not isinstance(value, list) or len(expected) not in (1, len(value)):
            size = f" of {len(expected)}" if len(expected) > 1 else ""
            raise ValueError(f"{where} must be a list{size}; got {reprlib.repr(value)}")
        for i, item in enumerate(value):
            _check(f"{where} {i}", item, expected[0])
    else:
        allowed = get_args(expected) or (expected,)
        if type(value) not in (*allowed, *([int] if float in allowed else [])):
            names = " or ".join(kind.__name__ for kind in allowed)
            raise ValueError(f"{where} must be {names}; got {reprlib.repr(value)}")
        if float in allowed and value is not None and not is_finite(value):
            raise ValueError(f"{where} must be finite; got {value!r:.80}")
