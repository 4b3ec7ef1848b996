"""Write every kind of video that PyAV writes, read it, and print what read it as a table.

``python tests/read_kinds.py``: codecs × containers × structures, 1,772 files with PyAV 18, minutes.
Each is held to a plain decode; a difference ends the run.
"""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import av
from video_files import CODECS, CONTAINERS, STRUCTURES, NotWritable, compare, write_video

from focusgym.feature_cache.videos import index

LETTERS = {"pyav": "S", "pyav in order": "O", "refused": "–"}


def ways_of(codec: str) -> dict[str, Counter[str]]:
    """Return for each container how often each way was taken, over all structures."""
    av.logging.set_level(av.logging.PANIC)
    index.SHORT_FRAMES = 10  # as if the files were long: else all are read in order
    ways: dict[str, Counter[str]] = {container: Counter() for container in CONTAINERS}
    with TemporaryDirectory() as folder:
        for container in CONTAINERS:
            for structure in STRUCTURES:
                path = Path(folder) / f"{structure}.{CONTAINERS[container].suffix}"
                try:
                    write_video(path, codec, container, structure)
                except NotWritable:
                    continue
                ways[container][compare(path)] += 1
                path.unlink()
    return ways


def main() -> None:
    """Print the table as Markdown, and what all of it adds up to."""
    total: Counter[str] = Counter()
    print(f"| | {' | '.join(CONTAINERS)} |\n|{'---|' * (len(CONTAINERS) + 1)}")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for codec, ways in zip(CODECS, pool.map(ways_of, CODECS), strict=True):
            cells = [
                " ".join(letter for way, letter in LETTERS.items() if way in ways[container])
                for container in CONTAINERS
            ]
            print(f"| {codec} | {' | '.join(cells)} |", flush=True)
            total += sum(ways.values(), Counter())
    print(f"\n{sum(total.values())} files: {dict(total.most_common())}")


if __name__ == "__main__":
    main()
