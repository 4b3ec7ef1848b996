"""Encoders from the command line: how f_G's input is reduced."""

from __future__ import annotations

from pathlib import Path

import pytest
from verbs import Digits

from focusgym.recognizer import EncoderConfig
from focusgym.runs.cli import main
from focusgym.runs.options.groups import encoders_of
from focusgym.runs.options.parse import UsageError

RANDOM = ("small_glance=random", "small_local=random")


def test_the_glance_alone_is_reduced_as_asked() -> None:
    glance, local = encoders_of("small_glance", "small_local", RANDOM, 12, "bilinear")
    assert glance.config == EncoderConfig("small_glance", 12, "bilinear")
    assert local.config == EncoderConfig("small_local")
    glance, _ = encoders_of("small_glance", "small_local", RANDOM, 12)
    assert glance.config == EncoderConfig("small_glance", 12)


def test_a_reduction_needs_a_side_and_no_bundle(
    encoders: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="the reduction 'bilinear' needs input_px, the side to"):
        encoders_of("small_glance", "small_local", RANDOM, None, "bilinear")
    bundle = str(encoders / "glance")
    arguments = (
        "--preset",
        "activitynet_v2",
        "--format",
        "kinetics",
        *digits.options,
        "--patch",
        "20",
    )
    networks = ("--glance-encoder", bundle, "--local-encoder", "small_local")
    weights = ("--weights", RANDOM[1], "--glance-reduction", "bilinear")
    with pytest.raises(SystemExit) as caught:
        main(["fit", "end-to-end", str(tmp_path / "out"), *arguments, *networks, *weights])
    assert caught.value.code == 2
    assert (
        f"--glance-reduction: the bundle {bundle} says itself how its input is reduced: leave the "
        "option out"
    ) in capsys.readouterr().err


def test_a_bundle_that_is_not_there_is_said_where_to_come_from() -> None:
    for glance, local in (
        ("outputs/quickstart/encoders/none", "small_local"),
        ("small_glance", "outputs/quickstart/encoders/none"),
    ):
        weights = tuple(f"{name}=random" for name in (glance, local) if "/" not in name)
        with pytest.raises(UsageError, match="there is no folder outputs/quickstart/encoders/none"):
            encoders_of(glance, local, weights, None)
