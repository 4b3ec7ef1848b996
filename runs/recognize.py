"""The verb ``recognize``: what is in these videos, where was looked, and what did it cost."""

from __future__ import annotations

import json
from typing import Any

from numpy.typing import NDArray

from ..feature_cache import VideoError, recognize_videos
from ..recognizer import AdaptiveRecognizer, Recognition
from .configs.recognize import RecognizeConfig
from .options import UsageError, check_device, tell


def recognize(config: RecognizeConfig) -> None:
    """Print the predictions for each video; exit status 1 where one cannot be read.

    Raises:
        UsageError: If no video is given, --top is not positive, or the recognizer has no policy.
        BundleError: If the recognizer cannot be read.
    """
    check_device(config.device)
    if not config.videos:
        raise UsageError("give at least one video file")
    if config.top < 1:
        raise UsageError(f"--top must be at least 1; got {config.top}")
    recognizer = AdaptiveRecognizer.from_bundle(config.recognizer, config.device, config.precision)
    if recognizer.policy is None:
        raise UsageError(
            f"{config.recognizer} has no policy, so it has to be told where to look: give a "
            "recognizer with one, or pass `options` to AdaptiveRecognizer in Python"
        )
    unreadable = 0
    for path, found in zip(config.videos, recognize_videos(recognizer, config.videos), strict=True):
        if isinstance(found, VideoError):
            unreadable += 1
            line = {"video": str(path), "error": str(found)}
        else:
            line = {"video": str(path), **facts(recognizer, *found, config.top)}
        tell(json.dumps(line) if config.json else _sentence(line))
    if unreadable:
        raise SystemExit(1)


def facts(
    recognizer: AdaptiveRecognizer, found: Recognition, indices: NDArray[Any], top: int
) -> dict[str, Any]:
    """Return what was recognized in one video, as plain values.

    It has the ``top`` classes after the last frame, the GMACs spent, and for every frame its index
    in the file, the box (pixels of the prepared frame; null where it was skipped), the class so far
    with its probability, and the GMACs spent so far.
    """
    names = recognizer.classes or [str(c) for c in range(found.logits.shape[-1])]
    probabilities = found.logits[0].softmax(dim=-1)
    best = probabilities[-1].topk(min(top, len(names)))
    steps = [
        {
            "frame": int(indices[t]),
            "box_px": found.boxes_px[0, t].tolist() if found.attended[0, t] else None,
            "class": names[int(probabilities[t].argmax())],
            "probability": float(probabilities[t].max()),
            "gmacs": float(found.gmacs[0, t]),
        }
        for t in range(len(indices))
    ]
    return {
        "classes": [
            {"class": names[index], "probability": value}
            for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ],
        "attended": int(found.attended.sum()),
        "gmacs": float(found.gmacs[0, -1]),
        "steps": steps,
    }


def _sentence(line: dict[str, Any]) -> str:
    if "error" in line:
        return str(line["error"])  # it names the file
    classes = ", ".join(f"{c['class']} {100 * c['probability']:.1f} %" for c in line["classes"])
    looked = f"{line['attended']} of {len(line['steps'])} frames looked at"
    return f"{line['video']}: {classes} ({looked}, {line['gmacs']:.4g} GMACs)"
