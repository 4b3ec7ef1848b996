"""The recipes of systems: names, settings, budgets, and what they ask of environments."""

from __future__ import annotations

import pickle
import sys

import pytest

from focusgym.agents import SYSTEMS, FixedSystem, LearnedSystem, Table, find_system
from focusgym.agents.systems.encoders import ANY, FEW_BITS, MASK_PROFILES, SHIFTING, Encoders
from focusgym.agents.systems.frameexit import FRAMEEXIT
from focusgym.envs.tasks.registry import TASKS, config_class
from focusgym.recognizer import ClassifierConfig, OptionGroup, WholeFrame, build_classifier

OWN = FRAMEEXIT  # found by its place below


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_recipe(name: str) -> None:
    system = find_system(name)
    assert (system.name, bool(system.about)) == (name, True)
    assert pickle.loads(pickle.dumps(system)).name == name, "comparisons train it in processes"
    assert "arXiv:" in system.source
    assert build_classifier(ClassifierConfig(2, 2, 2, aggregation=system.classifier.aggregation))
    assert len({*system.settings}) == len(system.settings) >= 1
    assert system.usual_setting in system.settings
    labels = [system.setting_label(each) for each in system.settings]
    assert labels == [""] if len(labels) == 1 else len({*labels}) == len(labels)
    if isinstance(system, LearnedSystem):
        assert system.task in TASKS
        keywords = system.environment(Table(10, 50.0), system.settings[-1])
        assert config_class(system.task)("cache", "classifier", **keywords)
    elif isinstance(system, FixedSystem):
        counts = [len(system.segments(10, each)) for each in system.settings]
        assert counts == sorted(counts, reverse=True), "the cheapest last"


def test_option_groups_of_systems() -> None:
    """By the names of networks; of few bits with the same network in full at that side alone."""
    networks = {
        "full": ("resnet50", 32),
        "smaller": ("resnet50", 16),
        "other": ("resnet18", 32),
        "4bit": ("resnet50_4bit", 32),
        "reuse": ("resnet50_reuse50", 32),
        "tsm": ("resnet50_tsm", 32),
    }
    stored = [
        (OptionGroup(name, WholeFrame(32, side_px), "f_l", 2, 1.0), network)
        for name, (network, side_px) in networks.items()
    ]
    for encoders, names in (
        (ANY, ["full", "smaller", "other", "tsm"]),
        (Encoders("18"), ["other"]),
        (SHIFTING, ["tsm"]),
        (FEW_BITS, ["4bit", "full"]),
        (MASK_PROFILES, ["reuse"]),
    ):
        assert [group.name for group in encoders.among(stored)] == names
    assert FEW_BITS.among(stored[1:]) == [], "none in full at that side"


def test_learned_systems_have_one_budget() -> None:
    """As many settings, and as many decisions in each training.

    Those of AdaFocusV2 and AdaFocus-TSM have nothing to trade for cost, so one setting.
    """
    systems = {name: find_system(name) for name in SYSTEMS}
    learned = [system for system in systems.values() if isinstance(system, LearnedSystem)]
    for name, system in systems.items():
        if system.learns:
            free = name.startswith(("adafocus_v2", "adafocus_tsm"))
            assert len(system.settings) == (1 if free else 4), name
    assert len({system.learner.decisions for system in learned}) == 1


def test_keywords_by_hand() -> None:
    """A price of 0.1 is a tenth of confidence for a whole video; a share is a count."""
    table = Table(steps=10, video_gmacs=50.0)
    exits, sampler, uniform = map(find_system, ("frameexit", "ocsampler", "uniform"))
    assert isinstance(exits, LearnedSystem)
    assert isinstance(sampler, LearnedSystem)
    assert isinstance(uniform, FixedSystem)
    assert exits.environment(table, 0.1) == {"price_per_gmac": pytest.approx(0.002)}
    assert sampler.environment(table, 0.3) == {"n_segments": 3}
    assert sampler.environment(table, 0.01) == {"n_segments": 1}
    assert uniform.segments(10, 0.4) == (1, 3, 6, 8)
    assert find_system("average").segments(4, 1.0) == (0, 1, 2, 3)
    with pytest.raises(ValueError, match=r"a share of the segments in \(0, 1\]; got 1.5"):
        sampler.environment(table, 1.5)


def test_shares_of_as_many_segments_are_one_setting() -> None:
    """0.6 and 0.4 of four segments are two; prices and shares that are aimed at are no counts."""
    assert find_system("uniform").settings_of(4) == (0.8, 0.6, 0.2)
    assert find_system("uniform").settings_of(6) == (0.8, 0.6, 0.4, 0.2)
    assert find_system("adafocus_v3").settings_of(6) == (0.5, 0.3, 0.15)
    for name in ("frameexit", "lite_eval_gates"):
        assert find_system(name).settings_of(4) == find_system(name).settings


def test_by_name_or_by_its_place() -> None:
    sys.modules.setdefault("test_recipes", sys.modules[__name__])
    assert find_system(f"{__name__}:OWN") is FRAMEEXIT
    with pytest.raises(
        ValueError, match="no system 'frame_exit': did you mean 'frameexit'\\? `focusgym systems`"
    ):
        find_system("frame_exit")
    with pytest.raises(ValueError, match="adafocus_plus is what `focusgym train --plus` trains"):
        find_system("adafocus_plus")
    with pytest.raises(ValueError, match="an instance of .*System; got 'os:sep', which is '/'"):
        find_system("os:sep")
