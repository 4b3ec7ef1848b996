"""The defaults of options are the library's, where both have a setting."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, get_args

import pytest

from focusgym.agents import PlusTraining, PPOConfig, solve_exits
from focusgym.feature_cache import (
    CacheConfig,
    DigitPairsConfig,
    DigitsConfig,
    build_cache,
    plan_cache,
    read_lists,
    verify_cache,
)
from focusgym.recognizer import (
    AFNetConfig,
    AFNetStage,
    ClassifierConfig,
    CubePolicyConfig,
    Cubes,
    CubesEndToEnd,
    EncoderConfig,
    EndToEnd,
    FitConfig,
    FrameConfig,
    OnPixels,
    PatchGrid,
    PolicyConfig,
    read_recognizer,
)
from focusgym.recognizer.afnet.config import MOBILENET, RESNETS, Backbone
from focusgym.runs.configs import cache, compare, data, evaluate, fit, recognize, train, videos
from focusgym.runs.configs.stages import TrainingConfig

# Options, what the library has in their place, and by which names it goes there if by others.
PAIRS: list[tuple[type[Any], Callable[..., Any], dict[str, str]]] = [
    (data.DataDigitsConfig, DigitsConfig, {}),
    (data.DataPairsConfig, DigitPairsConfig, {}),
    (videos.VideosConfig, read_lists, {}),
    (videos.GlancedFramesConfig, FrameConfig, {}),
    (cache.ContentConfig, CacheConfig, {}),
    (cache.ContentConfig, EncoderConfig, {"glance_px": "input_px"}),
    (cache.CachePlanConfig, plan_cache, {}),
    (cache.CacheBuildConfig, build_cache, {}),
    (cache.CacheVerifyConfig, verify_cache, {}),
    (TrainingConfig, FitConfig, {}),
    (fit.HeadConfig, ClassifierConfig, {}),
    (fit.FitEncoderConfig, EncoderConfig, {}),
    (fit.FitPatchesConfig, OnPixels, {}),
    (fit.FitPatchesConfig, PatchGrid, {"grid": "n"}),
    (fit.JointConfig, EncoderConfig, {"glance_px": "input_px", "glance_reduction": "reduction"}),
    (fit.FitEndToEndConfig, EndToEnd, {}),
    (fit.FitEndToEndConfig, PolicyConfig, {}),
    (fit.FitCubesConfig, CubesEndToEnd, {}),
    (fit.FitCubesConfig, CubePolicyConfig, {"policy_hidden": "hidden"}),
    (fit.FitCubesConfig, Cubes, {"cube_frames": "frames"}),
    (fit.FitAFNetConfig, AFNetConfig, {}),
    (fit.FitAFNetConfig, AFNetStage, {}),
    (compare.ClassifierFitConfig, ClassifierConfig, {"fit_dropout": "dropout"}),
    (compare.ClassifierFitConfig, ClassifierConfig, {"fit_reuse_glance": "reuse_glance"}),
    (compare.ClassifierFitConfig, FitConfig, {"fit_optimizer": "optimizer"}),
    (train.PolicyTrainingConfig, PPOConfig, {}),
    (train.TrainConfig, PPOConfig, {}),
    (train.SkipConfig, PlusTraining, {}),
    (evaluate.EvaluateConfig, solve_exits, {"exit_measure": "measure", "exit_solver": "solver"}),
    (recognize.RecognizeConfig, read_recognizer, {}),
]
# These follow from something else where they are not given: the format of the list, and f_C.
FROM_ELSEWHERE = {
    "GlancedFramesConfig": {"short_videos"},
    "PolicyTrainingConfig": {"conv_channels", "hidden"},
}


@pytest.mark.parametrize(
    ("options", "library", "names"),
    [pytest.param(*pair, id=f"{pair[0].__name__}-{pair[1].__name__}") for pair in PAIRS],
)
def test_defaults_are_the_librarys(
    options: type[Any], library: Callable[..., Any], names: dict[str, str]
) -> None:
    usual = {
        each.name: each.default
        for each in inspect.signature(library).parameters.values()
        if each.default is not inspect.Parameter.empty
    }
    ours = {names.get(each.name, each.name): each.default for each in fields(options)}
    both = {
        name
        for name in ours.keys() & usual.keys() - FROM_ELSEWHERE.get(options.__name__, set())
        if ours[name] is not MISSING
    }
    assert both >= {*names.values()}, "a setting has another name now"
    assert both
    assert {name: ours[name] for name in both} == {name: usual[name] for name in both}


def test_the_backbones_of_af_networks() -> None:
    assert get_args(Backbone) == (*RESNETS, MOBILENET)
