from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusgym.envs.records.record import EpisodeRecord, RecordError, read_record
from focusgym.feature_cache import Clip, View
from focusgym.recognizer import FrameConfig

T, SIDE = 4, 32
ARRAYS = (
    *("segments", "options", "attended", "fed", "boxes_px"),
    *("confidences", "correct", "rewards", "gmacs"),
)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
SECONDS = st.none() | FINITE


def make_record(n: int = 3, **changes: Any) -> EpisodeRecord:
    """n decisions of four; the second looked at nothing."""
    record = EpisodeRecord(
        video_id=7,
        name="walk/a.mp4",
        label="to walk; to run",
        clip=Clip("/videos/walk/a.mp4", "a\t1.5\tnan", start_s=1.5),
        frames=FrameConfig(T, SIDE, resize_px=40),
        view=View(np.array([1, 4, 7, 10]), (0, 4, 32, 36), True),
        map_cells=(2, 3),
        cache_fingerprint="f" * 64,
        segments=np.array([2, 0, 3, 1])[:n],
        options=np.array([8, -1, 0, 2])[:n],
        attended=np.array([True, False, False, True])[:n],
        fed=np.array([True, False, True, True])[:n],
        boxes_px=np.array([[20, 20, 32, 32], [0, 0, 0, 0], [0, 0, 12, 12], [9, 0, 21, 12]])[:n],
        confidences=np.array([0.1, 1 / 3, 0.7, 1.0])[:n],
        correct=np.array([False, False, True, True])[:n],
        rewards=np.array([-0.25, 0.0, 1e-17, 0.1])[:n],
        gmacs=np.array([1.1, 1.4, 2.5, 3.6])[:n],
    )
    return replace(record, **changes)


def assert_same(a: EpisodeRecord, b: EpisodeRecord) -> None:
    """Equal to the bit, −0.0 included."""
    for name in (field.name for field in fields(EpisodeRecord)):
        if name in ARRAYS:
            left, right = getattr(a, name), getattr(b, name)
            assert (left.dtype, left.shape) == (right.dtype, right.shape), name
            assert left.tobytes() == right.tobytes(), name
        elif name != "view":
            assert getattr(a, name) == getattr(b, name), name
    assert a.view.frame_indices.dtype == b.view.frame_indices.dtype == np.int64
    assert a.view.frame_indices.tolist() == b.view.frame_indices.tolist()
    assert (a.view.crop_px, a.view.flipped) == (b.view.crop_px, b.view.flipped)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=st.integers(0, T), text=st.text(), start_s=SECONDS, end_s=SECONDS)
def test_a_record_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    n: int,
    text: str,
    start_s: float | None,
    end_s: float | None,
) -> None:
    def floats() -> np.ndarray:
        return np.array(data.draw(st.lists(FINITE, min_size=n, max_size=n)), dtype=np.float64)

    record = make_record(
        n,
        video_id=data.draw(st.integers(0, 2**40)),
        name=text,
        label=text,
        clip=Clip(text, text, start_s, end_s, "image_%05d.jpg", 12),
        frames=FrameConfig(T, SIDE, data.draw(st.sampled_from([None, 40])), "repeat_first"),
        confidences=floats(),
        rewards=floats(),
        gmacs=floats(),
    )
    path = tmp_path_factory.mktemp("record") / "a.json"
    record.write(path)
    assert_same(read_record(path), record)


def test_frames_of_segments_are_read_as_they_were_written(tmp_path: Path) -> None:
    frames = FrameConfig(T, SIDE, resize_px=40, segment_frames=3, glance_frames=1)
    view = View(np.arange(12).reshape(T, 3), (0, 4, 32, 36), False)
    record = make_record(frames=frames, view=view)
    record.write(tmp_path / "a.json")
    assert_same(read_record(tmp_path / "a.json"), record)
    with pytest.raises(ValueError, match=r"frame_indices must have shape \(4, 3\), .*got \(4,\)"):
        make_record(frames=frames)


def test_the_file_has_a_line_per_decision(tmp_path: Path) -> None:
    make_record(label="ходьба").write(tmp_path / "a.json")
    lines = (tmp_path / "a.json").read_text(encoding="utf-8").splitlines()
    assert '  "label": "ходьба",' in lines
    assert '  "map_cells": [2, 3],' in lines
    assert lines[-6:] == [
        '  "decisions": [',
        '    {"segment": 2, "option": 8, "attended": true, "fed": true, '
        '"box_px": [20, 20, 32, 32], "confidence": 0.1, "correct": false, "reward": -0.25, '
        '"gmacs": 1.1},',
        '    {"segment": 0, "option": -1, "attended": false, "fed": false, "box_px": [0, 0, 0, 0], '
        '"confidence": 0.3333333333333333, "correct": false, "reward": 0.0, "gmacs": 1.4},',
        '    {"segment": 3, "option": 0, "attended": false, "fed": true, '
        '"box_px": [0, 0, 12, 12], "confidence": 0.7, "correct": true, "reward": 1e-17, '
        '"gmacs": 2.5}',
        "  ]",
        "}",
    ]


def test_numpy_scalars_and_odd_file_names_are_written(tmp_path: Path) -> None:
    odd = os.fsdecode(b"/videos/\xff.mp4")
    numpy_s: Any = np.float64(0.1)
    record = make_record(video_id=np.int64(7), clip=Clip(odd, "", numpy_s, n_images=0))
    record.write(tmp_path / "a.json")
    assert read_record(tmp_path / "a.json").clip == Clip(odd, "", 0.1)
    assert_same(read_record(tmp_path / "a.json"), record)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 3, "attended": np.ones(2, bool)}, r"attended must be bool of shape \(3,\); got"),
        ({"n": 3, "boxes_px": np.zeros((3, 2), np.int64)}, r"boxes_px must be int64 .*\(3, 4\)"),
        ({"n": 3, "options": np.zeros((3, 1), np.int64)}, r"options must be .* one value per dec"),
        ({"n": 2, "rewards": np.zeros(2, np.float32)}, r"rewards must be float64 .*; got float32"),
        ({"n": 3, "gmacs": np.zeros(4)}, r"gmacs must be float64 of shape \(3,\).*shape \(4,\)"),
        ({"n": 4, "frames": FrameConfig(3, SIDE)}, r"frame_indices must have shape \(3,\).*\(4,\)"),
        ({"n": 1, "boxes_px": np.array([[0, 0, 33, 9]])}, r"within 0 and 32; got \[\[0, 0, 33, 9"),
        ({"n": 1, "boxes_px": np.array([[-1, 0, 3, 9]])}, r"boxes_px must be \(left, top, right,"),
        ({"n": 1, "boxes_px": np.array([[9, 0, 3, 9]])}, r"boxes_px must be \(left, top, right, b"),
        ({"n": 1, "view": View(np.arange(4), (5, 0, 5, 9), False)}, r"crop_px must be a box"),
        ({"n": 1, "map_cells": (0, 3)}, r"map_cells positive; got .* and \(0, 3\)"),
    ],
)
def test_parts_that_do_not_agree_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_record(**changes)


def test_more_decisions_than_frames_are_refused() -> None:
    view = View(np.arange(3), (0, 0, 32, 32), False)
    with pytest.raises(ValueError, match="an episode of 3 frames has at most 3 decisions; got 4"):
        make_record(4, frames=FrameConfig(3, SIDE), view=view)


Edit = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(format=1), "expected format 5, got 1: another version wrote it"),
        (lambda c: c.pop("format"), r"the record lacks the keys \['format'\]"),
        (lambda c: c.update(format=5.0), "the record: format must be int; got 5.0"),
        (lambda c: c.pop("label"), r"lacks the keys \['label'\] and has unknown keys \[\]"),
        (lambda c: c.update(extra=1), r"lacks the keys \[\] and has unknown keys \['extra'\]"),
        (lambda c: c["clip"].update(fps=8), r"the record: clip lacks .* unknown keys \['fps'\]"),
        (lambda c: c["decisions"][1].pop("reward"), r"decisions 1 lacks the keys \['reward'\]"),
        (lambda c: c.update(decisions={}), r"the record: decisions must be a list; got \{\}"),
        (lambda c: c.update(view=None), r"the record: view lacks the keys \['crop_px', 'flipped"),
        (lambda c: c.update(map_cells=[2]), r"the record: map_cells must be a list of 2; got \[2"),
        (lambda c: c.update(map_cells=[0, 1]), r"map_cells positive; got .* and \(0, 1\)"),
        (lambda c: c.update(video_id=1.5), "the record: video_id must be int; got 1.5"),
        (lambda c: c["clip"].update(start_s="1"), "clip: start_s must be float or NoneType; got"),
        (lambda c: c["clip"].update(images="%d/../%d"), "must be a file name with one %d; got"),
        (lambda c: c["clip"].update(images="%99999999d"), "must be a file name with one %d; got"),
        (lambda c: c["frames"].update(steps=0), "steps and frame_px must be positive; got 0, 32"),
        (lambda c: c["view"]["frame_indices"].pop(), r"must have shape \(4,\).* got \(3,\)"),
        (lambda c: c["view"]["crop_px"].pop(), "view: crop_px must be a list of 4; got"),
        (lambda c: c["decisions"][0]["box_px"].append(1), "0: box_px must be a list of 4; got"),
        (lambda c: c["decisions"][0].update(option=1.0), "decisions 0: option must be int; got 1"),
        (lambda c: c["decisions"][0].update(attended=1), "0: attended must be bool; got 1"),
        (lambda c: c["decisions"][0].update(reward="0"), "reward must be float; got '0'"),
        (lambda c: c["decisions"][0].update(reward=True), "reward must be float; got True"),
        (lambda c: c["decisions"][2].update(gmacs=np.nan), "2: gmacs must be finite; got nan"),
        (lambda c: c["clip"].update(end_s=np.inf), "clip: end_s must be finite; got inf"),
        (lambda c: c["clip"].update(end_s=10**400), "an integer of more than 308 digits"),
        (lambda c: c["decisions"][0].update(option=2**64), "too (large|big)"),
        (lambda c: c["decisions"].extend(c["decisions"]), "at most 4 decisions; got 6"),
    ],
)
def test_a_file_that_was_changed_is_refused(tmp_path: Path, edit: Edit, message: str) -> None:
    path = tmp_path / "a.json"
    make_record().write(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match=r"a\.json is not a readable episode record") as caught:
        read_record(path)
    assert caught.match(message)
    assert caught.match("record the episode again, or give another path")


def test_whole_numbers_serve_as_floats(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    make_record().write(path)
    path.write_text(path.read_text().replace('"gmacs": 1.1', '"gmacs": 1'))
    assert read_record(path).gmacs.tolist() == [1.0, 1.4, 2.5]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1, 2]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": 1e999}', b"\x80PK"],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"a\.json is not a readable episode record \(.+\): rec"):
        read_record(path)
    with pytest.raises(
        RecordError, match=r"a\.json is there and is no episode record: nothing was"
    ):
        make_record().write(path)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "a.json", tmp_path):
        with pytest.raises(RecordError, match=f"{path}: no such file: expected an episode record"):
            read_record(path)


def test_a_folder_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(
        RecordError, match=r"a\.json is there and is no episode record: nothing was"
    ):
        make_record().write(tmp_path / "a.json")
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_record_replaces_another_one(tmp_path: Path) -> None:
    make_record(1).write(tmp_path / "a.json")
    (tmp_path / "link.json").symlink_to("a.json")
    make_record(3).write(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert_same(read_record(tmp_path / "a.json"), make_record(3))
    assert sorted(os.listdir(tmp_path)) == ["a.json", "link.json"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confidences": np.array([0.1, np.nan, 0.2])}, "1: confidence must be finite; got nan"),
        ({"rewards": np.array([0.1, 0.2, -np.inf])}, "2: reward must be finite; got -inf"),
        ({"clip": Clip("a.mp4", end_s=np.nan)}, "clip: end_s must be finite; got nan"),
        ({"label": 3}, "the record: label must be str; got 3"),
        ({"clip": Clip("a", images="%s")}, "clip.images must be a file name with one %d"),
    ],
)
def test_what_could_not_be_read_is_not_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(RecordError, match=message):
        make_record(**changes).write(path)
    assert not path.exists()
    make_record(2).write(path)
    with pytest.raises(RecordError, match=r"a\.json is not written: .*: correct the record"):
        make_record(**changes).write(path)
    assert_same(read_record(path), make_record(2))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    path = tmp_path / "a.json"
    make_record(1).write(path)
    before = path.read_bytes()

    def fail(*args: object) -> None:
        assert path.read_bytes() == before
        raise error

    monkeypatch.setattr(call, fail)
    expected = RecordError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        make_record(3).write(path)
    if expected is RecordError:
        assert caught.match(r"a\.json cannot be written \(.*No space left on device\): make its f")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("name", ["missing/a.json", "file/a.json", "a" * 300])
def test_a_place_where_nothing_can_be_written_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"cannot be written \(.+\): make its folder, or give"):
        make_record().write(tmp_path / name)
    assert os.listdir(tmp_path) == ["file"]
