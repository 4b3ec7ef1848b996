"""The verb ``recognize``: what is in these videos, where was looked, and what did it cost."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ...agents import SystemRecognizer, is_system_folder, read_system_recognizer
from ...feature_cache import RecognizedVideo, VideoError, recognize_videos
from ...recognizer import FocusgymError, VideoRecognizer, format_gmacs, read_recognizer
from ..configs.recognize import RecognizeConfig
from ..evaluation.budgets import exits_within
from ..evaluation.system_runs import find_system_run, is_system_run
from ..folders.atomic import check_free, output_folder
from ..options.devices import device_of
from ..options.parse import UsageError, print_line
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
    if config.save is not None:
        check_free(config.save, "give another --save")
    recognizer = _read(config.bundle, device, config.precision)
    if recognizer.obstacle is not None:
        raise UsageError(f"{config.bundle} {recognizer.obstacle}")
    if config.gmacs is not None and isinstance(recognizer, SystemRecognizer):
        raise UsageError(
            f"--gmacs: {config.bundle} is a system, of which no predictions of validation videos "
            "are kept, to solve exits on; runs of 'focusgym fit cubes' and 'focusgym fit "
            "end-to-end' keep them. Leave --gmacs out: 'focusgym evaluate RUN --exit-at 0.6' "
            "solves exits of a system's run, and measures them"
        )
    for option, able in (("gmacs", recognizer.can_stop), ("annotate", recognizer.has_boxes)):
        if getattr(config, option) is not None and not able:
            raise UsageError(
                f"--{option}: {config.bundle} {_lacking(recognizer)}: leave --{option} out, or "
                "give a recognizer of boxes or cubes"
            )
    if config.gmacs is not None:
        recognizer.exits = exits_within(config.bundle, recognizer, config.gmacs)
    if config.save is not None:
        _save(recognizer, config.bundle, config.save)
    folder = nullcontext() if config.annotate is None else annotation_folder(config.annotate)
    full_gmacs = recognizer.full_frames_gmacs()
    unreadable = 0
    recognized = recognize_videos(recognizer, config.videos)
    with folder:
        for path, out, video in zip(config.videos, outputs, recognized, strict=True):
            line: dict[str, Any] = {"video": str(path)}
            try:
                if isinstance(video, VideoError):
                    raise video
                line |= facts(recognizer, video, full_gmacs, config.top)
                if out is not None and recognizer.frames is not None:
                    annotate(path, out, _shown(recognizer, line["steps"]), recognizer.frames)
                    line["annotated"] = str(out)
            except VideoError as error:
                unreadable += 1
                line = {"video": str(path), "error": str(error)}
            print_line(json.dumps(line) if config.json else _sentences(line, recognizer))
    if unreadable:
        raise SystemExit(1)


def _read(bundle: Path, device: str, precision: str) -> VideoRecognizer:
    """Read a recognizer of any kind: a bundle, a system's folder, or a run of a system."""
    if is_system_folder(bundle):
        return read_system_recognizer(bundle, device, precision)
    if is_system_run(bundle):
        return find_system_run(bundle, device=device).recognizer(precision)
    return read_recognizer(bundle, device, precision)


def _save(recognizer: VideoRecognizer, bundle: Path, out: Path) -> None:
    """Write the recognizer of a run of a system into a new folder."""
    if not is_system_run(bundle):
        raise UsageError(
            f"--save: {bundle} is no run of a system, and can be copied as it is: leave --save out"
        )
    try:
        with output_folder(out) as beside:
            recognizer.save(beside)
    except FocusgymError:
        raise
    except ValueError as error:
        raise UsageError(f"--save: {error}") from error


def facts(
    recognizer: VideoRecognizer, video: RecognizedVideo, full_gmacs: float, top: int
) -> dict[str, Any]:
    """Return what was recognized in one video, as plain values.

    It has the ``top`` classes after the last frame; how many frames were taken, which are not all
    where the recognizer has exits, and how many f_L looked at; the GMACs spent, those of full
    frames, and how many times less that is; the milliseconds, of the networks as the mean over the
    videos of its batch, which are recognized at once; and for every frame, or the middle one of a
    segment of several, its index in the file, the box (pixels of the prepared frame; null where it
    was skipped or not taken), the class so far with its probability (null before f_C was first
    fed), and the GMACs spent so far. A recognizer with cubes has that for the glance, without a
    frame and a box, and for every cube; one that predicts once, for the whole video; a system also
    the segment, whether f_C was fed, and the option that f_L read. Beside it stands the share that
    was run of branches that may be left out.

    Args:
        recognizer: The recognizer that recognized it.
        video: The video, with its recognition.
        full_gmacs: Of full frames; see `VideoRecognizer.full_frames_gmacs`.
        top: How many of the most probable classes are told.
    """
    recognition, indices = video.recognition, video.frame_indices
    if recognizer.frames is not None:
        indices = recognizer.frames.middle(indices)
    names = recognizer.classes or [str(c) for c in range(recognition.logits.shape[-1])]
    probabilities = recognition.logits[0].softmax(dim=-1)
    predicted = recognition.fed[0].cumsum(dim=0) > 0  # (T,)
    best = probabilities[-1].topk(min(top, len(names)))
    steps = [
        {
            "frame": int(indices[segment]) if segment >= 0 else None,
            "box_px": recognition.boxes_px[0, t].tolist() if recognition.attended[0, t] else None,
            "class": names[int(probabilities[t].argmax())] if predicted[t] else None,
            "probability": float(probabilities[t].max()) if predicted[t] else None,
            "gmacs": float(recognition.gmacs[0, t]),
            **recognizer.step_facts(recognition, t),
        }
        for t, segment in enumerate(recognition.segments[0].tolist())
    ]
    gmacs = float(recognition.gmacs[0, -1])
    shares = recognizer.branch_shares(gmacs)
    return {
        "classes": [
            {"class": names[index], "probability": value}
            for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ],
        "fed": int(recognition.fed.sum()),
        "attended": int(recognition.attended.sum()),
        **{f"{name}_share": share for name, share in shares.items()},
        "gmacs": gmacs,
        "full_frames_gmacs": full_gmacs,
        "times_less": full_gmacs / gmacs,
        "decode_ms": 1e3 * video.decode_s,
        "recognize_ms": 1e3 * video.recognize_s,
        "steps": steps,
    }


def _shown(recognizer: VideoRecognizer, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps that were taken, of cubes with the number of each; see `annotate`."""
    if n := recognizer.glances:
        cubes = enumerate(steps[n:], 1)
        return [*steps[:n], *({**step, "cube": d} for d, step in cubes if step["box_px"])]
    return [step for step in steps if step["frame"] is not None]


def _lacking(recognizer: VideoRecognizer) -> str:
    """Return how often it predicts, and what it lacks, in words that follow its name."""
    n = recognizer.predictions
    able = {"exits": recognizer.can_stop, "boxes": recognizer.has_boxes}
    without = " and ".join(f"without {what}" for what, has in able.items() if not has)
    if n == 0:  # that is not known
        return f"is {without}"
    return f"predicts {'once' if n == 1 else f'{n} times'} for a video, {without}"


def _sentences(line: dict[str, Any], recognizer: VideoRecognizer) -> str:
    if "error" in line:
        return str(line["error"])  # it names the file
    classes = ", ".join(f"{c['class']} {100 * c['probability']:.1f} %" for c in line["classes"])
    ratio = line["times_less"]
    compared = f"{ratio:.1f} times less" if ratio >= 1 else f"{1 / ratio:.1f} times more"
    n_looks, fed = (n - recognizer.glances for n in (len(line["steps"]), line["fed"]))
    stopped = f"stopped after {fed}, " if fed < n_looks and recognizer.in_turn else ""
    looked = stopped
    if recognizer.has_boxes:
        looked = f"{line['attended']} of {n_looks} {recognizer.units} looked at, {stopped}"
    if shares := recognizer.branch_shares(line["gmacs"]):
        run = (f"{100 * share:.0f} % of the {name} branches" for name, share in shares.items())
        looked = f"{', '.join(run)} run, "
    recognizing = f"{line['recognize_ms']:.1f} ms recognizing (mean of its batch)"
    lines = [
        f"{line['video']}: {classes}",
        f"  {looked}{format_gmacs(line['gmacs'])}, {compared} than full frames "
        f"({format_gmacs(line['full_frames_gmacs'])})",
        f"  {line['decode_ms']:.1f} ms decoding, {recognizing}",
    ]
    read = [step for step in line["steps"] if step.get("option")]
    if read:
        looks = ", ".join(f"frame {step['frame']} ({step['option']})" for step in read)
        lines.insert(2, f"  read in this order: {looks}")
    if "annotated" in line:
        lines.append(f"  annotated in {line['annotated']}")
    return "\n".join(lines)
