"""Write every kind of video that PyAV writes, read it, and print what read it as a table.

``python tests/read_kinds.py``: codecs × containers × structures, 1,772 files with PyAV 18, minutes.
Each is held to a plain decode; a difference ends the run.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import av
from video_files import CODECS, CONTAINERS, STRUCTURES, NotWritable, compare, write_video

from focusgym.feature_cache.videos import index

LETTERS = {"pyav": "S", "pyav in order": "O", "refused": "–"}


def ways_of(folder: Path, codec: str, container: str) -> Counter[str]:
    """Return how often each way was taken, over all structures."""
    ways: Counter[str] = Counter()
    for structure in STRUCTURES:
        path = folder / f"{structure}.{CONTAINERS[container].suffix}"
        try:
            write_video(path, codec, container, structure)
            for longest in (1000, 10):  # as the short video that it is, and as if it were long
                index.SHORT_FRAMES = longest
                ways[compare(path)] += 1
        except NotWritable:
            continue
        finally:
            path.unlink(missing_ok=True)
    return ways


def main() -> None:
    """Print the table as Markdown, and what all of it adds up to."""
    av.logging.set_level(av.logging.PANIC)
    total: Counter[str] = Counter()
    print(f"| | {' | '.join(CONTAINERS)} |\n|{'---|' * (len(CONTAINERS) + 1)}")
    with TemporaryDirectory() as folder:
        for codec in CODECS:
            cells = []
            for container in CONTAINERS:
                ways = ways_of(Path(folder), codec, container)
                total += ways
                cells.append(" ".join(LETTERS[way] for way in LETTERS if way in ways))
            print(f"| {codec} | {' | '.join(cells)} |")
            sys.stdout.flush()
    print(f"\n{sum(total.values())} files: {dict(total.most_common())}")


if __name__ == "__main__":
    main()
