"""Presets: defaults < preset < command line; what is written gives the same config again."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import MISSING, asdict, fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from shared_sections import NEEDED, shared_sections

from focusgym.agents import PRESETS, SYSTEMS, ClassifierKind, PPOConfig, find_system
from focusgym.recognizer import PatchGrid, WholeFrame
from focusgym.runs import cli
from focusgym.runs.cli import _parse
from focusgym.runs.configs.cache import CachePlanConfig
from focusgym.runs.configs.compare import ClassifierFitConfig, CompareConfig
from focusgym.runs.configs.train import (
    LearnerConfig,
    PolicyTrainingConfig,
    SkipConfig,
    SystemConfig,
    TrainConfig,
)
from focusgym.runs.options.groups import read_group
from focusgym.runs.options.parse import UsageError, reward_of
from focusgym.runs.options.ppo import ppo_config
from focusgym.runs.options.presets import VERBS, preset_names, read_preset, resolved, write_config
from focusgym.runs.options.systems import check_other_options, system_of
from focusgym.runs.training.recipes import DIGITS, clips


def parsed(verb: str, *args: object) -> Any:
    """The config that a command line gives."""
    config = _parse([*verb.split(), "out", *map(str, args)])
    return getattr(config, "verb", config)


@cache
def of_preset(name: str, verb: str, *options: str) -> Any:
    """The config that a preset gives for a verb, where these options are given as well.

    Its ``preset`` may be another one with the same section.
    """
    args = [arg for option in options for arg in (f"--{option}", "x")]
    with shared_sections():
        return parsed(verb, *NEEDED.get(verb, ()), *args, "--preset", name)


def policy_of(*args: object) -> PPOConfig:
    config = parsed("train", *args)
    return ppo_config(config.policy, config.skip, reward_of(config.reward))


def preset(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """The one line that a command ends with, exit status 2."""
    with pytest.raises(SystemExit) as caught:
        cli.main([*map(str, args)])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("focusgym: ")
    assert message.count("\n") == 1
    return message.removeprefix("focusgym: ").strip()


@pytest.mark.parametrize("name", ["activitynet", "fcvid", "mini_kinetics"])
def test_the_papers_policy(name: str) -> None:
    assert policy_of("--preset", name) == PRESETS["paper"]
    plus = policy_of("--preset", name, "--plus")
    wanted = PRESETS["paper_plus"].plus
    assert wanted is not None
    # The price is said: it is the paper's 1e-6, which no price means too.
    assert plus == replace(PRESETS["paper"], plus=replace(wanted, penalty={"per_px2": 1e-6}))


def test_defaults_are_those_of_the_room_below() -> None:
    assert policy_of() == PRESETS["ppo"]
    assert policy_of("--plus") == PRESETS["ppo_plus"]
    ppo_defaults = {f.name: f.default for f in fields(PPOConfig) if f.default is not MISSING}
    defaults = {f.name: f.default for f in fields(PolicyTrainingConfig)}
    assert defaults.pop("conv_channels") is defaults.pop("hidden") is None  # those that go with f_C
    assert (ppo_defaults.pop("conv_channels"), ppo_defaults.pop("hidden")) == (64, 1024)
    assert defaults.keys() - ppo_defaults.keys() == {"threads"}
    assert ppo_defaults.keys() - defaults.keys() == {"reward", "plus"}
    assert {name: defaults[name] for name in ppo_defaults if name in defaults} == {
        name: value for name, value in ppo_defaults.items() if name in defaults
    }


def test_the_quickstart_trains_as_its_presets_say() -> None:
    assert DIGITS.ppo == PPOConfig(20, conv_channels=16, hidden=128)
    assert clips().ppo == PPOConfig(
        100, n_envs=48, minibatch=16, lr=3e-4, conv_channels=32, hidden=256
    )
    assert clips().ppo_plus == replace(clips().ppo, plus=PRESETS["ppo_plus"].plus)
    plus = DIGITS.ppo_plus.plus
    assert plus is not None
    assert plus.penalty is not None
    # 1e-6 · 100² of the paper's smallest patch, for 28².
    assert plus.penalty["per_px2"] * 28**2 == pytest.approx(1e-6 * 100**2)


@pytest.mark.parametrize("name", preset_names())
def test_every_key_of_a_preset_decides(name: str) -> None:
    """Whatever a section says is what comes of it, read in another way."""
    # AdaFocus's nine, V2's six, V3's six, AFNet's six, the pairs'
    assert len(preset_names()) == 28 + len(SYSTEMS)
    for section, options in read_preset(name).items():
        verb, *conditions = section.split(" --")
        effective = resolved(of_preset(name, verb, *conditions))
        for key, value in options.items():
            assert effective[key] == value, (section, key)


def test_sharp_clips_differ_from_clips_in_what_is_cached() -> None:
    """A glance of 96 px of frames of 320, of which patches are cut; all is trained as for clips."""
    sharp, usual = read_preset("clips_sharp"), read_preset("clips")
    other = ("cache plan", "cache build")
    assert {name: sharp[name] for name in usual if name not in other} == {
        name: options for name, options in usual.items() if name not in other
    }
    content = parsed("cache build", *NEEDED["cache build"], "--preset", "clips_sharp").content
    (group,) = (read_group(text, content.frames.frame) for text in content.group)
    assert group.places == PatchGrid(320, 128, 7)
    assert (content.glance_px, content.frames.steps) == (96, clips().frames.steps)
    assert content.frames.resize / 320 == pytest.approx(256 / 224, abs=1e-3)
    recipe, kept = clips("clips_sharp"), clips()
    assert (recipe.frames.frame_px, recipe.glance.input_px, recipe.patch_px) == (320, 96, 128)
    assert (kept.frames.frame_px, kept.glance.input_px, kept.patch_px) == (224, None, 128)
    assert recipe.classifier == kept.classifier
    assert recipe.classifier.scaled_lr == pytest.approx({"classifier": 5e-4})
    assert recipe.finetune.scaled_lr == pytest.approx({"classifier": 2e-4})
    assert kept.from_weights is None
    assert recipe.from_weights is not None
    assert {*recipe.from_weights} == {"fit encoder", "fit patches"}


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("skip-rate: 0.25", "skip-rate: 1.5", "skip_rate must be in"),
        ("glance: mobilenet_v2", "glance: nonet", "unknown encoder 'nonet'"),
        ("lr-local: 3.0e-4", "lr-local: -1", "--lr-local must be 0"),
        ("fit classifier:", "fit end-to-end:", "fit end-to-end has no option 'skip-rate'"),
    ],
)
def test_a_wrong_preset_of_clips_is_refused_at_once(
    right: str, wrong: str, message: str, tmp_path: Path
) -> None:
    text = (files("focusgym.runs.presets") / "clips_sharp.yaml").read_text()
    (tmp_path / "own.yaml").write_text(text.replace(right, wrong))
    with pytest.raises(UsageError, match=message):
        clips(str(tmp_path / "own.yaml"))


def test_sections_for_what_is_given(tmp_path: Path) -> None:
    """The section with most of the options that are given counts, and counts alone."""
    file = preset(
        tmp_path / "p.yaml",
        {"fit classifier --policy": {"epochs": 3}, "fit classifier": {"epochs": 5, "seed": 7}},
    )
    arguments = ("--cache", "c", "--preset", file)
    one, three = (
        parsed("fit classifier", *arguments, *more).training for more in ((), ("--policy", "p"))
    )
    assert (one.epochs, one.seed) == (5, 7)
    assert (three.epochs, three.seed) == (3, 0)


def test_the_command_line_counts_more(tmp_path: Path) -> None:
    file = preset(
        tmp_path / "p.yaml", {"train": {"lr": 0.5, "lr_decay": False, "plus": True, "seed": 3}}
    )
    config = parsed("train", "--preset", file)
    assert (config.policy.lr, config.policy.lr_decay, config.skip.plus) == (0.5, False, True)
    assert config.seed == 3
    assert config.policy.epochs == 20  # the default
    for option in ("--lr=1e-4", "--lr 1e-4"):
        assert parsed("train", "--preset", file, *option.split()).policy.lr == 1e-4
    assert parsed("train", "--lr", "1e-4", f"--preset={file}").policy.lr == 1e-4
    assert not parsed("train", "--preset", file, "--no-plus").skip.plus
    for option in ("--lr-decay", "--lr_decay"):
        assert parsed("train", "--preset", file, option).policy.lr_decay
    for option in ("--no-lr-decay", "--no_lr_decay"):
        assert not parsed("train", "--preset", file, option).policy.lr_decay
    assert parsed("train", "--preset", "digits", "--preset", file).policy.lr == 0.5  # the last one


def test_values_of_all_kinds(tmp_path: Path) -> None:
    text = """
train: {minibatch: null, max-grad-norm: .inf, threads: 2, group: --odd, lr: 1e-4,
  reward: {name: increment_over_random, draws: null}}
compare: {patch: [20, 28], reward: [increments, {name: confidence}], keep-ratios: []}
cache plan: {group: ["patches:a:96", "full:b:8"], weights: a=random, flip: false}
"""
    file = preset(tmp_path / "p.yml", text)
    train = parsed("train", "--preset", file)
    assert train.policy == PolicyTrainingConfig(
        minibatch=None, max_grad_norm=math.inf, threads=2, lr=1e-4
    )
    assert train.group == ("--odd",)
    assert reward_of(train.reward) == {"name": "increment_over_random", "draws": None}
    compare = parsed("compare", "--preset", file)
    assert compare.patch == (20, 28)
    assert [reward_of(each) for each in compare.reward] == ["increments", {"name": "confidence"}]
    assert compare.keep_ratios == ()
    plan = parsed("cache plan", *NEEDED["cache plan"], "--preset", file)
    assert isinstance(plan, CachePlanConfig)
    assert plan.content.group == ("patches:a:96", "full:b:8")
    assert plan.content.weights == ("a=random",)
    assert plan.content.frames.flip is False


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
numbers = st.floats(allow_nan=False)
policies = st.builds(
    PolicyTrainingConfig,
    epochs=st.integers(),
    minibatch=st.none() | st.integers(),
    lr=numbers,
    lr_decay=st.booleans(),
    normalize=st.sampled_from(["advantages", "returns"]),
    max_grad_norm=numbers,
    threads=st.none() | st.integers(),
)
skips = st.builds(SkipConfig, plus=st.booleans(), keep_from=st.none() | numbers, keep_ratio=numbers)
paths = texts.map(Path)
trainings = st.builds(
    TrainConfig,
    st.just(Path("out")),
    policies,
    skips,
    paths,
    paths,
    st.lists(texts.filter(lambda text: not text.startswith("-"))).map(tuple),
    texts,
    st.integers(),
    resume=st.booleans(),
    method=st.builds(SystemConfig, setting=st.none() | numbers),
    learning=st.builds(LearnerConfig, decisions=st.none() | st.integers()),
)
comparisons = st.builds(
    CompareConfig,
    st.just(Path("out")),
    policies,
    skips,
    st.builds(ClassifierFitConfig, fit_lr=numbers, fit_optimizer=st.sampled_from(["sgd", "adamw"])),
    st.lists(paths.filter(lambda path: not str(path).startswith("-"))).map(tuple),
    paths,
    st.lists(st.integers()).map(tuple),
    st.lists(texts.filter(lambda text: not text.startswith("-"))).map(tuple),
    keep_ratios=st.lists(numbers).map(lambda ratios: tuple(abs(each) for each in ratios)),
    end_to_end=st.lists(paths.filter(lambda path: not str(path).startswith("-"))).map(tuple),
)


@given(config=trainings | comparisons, command=texts)
@example(
    TrainConfig(Path("out"), PolicyTrainingConfig(), SkipConfig(), reward="\x85 \u2028η\n"),
    "\x85x: 1",
)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_is_written_gives_the_same_config(
    tmp_path: Path, config: TrainConfig | CompareConfig, command: str
) -> None:
    """Whatever the values are, and whatever stands in the command, which is a comment."""
    verb = next(name for name, kind in VERBS.items() if kind is type(config))
    write_config(tmp_path / "config.yaml", verb, config, command)
    again = parsed(verb, "--preset", tmp_path / "config.yaml")
    wanted = replace(config, preset=str(tmp_path / "config.yaml"))
    if isinstance(wanted, TrainConfig):  # said anew with every command
        wanted = replace(wanted, resume=False)
    assert asdict(again) == asdict(wanted)
    assert [each.name for each in tmp_path.iterdir()] == ["config.yaml"]


def test_what_cannot_be_a_preset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refusal(content: object, *args: str) -> str:
        file = preset(tmp_path / "p.yaml", content)
        message = refused(capsys, "train", tmp_path / "out", "--preset", file, *args)
        assert not (tmp_path / "out").exists()
        return message.replace(str(file), "P")

    assert refusal({"train": {"epoch": 3}}) == (
        "--preset P: train has no option 'epoch', did you mean 'epochs'? `focusgym train --help` "
        "tells which there are"
    )
    # A key of an old config that is gone; also in a section of another verb.
    assert refusal({"train": {}, "compare": {"zzz": 1}}) == (
        "--preset P: compare has no option 'zzz': remove it, or `focusgym compare --help` tells "
        "which there are"
    )
    for key in ("out", "resume", "json", "preset", "no-plus"):
        assert f"train has no option {key!r}" in refusal({"train": {key: True}})
    assert refusal({"trian": {}}) == (
        "--preset P: unknown section 'trian': the verbs are " + ", ".join(VERBS)
    )
    assert "unknown section 'train --polcy'" in refusal({"train --polcy": {}})
    assert "unknown section 1" in refusal({1: {}})
    assert refusal({"compare": {"seeds": 2}}) == (
        "--preset P says nothing for `focusgym train`: it has the sections compare; choose another "
        "preset, or leave --preset out"
    )
    for wrong in ("no", "false", 0, None, [True]):
        assert refusal({"train": {"lr-decay": wrong}}) == (
            f"--preset P: train: lr-decay must be true or false; got {wrong!r}"
        )
    for wrong in ([1], "text", None, {"train": None}, {"train": [1]}):
        message = refusal(wrong)
        assert message.startswith("--preset P: expected sections of options, such as 'train:' with")
    for damaged in ("train: {a", "\t- x", "train: &a [*b]"):
        assert refusal(damaged).startswith("--preset P cannot be read: ")
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    message = refused(capsys, "train", tmp_path / "out", "--preset", binary)
    assert message.startswith(f"--preset {binary} cannot be read: ")


def test_no_such_preset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "train", tmp_path / "out", "--preset", "nope") == (
        "--preset nope: there is no such preset: choose one of activitynet, activitynet_v2, "
        "activitynet_v2_rn, activitynet_v3, adafocus_tsm, adafocus_tsm_gaussian, "
        "adafocus_tsm_ppo, adafocus_v2, adafocus_v2_ppo, adafocus_v2_sac, adafocus_v3, "
        "adafocus_v3_ppo, adaframe, adafuse, afnet_activitynet, afnet_digits, afnet_imagenet, "
        "afnet_jester, afnet_mini_kinetics, afnet_sthsth, arnet, average, clip_central, "
        "clip_fixed, clip_random, clips, clips_sharp, digit_pairs, digits, digits_v2, digits_v3, "
        "diving48_v3, dynamic_ste, fcvid, fcvid_v2, fcvid_v3, frame_glimpses, frameexit, "
        "frameexit_gates, gru, jester, listentolook, listentolook_ppo, lite_eval, "
        "lite_eval_gates, mini_kinetics, mini_kinetics_v2, mini_kinetics_v3, multi_agent, "
        "ocsampler, scsampler, sthsth_tsm_v2, sthsth_v1, sthsth_v2, sthsth_v3, tsm, "
        "tsm_plus, tsn, uniform, videoiq, or give a file that ends in .yaml"
    )
    missing = refused(capsys, "compare", tmp_path / "out", "--preset", tmp_path / "x.yaml")
    assert missing.startswith(
        f"--preset {tmp_path}/x.yaml cannot be read: No such file or directory"
    )


def test_reading_presets_imports_nothing_heavy() -> None:
    code = """
import sys
from focusgym.runs.options.presets import preset_args, preset_names, read_preset
for name in preset_names():
    preset_args(name, next(iter(read_preset(name))))
print([name for name in ("torch", "numpy", "pandas") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_system_has_a_preset(name: str) -> None:
    """It trains that system, on a cache with what it reads, with an f_C of its kind."""
    system = find_system(name)
    train = of_preset(name, "train")
    assert train.method.system == name
    check_other_options(train)
    assert system_of(train.method, train.learning).name == name
    compare = of_preset(name, "compare")
    # Those trained by gradient stand beside the same decisions learned otherwise.
    others = {
        "adafocus_v2": ["adafocus_v2_ppo", "adafocus_v2_sac"],
        "adafocus_v3": ["adafocus_v3_ppo"],
        "listentolook": ["listentolook_ppo"],
        "adafocus_tsm": [
            *("adafocus_tsm_ppo", "adafocus_tsm_gaussian"),
            *("clip_random", "clip_central", "clip_fixed"),
        ],
    }
    assert (compare.reward, compare.systems) == ((), (name, *others.get(name, [])))
    head = of_preset(name, "fit classifier")
    of_head = (head.head.aggregation, head.order, head.head.reuse_glance, head.skip_rate)
    assert ClassifierKind(*of_head) == system.classifier
    content = of_preset(name, "cache build").content
    groups = [read_group(text, content.frames.frame) for text in content.group]
    kind_of_places = PatchGrid if system.places == "patches" else WholeFrame
    assert all(isinstance(group.places, kind_of_places) for group in groups)
    assert (len(groups) > 1) == system.several_groups
