"""Sizes that files declare and do not have, files that are none, and names that are more."""

from __future__ import annotations

import json
import os
import socket
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import npy_of, npz_of, one_frame, tensors_of, wide_image
from support import write_cache

from focusgym.feature_cache import CacheError, Clip, FeatureCache, VideoError, read_frames
from focusgym.feature_cache.building.weights import WeightsError, read_state_dict
from focusgym.feature_cache.videos.clips import source_digest
from focusgym.feature_cache.videos.images import read_images
from focusgym.recognizer import (
    BundleError,
    ClassifierConfig,
    EncoderConfig,
    FocusgymError,
    FrameConfig,
    GruClassifier,
    PatchGrid,
    read_classifier,
    write_bundle,
)
from focusgym.recognizer.files.declared import map_array, read_npz, read_tensors
from focusgym.runs.cli import main
from focusgym.runs.evaluation.trace import PlayedError, read_played
from focusgym.runs.evaluation.trained import read_boxes

NAMES = ("names", "labels", "predictions", "correct", "confidences", "options", "attended", "gmacs")


def test_npy_headers_are_held_against_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    values = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    np.save(path, values)
    np.testing.assert_array_equal(map_array(path), values)
    for content, why in (
        (npy_of((2**44,)), "declares"),
        (npy_of((3,), b"x" * 8), "declares"),
        (npy_of((-1,)), "declares values"),
        (npy_of((1,), b"x" * 8, "|O"), "declares values of type object"),
        (npy_of((1,), b"x" * 4)[:40], "no readable header"),
        (b"", "no readable header"),
        (b"\x93NUMPY\x09\x00" + bytes(200), "no readable header"),
        (npy_of((1,), b"x" * 4).replace(b"}", b""), "no readable header"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=why):
            map_array(path)


def test_npz_members_are_held_against_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.eye(3), b=np.arange(4))
    members = read_npz(path, ("a", "b", "c"))
    np.testing.assert_array_equal(members["a"], np.eye(3))
    assert members["b"].tolist() == [0, 1, 2, 3]
    assert "c" not in members
    path.write_bytes(npz_of(npy_of((2**44,)), NAMES))
    with pytest.raises(PlayedError, match=r"a\.npz is not readable .*declares \(17592186044416,\)"):
        read_played(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("names.npy", bytes(2**20))
    content = bytearray(path.read_bytes())
    for at in (content.rindex(b"PK\x01\x02") + 24, content.index(b"PK\x03\x04") + 22):
        content[at : at + 4] = (2**31).to_bytes(4, "little")  # its size, in both places
    path.write_bytes(content)
    with pytest.raises(PlayedError, match="declares 2147483648 bytes, more than 1073741824"):
        read_played(path)


def test_safetensors_headers_are_held_against_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    huge = {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    for content in (tensors_of({}, length=2**60), tensors_of({})[:7], tensors_of({}, length=100)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="cut short, or no safetensors file"):
            read_tensors(path)
    path.write_bytes(tensors_of(huge))
    with pytest.raises(WeightsError, match="cannot be loaded safely|can be loaded safely"):
        read_state_dict(path)


def test_compressed_entries_of_torch_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2**20)}, tmp_path / "a.pth")
    assert read_state_dict(tmp_path / "a.pth")["a"].shape == (2**20,)
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as stored,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for each in stored.infolist():
            packed.writestr(each.filename, stored.read(each))
    with pytest.raises(WeightsError, match=r"its entries declare 419\d+ bytes"):
        read_state_dict(tmp_path / "b.pth")


def test_images_are_files_of_a_limited_size(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.png"))
        for path, why in (
            (tmp_path / "pipe.png", "a named pipe"),
            (tmp_path / "s.png", "a socket"),
            ("/dev/zero", "a device"),
        ):
            with pytest.raises(VideoError, match=f"it is {why}, not a file"):
                read_images(str(path), "", one_frame())
            with pytest.raises(OSError, match=f"it is {why}, not a file"):
                source_digest(Clip(str(path), images="", n_images=1), one_frame())
    wide_image(tmp_path / "wide.png", 8_200)
    with pytest.raises(VideoError, match=r"8200×8200 px, expected at most 67,108,864 pixels"):
        read_images(str(tmp_path / "wide.png"), "", one_frame())


def test_a_table_of_boxes_is_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "boxes.csv")
    with pytest.raises(FocusgymError, match="is no table of boxes .*named pipe"):
        read_boxes(tmp_path / "boxes.csv")


@pytest.mark.parametrize(
    "sizes", [(10**9, 224), (16, 60_000), (65_536, 8_192)], ids=["frames", "side", "both"]
)
def test_frames_that_fill_the_memory_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at most"):
        FrameConfig(*sizes)
    with pytest.raises(ValueError, match="at most 8192 px"):
        PatchGrid(60_000, 128)
    with pytest.raises(ValueError, match="at most 8192 px; got 16384"):
        EncoderConfig("small_glance", 16_384)


def test_a_bundle_of_many_heads_is_refused(tmp_path: Path) -> None:
    network = GruClassifier(ClassifierConfig(2, 2, 2, hidden=2))
    write_bundle(tmp_path / "b", "classifier", network.config, network)
    path = tmp_path / "b" / "bundle.json"
    content = json.loads(path.read_text())
    content["config"] |= {"aggregation": "max_pool", "steps": 10**9}
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match="steps must be at most 4096; got 1000000000"):
        read_classifier(tmp_path / "b")


def test_messages_are_fit_to_print() -> None:
    error = FocusgymError("a\x1b[2Jb\u202ec\n" + "x" * 1_000_000 + " do this")
    first, second = str(error).split("\n")
    assert first == r"a\x1b[2Jb\u202ec"
    assert len(second) < 2_100
    assert second.endswith(" do this")


def manifest_with(change: Any, root: Path) -> None:
    path = root / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda m: m.update(shard=[0, 2]), r"shard must be \[i, n\]"),
        (lambda m: m.update(glance_gmacs="1"), "glance_gmacs must be a finite number"),
        (lambda m: m.update(glance_map_range=[1, 0]), "must be ascending"),
        (lambda m: m.update(videos_root={"absolute": 1, "from_cache": None}), "absolute must be"),
        (lambda m: m["encoders"].update({"../x": m["encoders"]["local"]}), "is no name of an enc"),
        (lambda m: m["encoders"].pop("glance"), "the encoder 'glance' is missing"),
        (lambda m: m["depends_on"].update(classes=[1]), r"classes\[0\] must be a text"),
        (lambda m: m["depends_on"]["frames"].update(steps=10**9), "at most 65536 frames"),
        (lambda m: m["depends_on"].update(dtype="float64"), "must be one of float16, float32"),
        (lambda m: m.update(groups={}), "no option group"),
    ],
)
def test_a_manifest_is_checked_where_it_is_read(change: Any, why: str, tmp_path: Path) -> None:
    root = write_cache(tmp_path / "c").root
    manifest_with(change, root)
    with pytest.raises(CacheError, match=f"is not a complete feature cache .*{why}"):
        FeatureCache.open(root)


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("label", "9", "row 0 of videos.csv has no such labels"),
        ("label", "x", "must be of integers"),
        ("labels", "0;1;", "no such labels"),
        ("split", "dev", "no such split"),
        ("start_s", "inf", "no such segment"),
        ("images", "../%d.jpg", "no such images"),
        ("view", "-2", "no such view"),
        ("path", "", "no such name of a video"),
    ],
)
def test_a_table_is_checked_where_it_is_read(
    column: str, value: str, why: str, tmp_path: Path
) -> None:
    root = write_cache(tmp_path / "c").root
    lines = (root / "videos.csv").read_text().splitlines()
    cells = lines[1].split(",")
    cells[lines[0].split(",").index(column)] = value
    (root / "videos.csv").write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]))
    with pytest.raises(CacheError, match=f"is not a complete feature cache .*{why}"):
        FeatureCache.open(root)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("glance_maps", np.zeros((10, 4, 3, 3, 5), np.float32)),
        ("glance_maps", np.zeros((10, 5, 3, 3, 5), np.float16)),
        ("glance_vectors", np.zeros((10, 4, 4), np.float16)),
        ("frame_indices", np.zeros((10, 4), np.float64)),
        ("crops_px", np.zeros((10, 5), np.int32)),
        ("flipped", np.zeros(10, np.uint8)),
        ("local_vectors_p12_3x3", np.zeros((10, 4, 9, 7), np.float16)),
    ],
)
def test_arrays_are_checked_where_they_are_mapped(
    name: str, array: np.ndarray, tmp_path: Path
) -> None:
    root = write_cache(tmp_path / "c").root
    np.save(root / f"{name}.npy", array)
    with pytest.raises(CacheError, match="is not a complete feature cache .*(expected|do not fit)"):
        FeatureCache.open(root)


def test_a_stored_view_is_one(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "c")
    np.save(cache.root / "crops_px.npy", np.tile(np.int32([5, 0, 3, 9]), (10, 1)))
    with pytest.raises(CacheError, match=r"row 2 has the crop \[5, 0, 3, 9\]"):
        FeatureCache.open(cache.root).view(2)


def test_a_video_of_the_table_that_is_a_pipe_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "0.mp4")
    with pytest.raises(VideoError, match="is a named pipe, not a file"):
        read_frames(Clip(str(tmp_path / "0.mp4")), FrameConfig(2, 32, 32))


@pytest.mark.parametrize("kind", ["long", "dangling", "below", "circle"])
def test_outputs_that_cannot_be(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "deep")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    out = {"long": "x" * 300, "dangling": "link", "below": "link/x", "circle": "loop"}[kind]
    files = ["--cache", "c", "--classifier", "f"]
    for args in (
        ["data", "digits", out],
        ["cache", "build", out, "--videos", ".", "--glance", "small_glance"],
        ["cache", "merge", "a", "b", "--out", out],
        ["fit", "classifier", out, "--cache", "c"],
        ["fit", "end-to-end", out, "--videos", "."],
        ["fit", "cubes", out, "--videos", "."],
        ["train", out, *files],
        ["train", out, "--resume"],
        ["compare", out, "--cache", "c"],
        ["replay", out, "--policy", "p"],
        ["import-checkpoint", "f.pth", out],
        ["quickstart", "--out", out],
    ):
        with pytest.raises(SystemExit) as left:
            main(args)
        message = capsys.readouterr().err.strip()
        assert left.value.code == 2, args
        assert message.startswith("focusgym: "), (args, message)
        assert "\n" not in message, (args, message)
