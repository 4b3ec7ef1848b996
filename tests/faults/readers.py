"""Small real files of every kind that is read, and what reads them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from digit_caches import digit_cache
from PIL import Image
from recognizers import make_recognizer
from support import small_group, write_classifier

from focusgym.envs import EpisodeRecord, read_record, render_record
from focusgym.feature_cache import (
    CacheConfig,
    CacheError,
    Clip,
    DigitsConfig,
    FeatureCache,
    View,
    build_cache,
    cache_info,
    merge_shards,
    read_frames,
    read_lists,
    read_manifest,
    read_videos,
    verify_cache,
    video_table,
)
from focusgym.feature_cache.reading.arrays import read_encoders
from focusgym.feature_cache.reading.journal import Journal, RowFacts
from focusgym.feature_cache.videos.clips import read_plainly
from focusgym.feature_cache.videos.images import read_images
from focusgym.recognizer import Encoder, EncoderConfig, FrameConfig, PatchGrid, read_classifier
from focusgym.recognizer.files.checkpoint_file import read_checkpoint, write_checkpoint
from focusgym.recognizer.pipeline.reading import read_recognizer
from focusgym.runs.configs.train import TrainConfig
from focusgym.runs.evaluation.trace import Played, read_played
from focusgym.runs.evaluation.trained import read_boxes
from focusgym.runs.executors.parts import parts_in
from focusgym.runs.executors.transfer import OBJECT_STORE, Carrier
from focusgym.runs.folders.run_folder import run_folder, stored_settings, verb_of
from focusgym.runs.folders.steps import Steps
from focusgym.runs.options.console import PlainConsole
from focusgym.runs.options.presets import resolved, with_preset
from focusgym.runs.options.space import read_space
from focusgym.runs.replays.truth import boxes_of
from focusgym.runs.training.policy_run import learning_curve, read_results
from focusgym.runs.training.recipes import parsed
from focusgym.runs.training.tuning import Trial, best_of, folder_of, read_trials


@dataclass(frozen=True)
class Kind:
    """Files of one kind, all in the folder of the kind's name.

    Attributes:
        targets: Patterns of the files that are mutated.
        make: Writes them into a folder.
        read: Reads them as the package does; returns what they mean, for comparison.
    """

    targets: tuple[str, ...]
    make: Callable[[Path], object]
    read: Callable[[Path], Any]


def digest(*values: Any) -> str:
    """Return a digest of arrays, tensors and plain values."""
    hashed = hashlib.sha256()
    for value in values:
        if isinstance(value, torch.Tensor):
            value = value.numpy()
        if isinstance(value, np.ndarray):
            hashed.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
        else:
            hashed.update(repr(value).encode("utf-8", "backslashreplace"))
    return hashed.hexdigest()


FRAMES = FrameConfig(2, 64)
CONFIG = CacheConfig(FRAMES, (small_group(PatchGrid(64, 28, 2)),))


def make_cache(root: Path) -> None:
    torch.manual_seed(0)
    glance = Encoder(EncoderConfig("small_glance", input_px=12)).eval()
    encoders = {"glance": glance, "local": Encoder(EncoderConfig("small_local")).eval()}
    digits = DigitsConfig(n_train=2, n_val=1, n_test=1, n_frames=3)
    digit_cache(root, digits, encoders, CONFIG)


def read_cache(root: Path) -> Any:
    cache = FeatureCache.open(root / "cache")
    every = np.arange(cache.n_videos)
    cache_info(cache.root)
    if wrong := verify_cache(cache.root, sample=0):
        raise CacheError(wrong[0])
    local = cache.local_vectors(every[:, None], np.arange(cache.steps), slice(0, 1))
    views = [cache.view(row) for row in every.tolist()]
    seen = (cache.label_matrix, cache.glance_maps(every), cache.glance_vectors(every), local)
    return digest(*seen, cache.classes, cache.fingerprint, views, cache.videos.to_csv())


def make_parts(root: Path) -> None:
    make_cache(root)
    cache = FeatureCache.open(root / "cache")
    encoders = read_encoders(cache.root, read_manifest(cache.root))
    paths = [str(root / "videos" / path) for path in cache.videos["path"]]
    videos = video_table(paths, cache.labels.tolist(), cache.videos["split"].tolist())
    for i in (1, 2):
        place = root / "cache.shards" / f"{i}-of-2"
        build_cache(videos, [*cache.classes], place, encoders, CONFIG, shard=(i, 2))
    shutil.rmtree(root / "cache")


def merge_parts(root: Path) -> Any:
    shutil.rmtree(root / "cache", ignore_errors=True)
    parts = parts_in(root / "cache.shards")
    cache = FeatureCache.open(merge_shards([*parts], root / "cache"))
    every = np.arange(cache.n_videos)
    local = cache.local_vectors(every[:, None], np.arange(cache.steps), slice(0, 1))
    seen = (cache.label_matrix, cache.glance_maps(every), cache.glance_vectors(every), local)
    return digest(*seen, cache.classes, cache.fingerprint, cache.videos.to_csv())


def make_journal(root: Path) -> None:
    journal = Journal.begin(root, {"classes": ["a", "b"], "frames": {"steps": 2}})
    facts = {row: RowFacts("c" * 32, "d" * 32, 100 + row, "pyav", -1.0, 1.5) for row in range(6)}
    journal.add(facts)
    journal.close()


def read_journal(root: Path) -> Any:
    journal = Journal.read(root)
    if journal is None:
        return None
    journal.close()
    return digest(journal.identity, journal.rows)


def make_recognizer_bundle(root: Path) -> None:
    make_recognizer().save(root / "bundle")


def read_recognizer_bundle(root: Path) -> Any:
    recognizer = read_recognizer(root / "bundle", fuse=False)
    return digest(recognizer.describe(), *recognizer.state_dict().values())


def make_classifier(root: Path) -> None:
    from support import write_cache

    write_classifier(write_cache(root / "cache"), root / "classifier")


def read_classifier_bundle(root: Path) -> Any:
    network = read_classifier(root / "classifier")
    return digest(network.config, *network.state_dict().values())


def make_checkpoint(root: Path) -> None:
    content = {"epoch": 3, "rates": [0.1, 0.2], "names": {"a": 1}}
    write_checkpoint(root / "c.safetensors", content, {"w": torch.arange(6.0), "n": torch.ones(2)})


def read_checkpoint_file(root: Path) -> Any:
    content, tensors = read_checkpoint(root / "c.safetensors")
    return digest(content, *(part for pair in sorted(tensors.items()) for part in pair))


def options_of_a_run(out: Path) -> TrainConfig:
    """Return the options of a run of ``focusgym train``."""
    return parsed(TrainConfig, "digits", str(out), "--cache", "cache", "--classifier", "f_c")


def make_run(root: Path) -> None:
    out = root / "run"
    with run_folder(out, "train", options_of_a_run(out), {"cache": "f" * 64}, resume=None):
        pass
    (out / "logs" / "1").mkdir(parents=True)
    (out / "logs" / "1" / "progress.csv").write_text(
        "time/total_timesteps,rollout/ep_rew_mean,rollout/correct,rollout/gmacs,train/loss\n"
        "60,0.5,0.25,1.5,3\n120,0.75,0.5,1.25,2\n180,,,,1\n"
    )
    (out / "results.json").write_text(json.dumps({"test": {"accuracy": 0.5}, "threshold": None}))


def read_run(root: Path) -> Any:
    run = root / "run"
    curve = learning_curve(run).to_csv()
    return digest(stored_settings(run, "train"), verb_of(run), read_results(run), curve)


def make_played(root: Path) -> None:
    n, steps = 3, 2
    zeros = np.zeros((n, steps))
    Played(
        names=np.array(["a", "b", "c"]),
        labels=np.arange(n),
        predictions=zeros.astype(np.int64),
        correct=zeros.astype(bool),
        confidences=zeros.astype(np.float32),
        options=zeros.astype(np.int64),
        attended=zeros.astype(bool),
        gmacs=zeros,
    ).write(root / "played.npz")


def read_what_was_played(root: Path) -> Any:
    return digest(*asdict(read_played(root / "played.npz")).values())


def make_search(root: Path) -> None:
    (root / "space.yaml").write_text(
        "fit classifier:\n  epochs: 2\n  lr-classifier: {low: 1.0e-4, high: 0.1, log: true}\n"
        "  hidden: {low: 4, high: 64, step: 4}\n  optimizer: {choose: [sgd, adamw]}\n"
    )
    for number, (accuracy, failed) in enumerate([(0.5, ""), (None, "no memory"), (None, "")]):
        chosen = {"lr-classifier": 0.01, "hidden": 8 * (number + 1), "optimizer": "sgd"}
        place = folder_of(root, number)
        place.mkdir(parents=True)
        tried = asdict(Trial(number, chosen, accuracy, failed))
        (place / "trial.json").write_text(json.dumps(tried))


def read_search(root: Path) -> Any:
    space = read_space(root / "space.yaml")
    trials = read_trials(root, space)
    return digest(space.fingerprint, trials, space.command(Path("run"), best_of(trials).chosen))


def make_archive(root: Path) -> None:
    folder = root / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.npy").write_bytes(bytes(range(256)) * 9)
    (folder / "inner" / "b.json").write_text("{}")
    (folder / "inner" / "link").symlink_to("b.json")
    packed = Carrier(OBJECT_STORE).pack(folder)
    assert isinstance(packed, bytes)
    (root / "folder.tar").write_bytes(packed)


def unpack_archive(root: Path) -> Any:
    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    before = {*root.iterdir(), *root.parent.iterdir(), out}
    Carrier(OBJECT_STORE).place((root / "folder.tar").read_bytes(), out)
    assert {*root.iterdir(), *root.parent.iterdir()} == before, "it has left its folder"
    files = [path for path in sorted(out.rglob("*")) if not path.is_symlink()]
    return digest({str(each): each.is_file() and each.read_bytes() for each in files})


def make_boxes(root: Path) -> None:
    header = "path,frame,left,top,right,bottom,visible"
    rows = [f"{name}.mp4,{t},{t},2,{t + 12},14,{t < 2}" for name in "ab" for t in range(3)]
    (root / "boxes.csv").write_text("\n".join([header, *rows, ""]))


def read_box_table(root: Path) -> Any:
    """Read it as `replay` and `evaluate` do, and look for the boxes of frames."""
    boxes = read_boxes(root / "boxes.csv")
    paths = [f"{root}/{name}.mp4" for name in "ab"]
    videos = pd.DataFrame({"path": paths, "view": -1})
    truth = boxes_of(videos, np.tile(np.arange(3), (2, 1)), boxes)
    return digest(truth)


def make_record(root: Path) -> None:
    n = 3
    EpisodeRecord(
        video_id=0,
        name="v.mp4",
        label="b",
        clip=Clip("v.mp4"),
        frames=FrameConfig(n, 64),
        view=View(np.array([2, 6, 10]), (0, 0, 64, 64), False),
        map_cells=(2, 3),
        cache_fingerprint="f" * 64,
        segments=np.arange(n),
        options=np.array([8, -1, 0]),
        attended=np.array([True, False, True]),
        fed=np.ones(n, bool),
        boxes_px=np.array([[36, 36, 64, 64], [0, 0, 0, 0], [0, 0, 28, 28]]),
        confidences=np.array([0.1, 1 / 3, 0.7]),
        correct=np.array([False, False, True]),
        rewards=np.array([-0.25, 0.0, 0.1]),
        gmacs=np.array([1.1, 1.4, 2.5]),
    ).write(root / "r.json")
    make_video(root)


def read_and_render(root: Path) -> Any:
    record = read_record(root / "r.json")
    shown = replace(record, clip=replace(record.clip, path=str(root / "v.mp4")))
    # Frames of another size take the memory that they say.
    pictures = render_record(shown) if record.frames == FrameConfig(3, 64) else None
    return digest(*asdict(record).values(), pictures)


def make_step(root: Path) -> None:
    Steps(root, PlainConsole(file=StringIO())).run("data", {"a": 1}, lambda folder: folder.mkdir())


def read_step(root: Path) -> Any:
    steps = Steps(root, PlainConsole(file=StringIO()))
    made: list[Path] = []
    steps.run("data", {"a": 1}, lambda folder: made.append(folder) or folder.mkdir())
    return digest(steps.seconds if not made else "made again")


def make_preset(root: Path) -> None:
    options = {k: v for k, v in resolved(options_of_a_run(root)).items() if v is not None}
    text = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in options.items())
    (root / "p.yaml").write_text(f"train: &a\n{text}train --plus:\n  <<: *a\n  epochs: 3\n")


def read_preset_file(root: Path) -> Any:
    words = with_preset(["train", "out", "--preset", str(root / "p.yaml")])
    return [part for part in words if not part.endswith("p.yaml")]


def make_list(root: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (root / f"{name}.mp4").write_bytes(b"x")
    rows = ["path,label,split,start_s,end_s", "a.mp4,run,train,0,1.5", "b.mp4,sit;run,train,,"]
    (root / "videos.csv").write_text("\n".join([*rows, "c.mp4,sit,val,,", "d.mp4,run,test,,"]))
    (root / "train.txt").write_text("a.mp4 8 0\nb.mp4 8 1\nc.mp4 8 0\nd.mp4 8 1\n")
    (root / "names.txt").write_text("run\nsit\n")


def read_list(root: Path) -> Any:
    table = read_videos(root)
    lists = {"train": root / "train.txt"}
    other = read_lists(root, lists, "kinetics", classes=root / "names.txt")
    shown = [each.videos.drop(columns=["path", "missing"]).to_csv() for each in (table, other)]
    return digest(*shown, table.classes, other.classes)


def make_video(root: Path) -> None:
    from focusgym.feature_cache.videos.mp4 import write_mp4

    rng = np.random.default_rng(0)
    write_mp4(rng.integers(0, 255, (12, 64, 64, 3), dtype=np.uint8), root / "v.mp4")


def read_video(root: Path) -> Any:
    clip = Clip(str(root / "v.mp4"))
    frames, view = read_frames(clip, FRAMES)
    return digest(frames, view.frame_indices, read_plainly(clip, view.frame_indices.ravel()))


def make_images(root: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    for suffix in ("jpg", "png", "bmp", "tif", "webp", "gif"):
        Image.fromarray(pixels).save(root / f"i.{suffix}")


def read_image_files(root: Path) -> Any:
    index = np.zeros(1, dtype=np.int64)
    return digest(*(read_images(str(path), "", index) for path in sorted(root.glob("i.*"))))


KINDS: dict[str, Kind] = {
    "cache": Kind(
        ("cache/manifest.json", "cache/videos.csv", "cache/*.npy", "cache/encoders/*/*"),
        make_cache,
        read_cache,
    ),
    "parts": Kind(
        tuple(f"cache.shards/*/{name}" for name in ("manifest.json", "videos.csv", "*.npy")),
        make_parts,
        merge_parts,
    ),
    "journal": Kind(("journal.jsonl",), make_journal, read_journal),
    "recognizer": Kind(("bundle/*",), make_recognizer_bundle, read_recognizer_bundle),
    "classifier": Kind(("classifier/*",), make_classifier, read_classifier_bundle),
    "checkpoint": Kind(("c.safetensors",), make_checkpoint, read_checkpoint_file),
    "run": Kind(("run/*.json", "run/*.yaml", "run/logs/1/*"), make_run, read_run),
    "played": Kind(("played.npz",), make_played, read_what_was_played),
    "search": Kind(("space.yaml", "trials/*/trial.json"), make_search, read_search),
    "archive": Kind(("folder.tar",), make_archive, unpack_archive),
    "step": Kind(("data/step.json",), make_step, read_step),
    "record": Kind(("r.json",), make_record, read_and_render),
    "boxes": Kind(("boxes.csv",), make_boxes, read_box_table),
    "preset": Kind(("p.yaml",), make_preset, read_preset_file),
    "list": Kind(("videos.csv", "*.txt"), make_list, read_list),
    "video": Kind(("v.mp4",), make_video, read_video),
    "image": Kind(("i.*",), make_images, read_image_files),
}
