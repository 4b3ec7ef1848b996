"""Builds that are killed at random moments; run by test_resume.py in a process of its own.

Forked children build; the parent imports torch but never computes, so forking is safe.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pandas as pd
import torch

from focusgym.feature_cache import CacheConfig, build_cache, video_table, writer
from focusgym.recognizer import Encoder, EncoderConfig, FrameConfig, PatchGrid


def main(root: Path, kills: int) -> None:
    """Kill ``kills`` builds; print how far each had come, and compare every finished one."""
    torch.set_num_threads(1)  # no pool of threads may exist when a child is forked
    writer.SYNC_S = 0.0  # the builds are short: note every row
    table = pd.read_csv(root / "data" / "videos.csv")
    paths = [str(root / "data" / path) for path in table["path"]]
    videos = video_table(paths, table["label"].tolist(), table["split"].tolist())
    encoders = (Encoder(EncoderConfig("small_glance", 12)), Encoder(EncoderConfig("small_local")))
    config = CacheConfig(FrameConfig(3, 64), (PatchGrid(64, 28), PatchGrid(64, 40, 3)))

    def build(cache: Path) -> int:
        child = os.fork()
        if child == 0:
            torch.set_num_threads(2)
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - the child ends with it
            build_cache(videos, [str(i) for i in range(10)], cache, *encoders, config)
            os._exit(0)
        return child

    os.waitpid(build(root / "whole"), 0)
    whole = contents(root / "whole")
    rng = random.Random(0)
    progress: list[int] = []
    compared = 0
    while len(progress) < kills or not (root / "killed").exists():
        before = journalled(root / "killed.partial")
        child = build(root / "killed")
        if len(progress) < kills and before < len(videos):
            # By rows and not by time: a busy machine is not to choose the moments.
            wanted = min(len(videos), before + rng.randint(0, 12))
            while journalled(root / "killed.partial") < wanted and not _is_over(child):
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.02))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if status:
            progress.append(journalled(root / "killed.partial"))
            continue
        assert contents(root / "killed") == whole, "another content"
        compared += 1
        if len(progress) < kills:
            shutil.rmtree(root / "killed")
    print(json.dumps({"progress": progress, "compared": compared, "rows": len(videos)}))


def _is_over(child: int) -> bool:
    """Return whether a child has ended; it can still be waited for."""
    ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return ended is not None


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def journalled(partial: Path) -> int:
    """Return how many rows a build had noted."""
    path = partial / "journal.jsonl"
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
