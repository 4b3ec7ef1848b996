"""Stages that kill themselves at checkpoints; run by test_resume.py in a process of its own."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from kills import in_a_child, kill_at_checkpoint
from safetensors.torch import save_file
from stage_trainings import FEATURES, PIXELS, make_on_features, make_pixels, train

from focusgym.recognizer import read_checkpoint
from focusgym.recognizer.stages import progress

KINDS = {
    "pixels": (lambda: make_pixels(skip_rate=0.3), PIXELS),
    "features": (make_on_features, FEATURES),
}
# At which checkpoint, counted from where the run went on, and whether in the midst of its write.
KILLS = ((2, False), (3, True), (1, True), (2, False))


def main(root: Path) -> None:
    """Kill each training; print how far it had come, and whether a file was half-written."""
    report: dict[str, Any] = {}
    for kind in KINDS:
        uninterrupted, killed = root / f"{kind}.whole", root / f"{kind}.killed"
        assert in_a_child(partial(run, uninterrupted, kind)) == 0
        report[kind] = []
        for n, half_written in KILLS:
            ended = in_a_child(partial(run, killed, kind, n, half_written))
            assert ended == -signal.SIGKILL, f"{kind}: the training failed, or was not killed"
            partial_file = killed.with_name(f"{killed.name}.partial")
            assert partial_file.exists() == half_written
            reached = read_checkpoint(killed)[0]["progress"]
            report[kind].append([reached["epoch"], reached["step"]])
        assert in_a_child(partial(run, killed, kind)) == 0
        for suffix in ("", ".json", ".safetensors"):
            pair = [
                path.with_name(path.name + suffix).read_bytes() for path in (uninterrupted, killed)
            ]
            assert pair[0] == pair[1], f"{kind}: another {suffix or 'checkpoint'}"
    print(json.dumps(report))


def run(file: Path, kind: str, kill_at: int = 0, half_written: bool = False) -> None:
    """Train, from the checkpoint on if there is one, and leave what came of it."""
    if kill_at:
        kill_at_checkpoint(progress, kill_at, half_written=half_written)
    make, config = KINDS[kind]
    stage = make()
    kept = train(stage, config, checkpoint=file)
    weights = {name: value.contiguous() for name, value in stage.state_dict().items()}
    save_file(weights, f"{file}.safetensors")
    Path(f"{file}.json").write_text(json.dumps(asdict(kept)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
