"""The verb ``recognize``: what is in these videos, where was looked, and what did it cost."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ...feature_cache import RecognizedVideo, VideoError, recognize_videos
from ...recognizer import (
    AdaptiveRecognizer,
    AFNetRecognizer,
    CubeRecognizer,
    Recognizer,
    VideoRecognizer,
    encoder_gmacs,
    format_gmacs,
    read_recognizer,
)
from ..configs.recognize import RecognizeConfig
from ..evaluation.budgets import exits_within
from ..options.devices import device_of
from ..options.parse import UsageError, tell
from ..pictures.annotate import annotate, annotated_paths, annotation_folder


def recognize(config: RecognizeConfig) -> None:
    """Print the predictions for each video; exit status 1 where one cannot be read.

    Raises:
        UsageError: If there is no quickstart's recognizer and no other is given, the recognizer has
            no policy, two annotated videos would have one name, or exits or boxes are asked of a
            recognizer that has none.
        OutputError: If an annotated video is there already, or cannot be written.
        BundleError: If the recognizer cannot be read.
    """
    device = device_of(config.device)
    if config.bundle == RecognizeConfig.bundle and not config.bundle.exists():
        raise UsageError(
            f"there is no recognizer in {config.bundle}: run `focusgym quickstart` first, which "
            "makes one, or give --bundle"
        )
    outputs: list[Path] | list[None] = [None] * len(config.videos)
    if config.annotate is not None:
        outputs = annotated_paths(config.annotate, config.videos)
    recognizer = read_recognizer(config.bundle, device, config.precision)
    if isinstance(recognizer, CubeRecognizer) and recognizer.policy.config.draws:
        raise UsageError(
            f"{config.bundle} looks at random: it is a control; give a recognizer that has learned "
            "where to look, or pass `draws` to CubeRecognizer in Python"
        )
    if isinstance(recognizer, AdaptiveRecognizer) and recognizer.must_be_told:
        raise UsageError(
            f"{config.bundle} has no policy, so it has to be told where to look: give a "
            "recognizer with one, or pass `options` to AdaptiveRecognizer in Python"
        )
    if not isinstance(recognizer, Recognizer):
        for option in ("gmacs", "annotate"):
            if getattr(config, option) is not None:
                raise UsageError(
                    f"--{option}: {config.bundle} predicts once for a video, without exits and "
                    f"without boxes: leave --{option} out, or give a recognizer of boxes or cubes"
                )
    elif config.gmacs is not None:
        recognizer.exits = exits_within(config.bundle, recognizer, config.gmacs)
    folder = nullcontext() if config.annotate is None else annotation_folder(config.annotate)
    full_gmacs = full_frames_gmacs(recognizer)
    unreadable = 0
    recognized = recognize_videos(recognizer, config.videos)
    with folder:
        for path, out, found in zip(config.videos, outputs, recognized, strict=True):
            line: dict[str, Any] = {"video": str(path)}
            try:
                if isinstance(found, VideoError):
                    raise found
                line |= facts(recognizer, found, full_gmacs, config.top)
                if out is not None and recognizer.frames is not None:
                    annotate(path, out, _shown(recognizer, line["steps"]), recognizer.frames)
                    line["annotated"] = str(out)
            except VideoError as error:
                unreadable += 1
                line = {"video": str(path), "error": str(error)}
            tell(json.dumps(line) if config.json else _sentences(line, _units(recognizer)))
    if unreadable:
        raise SystemExit(1)


def full_frames_gmacs(recognizer: VideoRecognizer) -> float:
    """Return the GMACs of a video with f_G and f_L on all frames S×S, and f_C; no policy.

    Of an AF network those with all frames kept by all gates.

    Source: AdaFocus (arXiv:2105.03245) Table 3: the baseline TSM+, here without TSM.
    """
    if isinstance(recognizer, AFNetRecognizer):
        return recognizer.cost.at_ratio(1.0, recognizer.frames.steps)
    assert isinstance(recognizer, Recognizer)
    cost, side_px = recognizer.cost, recognizer.places.frame_px
    if isinstance(recognizer, CubeRecognizer):
        local_gmacs = encoder_gmacs(recognizer.local_encoder, side_px)
        steps = recognizer.places.steps
        return cost.glance_gmacs + steps * local_gmacs + cost.classifier_gmacs
    local_gmacs = encoder_gmacs(recognizer.local_encoder, side_px, recognizer.segment_frames)
    of_segment = cost.glance_gmacs + local_gmacs + cost.classifier_gmacs
    return 1 if recognizer.frames is None else recognizer.frames.steps * of_segment


def facts(
    recognizer: VideoRecognizer, video: RecognizedVideo, full_gmacs: float, top: int
) -> dict[str, Any]:
    """Return what was recognized in one video, as plain values.

    It has the ``top`` classes after the last frame; how many frames were taken, which are not all
    where the recognizer has exits, and how many f_L looked at; the GMACs spent, those of full
    frames, and how many times less that is; the milliseconds, of the networks as the mean over the
    videos of its batch, which are recognized at once; and for every frame, or the middle one of a
    segment of several, its index in the file, the box (pixels of the prepared frame; null where it
    was skipped or not taken), the class so far with its probability, and the GMACs spent so far. A
    recognizer with cubes has that for the glance, without a frame and a box, and for every cube;
    that of an AF network once, for the whole video, and beside it the share of its focal branches'
    compute that was run.

    Args:
        recognizer: What recognized it.
        video: What it found.
        full_gmacs: Of full frames; see `full_frames_gmacs`.
        top: How many classes.
    """
    found, indices = video.recognition, video.frame_indices
    if recognizer.frames is not None:
        indices = recognizer.frames.middle(indices)
    names = recognizer.classes or [str(c) for c in range(found.logits.shape[-1])]
    probabilities = found.logits[0].softmax(dim=-1)
    best = probabilities[-1].topk(min(top, len(names)))
    steps = [
        {
            "frame": int(indices[segment]) if segment >= 0 else None,
            "box_px": found.boxes_px[0, t].tolist() if found.attended[0, t] else None,
            "class": names[int(probabilities[t].argmax())],
            "probability": float(probabilities[t].max()),
            "gmacs": float(found.gmacs[0, t]),
        }
        for t, segment in enumerate(found.segments[0].tolist())
    ]
    gmacs = float(found.gmacs[0, -1])
    kept = {}
    if isinstance(recognizer, AFNetRecognizer):
        kept["focal_share"] = recognizer.cost.share_of(gmacs, recognizer.frames.steps)
    return {
        "classes": [
            {"class": names[index], "probability": value}
            for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ],
        "fed": int(found.fed.sum()),
        "attended": int(found.attended.sum()),
        **kept,
        "gmacs": gmacs,
        "full_frames_gmacs": full_gmacs,
        "times_less": full_gmacs / gmacs,
        "decode_ms": 1e3 * video.decode_s,
        "recognize_ms": 1e3 * video.recognize_s,
        "steps": steps,
    }


def _shown(recognizer: VideoRecognizer, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps that were taken, of cubes with the number of each; see `annotate`."""
    if isinstance(recognizer, CubeRecognizer):
        glance, *cubes = steps
        return [glance, *({**step, "cube": d} for d, step in enumerate(cubes, 1) if step["box_px"])]
    return [step for step in steps if step["frame"] is not None]


def _units(recognizer: VideoRecognizer) -> str:
    """Return what f_L looks at, many of them."""
    if isinstance(recognizer, CubeRecognizer):
        return "cubes"
    several = isinstance(recognizer, Recognizer) and recognizer.segment_frames > 1
    return "segments" if several else "frames"


def _sentences(line: dict[str, Any], what: str) -> str:
    if "error" in line:
        return str(line["error"])  # it names the file
    classes = ", ".join(f"{c['class']} {100 * c['probability']:.1f} %" for c in line["classes"])
    ratio = line["times_less"]
    compared = f"{ratio:.1f} times less" if ratio >= 1 else f"{1 / ratio:.1f} times more"
    glance = what == "cubes"  # their first prediction is that after the glance
    n_looks, fed = len(line["steps"]) - glance, line["fed"] - glance
    stopped = f"stopped after {fed}, " if fed < n_looks else ""
    looked = f"{line['attended']} of {n_looks} {what} looked at, {stopped}"
    if "focal_share" in line:
        looked = f"{100 * line['focal_share']:.0f} % of the focal branches run, "
    recognizing = f"{line['recognize_ms']:.1f} ms recognizing (mean of its batch)"
    lines = [
        f"{line['video']}: {classes}",
        f"  {looked}{format_gmacs(line['gmacs'])}, {compared} than full frames "
        f"({format_gmacs(line['full_frames_gmacs'])})",
        f"  {line['decode_ms']:.1f} ms decoding, {recognizing}",
    ]
    if "annotated" in line:
        lines.append(f"  annotated in {line['annotated']}")
    return "\n".join(lines)
