"""The folder of a cache's parts: only what a build has made is there, goes together, and goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from focusgym.feature_cache.reading.manifest import CacheError
from focusgym.runs.executors.parts import building_alone, parts_begun, parts_in, remove_parts


@pytest.fixture
def apart(tmp_path: Path) -> Path:
    """Parts as they are left: complete, begun twice, on its way, and a lock."""
    apart = tmp_path / "cache.shards"
    for file in (
        *("1-of-4/manifest.json", "2-of-4.partial/journal.jsonl", "3-of-4.partial/views.npy"),
        *("4-of-4.partial-0123abcd/classes", "4-of-4.lock"),
    ):
        (apart / file).parent.mkdir(parents=True, exist_ok=True)
        (apart / file).touch()
    return apart


def test_parts_are_gone_on_with(apart: Path) -> None:
    assert sorted(parts_in(apart).values()) == [(1, 4), (2, 4), (3, 4), (4, 4), (4, 4)]
    assert parts_begun(apart, 4) == parts_begun(apart, 99, 4) == 4
    assert parts_begun(apart.with_name("none"), 4, 2) is None


@pytest.mark.parametrize(
    "other", ["thesis.txt", "1-of-4.lock/", "02-of-4/", "2-of-4/video.mp4", "3-of-4.partial/a.txt"]
)
def test_what_no_build_has_made_is_refused_and_stays(apart: Path, other: str) -> None:
    """Files, and folders that are only called like parts, also where all is begun anew."""
    path = apart / other
    if other.endswith("/"):
        path.mkdir()
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious")
    before = sorted(apart.rglob("*"))
    for restart in (False, True):
        name = other.split("/")[0]
        with pytest.raises(CacheError, match=f"what no build has made: {name}; nothing was"):
            parts_begun(apart, 9, restart=restart)
    assert sorted(apart.rglob("*")) == before
    remove_parts(parts_in(apart))
    assert [each.name for each in apart.iterdir()] == [name]


@pytest.mark.parametrize("other", ["1-of-999999999999.partial", "5-of-4.partial", "1-of-3.partial"])
def test_parts_that_do_not_go_together(apart: Path, other: str) -> None:
    (apart / other).mkdir()
    with pytest.raises(CacheError, match=r"not of one cache of 9 rows: 1-of-.*--restart"):
        parts_begun(apart, 9)
    assert parts_begun(apart, 9, restart=True) is None
    assert not apart.exists()


def test_another_number_of_parts(apart: Path) -> None:
    with pytest.raises(CacheError, match="not of one cache of 3 rows"):
        parts_begun(apart, 3)
    with pytest.raises(CacheError, match="was begun in 4 parts, and --shards asks for 2: leave"):
        parts_begun(apart, 9, 2)
    assert len([*apart.iterdir()]) == 5
    assert parts_begun(apart, 9, 2, restart=True) is None
    assert not apart.exists()


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "cache.shards").touch()
    with pytest.raises(CacheError, match=r"cache\.shards is no folder"):
        parts_begun(tmp_path / "cache.shards", 9)


def test_one_build_at_a_time(tmp_path: Path) -> None:
    """The lock goes with the build."""
    root = tmp_path / "below" / "cache"
    with (
        building_alone(root),
        pytest.raises(CacheError, match="is being built by another process"),
        building_alone(root),
    ):
        pass
    assert not [*root.parent.iterdir()]
