"""Numbers that no float can hold, names that fill pages, and trials of a search that cannot be."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from af_networks import make
from support import touch, write_cache

from focusgym.agents.systems.system import share_of
from focusgym.envs.config import check_number
from focusgym.feature_cache import CacheError, FeatureCache, VideoListError, read_videos
from focusgym.recognizer import AFNetRecognizer, BundleError, FrameConfig, read_recognizer
from focusgym.recognizer.files.typed import is_finite
from focusgym.recognizer.limits import MOST_NAME
from focusgym.runs.cli import main
from focusgym.runs.options.presets import PresetError
from focusgym.runs.options.space import Range, Space, read_space
from focusgym.runs.training.tuning import (
    Trial,
    TuningError,
    folder_of,
    propose,
    read_trials,
)

LARGE = 10**350


def test_what_is_a_finite_number() -> None:
    for value in (0, -3, 10**308, 1.5, np.float32(2), np.int64(3), Fraction(1, 3)):
        assert is_finite(value)
    for none in (LARGE, -LARGE, Fraction(LARGE), float("nan"), float("inf"), True, "1", None, 1j):
        assert not is_finite(none)


def test_large_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="price must be a finite number of at least 0; got 1000"):
        check_number("price", LARGE)
    with pytest.raises(ValueError, match=r"share of the segments in \(0, 1\]; got 1000") as refused:
        share_of(4, LARGE)
    assert len(str(refused.value)) < 200


def test_large_integers_among_the_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = tmp_path / "p.yaml"
    preset.write_text(f"train:\n  epochs: 0x1{'0' * 9000}\n")
    for option, expected in (
        (f"--preset={preset}", "p.yaml cannot be read: it has an integer of more than 308 digits"),
        (f"--decisions={LARGE}", "--decisions must be an integer of 64 bits; got 1000"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["train", str(tmp_path / "out"), "--system=tsn", option])
        assert end.value.code == 2
        assert expected in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (f"low: 1, high: 1{'0' * 1000}", "an integer of more than 308 digits"),
        (f"low: 1, high: 0x1{'0' * 1000}", "an integer of more than 308 digits"),
        (f"low: -{9 * 10**307}, high: {9 * 10**307}", "expected a finite range"),
        (f"low: 1, high: {2**53 + 1}", r"integers of at most 2\^53"),
        ("low: 0.0, high: 1.0e+300, step: 1.0e-300", "a step of at least a millionth"),
        ("low: 1.0e+9, high: 1000000001.0, step: 1.0e-4", "a step of at least a millionth"),
    ],
)
def test_ranges_that_cannot_be_searched(bounds: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(f"fit classifier:\n  hidden: {{{bounds}}}\n")
    with pytest.raises(PresetError, match=f"s.yaml.*{message}"):
        read_space(tmp_path / "s.yaml")


STEPS = {"hidden": Range(low=4, high=66, step=4), "lr": Range(low=0.1, high=0.95, step=0.2)}


def test_a_range_holds_its_steps() -> None:
    """The very values that are counted out by hand, and all that is proposed."""
    right = [n for n in range(-4, 80) if STEPS["hidden"].holds(n)]
    assert right == [4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64]
    rates = [n / 100 for n in range(-10, 130) if STEPS["lr"].holds(n / 100)]
    assert rates == [0.1, 0.3, 0.5, 0.7, 0.9]
    assert not any(each.holds(x) for each in STEPS.values() for x in (True, "8", None, LARGE, 8.5))
    pytest.importorskip("optuna")
    ranges = {"hidden": replace(STEPS["hidden"], high=64), "lr": replace(STEPS["lr"], high=0.9)}
    space = Space("fit classifier", {}, ranges)
    for number in range(20):
        chosen = propose(space, [], number, 0).chosen
        assert all(STEPS[name].holds(value) for name, value in chosen.items())


def test_a_trial_between_the_steps_is_refused(tmp_path: Path) -> None:
    space = Space("fit classifier", {}, {"hidden": STEPS["hidden"]})
    folder_of(tmp_path, 0).mkdir(parents=True)
    for hidden, fits in ((8, True), (5, False)):
        text = json.dumps(asdict(Trial(0, {"hidden": hidden}, 0.5)))
        (folder_of(tmp_path, 0) / "trial.json").write_text(text)
        if fits:
            assert read_trials(tmp_path, space)[0].chosen == {"hidden": 8}
        else:
            with pytest.raises(TuningError, match="in ranges that do not hold that"):
                read_trials(tmp_path, space)


def test_names_of_classes_are_not_endless(tmp_path: Path) -> None:
    """A name may be so long; with a letter more, bundle, cache and list are refused."""
    most, over = "a" * MOST_NAME, "a" * (MOST_NAME + 1)
    AFNetRecognizer(make(), frames=FrameConfig(4, 32), classes=["b", "c", "d", "e", most]).save(
        tmp_path / "bundle"
    )
    assert read_recognizer(tmp_path / "bundle").classes[4] == most
    longer(tmp_path / "bundle" / "bundle.json", most, over)
    with pytest.raises(BundleError, match="that of class 4 has 1025: aaa") as refused:
        read_recognizer(tmp_path / "bundle")
    assert len(str(refused.value)) < 600
    cache = write_cache(tmp_path / "cache")
    longer(tmp_path / "cache" / "manifest.json", cache.classes[1], over)
    with pytest.raises(CacheError, match="that of class 1 has 1025: aaa"):
        FeatureCache.open(tmp_path / "cache")
    for name in "xy":
        touch(tmp_path / f"{name}.mp4")
    (tmp_path / "videos.csv").write_text(f"path,label,split\nx.mp4,{over},train\ny.mp4,b,val\n")
    with pytest.raises(VideoListError, match="that of class 0 has 1025: aaa.*a shorter name"):
        read_videos(tmp_path)


def longer(path: Path, name: str, other: str) -> None:
    path.write_text(path.read_text().replace(f'"{name}"', f'"{other}"', 1))
