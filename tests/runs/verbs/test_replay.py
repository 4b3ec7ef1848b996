"""``focusgym replay``: its numbers against the environment, its files, its refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binomtest

from focusgym.agents import RandomAgent, read_penalty, read_policy
from focusgym.envs import FeatureSource, FocusEngine
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import (
    policy_gmacs,
    read_classifier,
)
from focusgym.runs.cli import main
from focusgym.runs.configs.replay import ReplayConfig
from focusgym.runs.evaluation.trained import find_trained
from focusgym.runs.replays.episodes import Looker, decide, summed_regrets
from focusgym.runs.verbs.replay import replay

CHOSEN = (3, 81, 90, 99)  # one of the training split, three of the test split


@pytest.fixture(scope="module")
def run(tiny_run: tuple[Path, dict[str, Any]]) -> Path:
    return tiny_run[0]


@pytest.fixture(scope="module")
def shown(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Chosen videos with π′ beside π: the folder, and what the verb returns."""
    out = tmp_path_factory.mktemp("replay") / "pages"
    config = ReplayConfig(out, run / "policy_plus", run / "policy", videos=CHOSEN, seed=5)
    return out, replay(config)


def by_hand(run: Path, name: str | None, seed: int, i: int) -> list[dict[str, Any]]:
    """Play the i-th chosen video in an environment of its own; no name looks at random."""
    cache = FeatureCache.open(run / "cache")
    policy = None if name is None else read_policy(run / name)
    plus = policy is not None and policy.keep is not None
    env = gymnasium.make(
        f"focusgym.envs:focusgym/AdaFocus{'Plus' if plus else ''}-v0",
        cache=run / "cache",
        classifier=run / "classifier",
        split=None,
        videos=CHOSEN,
        order="listed",
        seed=seed,
        first_episode=i,
        episode_stride=len(CHOSEN),
        policy_gmacs=0.0 if policy is None else policy_gmacs(policy),
        **({"penalty": read_penalty(run / str(name))} if plus else {}),
    )
    _, info = env.reset()
    assert info["video_id"] == CHOSEN[i]
    row = np.array([CHOSEN[i]])
    if policy is None:
        # Rows of the test split are drawn first, in order; then the row of another split.
        every = np.append(cache.split("test"), CHOSEN[0])
        drawn = RandomAgent(seed).plan(FocusEngine(FeatureSource(cache, f_c(run))), every)
        options = drawn.options[np.flatnonzero(every == CHOSEN[i])[0]].tolist()
        looks = [True] * len(options)
    else:
        chosen, attended = policy.choose(cache.glance_maps(row))
        options, looks = chosen[0].tolist(), attended[0].tolist()
    steps = []
    for option, look in zip(options, looks, strict=True):
        _, reward, *_, info = env.step(np.array([option, look]) if plus else option)
        steps.append({**info, "reward": reward, "option": option, "look": look})
    return steps


def f_c(run: Path) -> Any:
    return read_classifier(run / "classifier")


def assert_episode(episode: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    assert episode["options"] == [step["option"] for step in steps]
    assert episode["attended"] == [step["look"] for step in steps]
    assert episode["correct"] == [step["correct"] for step in steps]
    assert episode["boxes_px"] == [step["box_px"].tolist() for step in steps]
    for key, name in (("confidences", "confidence"), ("rewards", "reward"), ("gmacs", "gmacs")):
        assert episode[key] == pytest.approx([step[name] for step in steps], abs=1e-5)
    plus = "reward_skip" in steps[0]
    r = [step["reward_location" if plus else "reward"] for step in steps]
    assert episode["location_rewards"] == pytest.approx(r, abs=1e-5)
    skip = [step["reward_skip"] for step in steps] if plus else None
    assert episode["skip_rewards"] == (pytest.approx(skip, abs=1e-5) if plus else None)


def test_numbers_are_the_environments(
    run: Path, shown: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Rewards, confidences, boxes and costs, of π′, of π, and of random patches."""
    result = shown[1]
    assert [video["row"] for video in result["videos"]] == list(CHOSEN)
    alone = replay(ReplayConfig(tmp_path / "out", run / "policy", videos=CHOSEN, seed=5, mp4=False))
    attended = []
    for i, video in enumerate(result["videos"]):
        plus, plain = video["episodes"]
        assert_episode(plus, by_hand(run, "policy_plus", 5, i))
        assert_episode(plain, by_hand(run, "policy", 5, i))
        again, random = alone["videos"][i]["episodes"]
        assert again == plain
        assert_episode(random, by_hand(run, None, 5, i))
        attended += plus["attended"]
    assert 0 < sum(attended) < len(attended), "some frames are skipped"


def test_probabilities_alternatives_and_predictions(
    run: Path, shown: tuple[Path, dict[str, Any]]
) -> None:
    cache = FeatureCache.open(run / "cache")
    engine = FocusEngine(FeatureSource(cache, f_c(run)))
    policy, k = read_policy(run / "policy_plus"), cache.n_options
    assert policy.keep is not None
    for row, video in zip(CHOSEN, shown[1]["videos"], strict=True):
        episode = video["episodes"][0]
        maps = cache.glance_maps(np.array([row]))
        with torch.no_grad():
            expected = torch.softmax(policy(maps)[0], dim=-1)
            keep = policy.keep(maps)[0]
        np.testing.assert_allclose(episode["probabilities"], expected, atol=2e-6)
        np.testing.assert_allclose(episode["keep"], keep, atol=2e-6)
        # Every alternative of one step by whole episodes of its own, the last without a look.
        t = 2
        plans = np.tile(episode["options"][: t + 1], (k + 1, 1))
        looks = np.tile(episode["attended"][: t + 1], (k + 1, 1))
        plans[:, t], looks[:, t] = np.arange(k + 1) % k, np.arange(k + 1) < k
        p = engine.rollout(np.full(k + 1, row), plans, looks)[:, t].softmax(dim=-1)
        done = episode["options"][t] if episode["attended"][t] else k
        tried = p[:, int(cache.labels[row])].numpy()
        np.testing.assert_allclose(episode["alternatives"][t], tried, atol=1e-5)
        assert episode["random"][t] == pytest.approx(tried[:-1].mean(), abs=1e-5)
        assert episode["regrets"][t] == pytest.approx(tried.max() - tried[done], abs=1e-5)
        now = p[done]
        assert episode["predictions"][t] == cache.classes[int(now.argmax())]
        assert episode["certainties"][t] == pytest.approx(float(now.max()), abs=1e-5)
        likeliest = dict(episode["likeliest"][t])
        best = now.topk(5).indices.tolist()
        assert list(likeliest)[:5] == best
        assert set(likeliest) == {*best, int(cache.labels[row])}
        for label, probability in likeliest.items():
            assert probability == pytest.approx(float(now[label]), abs=1e-5)


def test_true_boxes_are_the_tables(run: Path, shown: tuple[Path, dict[str, Any]]) -> None:
    table = pd.read_csv(run / "data" / "boxes.csv").set_index(["path", "frame"])
    videos = pd.read_csv(run / "cache" / "videos.csv")
    for video in shown[1]["videos"]:
        path = videos["path"][video["row"]]  # from the folder of the videos
        for frame, box in zip(video["frame_indices"], video["true_boxes"], strict=True):
            expected = table.loc[(path, frame)]
            assert box["px"] == expected[["left", "top", "right", "bottom"]].tolist()
            assert box["visible"] == expected["visible"]


@pytest.mark.parametrize("name", ["policy", "policy_plus"])
def test_regret_is_against_the_best_of_each_step(run: Path, name: str) -> None:
    """By trying everything; a policy without π′ is not blamed for not skipping."""
    looker = Looker(name, find_trained(run / name))
    rows = np.array([85, 97])
    decided = decide(looker, rows)
    regrets = summed_regrets(looker, rows, decided)
    engine = looker.trained.engine
    labels, k = engine.cache.labels, engine.cache.n_options
    for i, row in enumerate(rows):
        lost = 0.0
        for t in range(engine.cache.steps):
            options, looks = decided.options[i, : t + 1], decided.attended[i, : t + 1]
            best = 0.0
            for option in range(k + looker.can_skip):
                tried = np.append(options[:t], option % k), np.append(looks[:t], option < k)
                p = engine.rollout(rows[i : i + 1], *(x[None] for x in tried))[0, t].softmax(dim=-1)
                best = max(best, float(p[labels[row]]))
            p = engine.rollout(rows[i : i + 1], options[None], looks[None])[0, t].softmax(dim=-1)
            lost += best - float(p[labels[row]])
        assert regrets[i] == pytest.approx(lost, abs=1e-4)


def test_most_interesting_videos_of_the_split(run: Path, tmp_path: Path) -> None:
    """Against sorting by hand, video by video; and what is not there is said."""
    result = replay(
        ReplayConfig(tmp_path / "out", run / "policy", select=("gain",), count=4, mp4=False)
    )
    cache = FeatureCache.open(run / "cache")
    engine = FocusEngine(FeatureSource(cache, f_c(run)))
    test = cache.split("test")
    random = RandomAgent(0).plan(engine, test).options
    gains = {}
    for i, row in enumerate(test.tolist()):
        options, _ = read_policy(run / "policy").choose(cache.glance_maps(test[i : i + 1]))
        ends = [
            float(engine.rollout(test[i : i + 1], plan)[0, -1].softmax(-1)[cache.labels[row]])
            for plan in (options.numpy(), random[i : i + 1])
        ]
        gains[row] = ends[0] - ends[1]
    best = sorted((row for row in gains if gains[row] > 0), key=lambda row: -gains[row])
    assert [video["row"] for video in result["videos"]] == best[:4]
    assert {video["kind"] for video in result["videos"]} == {"gain"}
    assert not result["notes"]
    assert not list((tmp_path / "out").rglob("*.mp4"))
    usual = replay(ReplayConfig(tmp_path / "usual", run / "policy", count=1, mp4=False))
    assert "AdaFocus has no π′: it skips no frames" in usual["notes"]
    assert {video["kind"] for video in usual["videos"]} >= {"gain", "regret"}


def test_overview_sums_up_the_split(run: Path, shown: tuple[Path, dict[str, Any]]) -> None:
    """What is counted here again, from the policies' own choices; chosen strangers do not count."""
    overview = shown[1]["overview"]
    cache = FeatureCache.open(run / "cache")
    test = cache.split("test")
    options, attended = read_policy(run / "policy_plus").choose(cache.glance_maps(test))
    plus = overview["policies"][0]
    assert overview["n_videos"] == len(test)
    assert plus["skipped_by_step"] == pytest.approx((~attended).double().mean(dim=0).tolist())
    counts = torch.bincount(options[attended], minlength=cache.n_options).double()
    assert plus["heat"] == pytest.approx((counts / counts.sum()).tolist())
    assert sum(each["looks"] for each in plus["classes"]) == int(attended.sum())
    for t, accuracy in enumerate(plus["accuracy_by_step"]):
        right = binomtest(round(accuracy * len(test)), len(test)).proportion_ci(method="wilson")
        assert plus["accuracy_intervals_by_step"][t] == pytest.approx([right.low, right.high])
    pairs = plus["confusion"]
    assert sum(count for *_, count in pairs) == len(test)
    on_diagonal = sum(count for true, predicted, count in pairs if true == predicted)
    assert on_diagonal / len(test) == pytest.approx(plus["accuracy_by_step"][-1])
    for label in range(cache.n_classes):
        n_true = sum(count for true, _, count in pairs if true == label)
        assert n_true == int((cache.labels[test] == label).sum())
    spent = sum(plus["gmacs_by_network"].values())
    assert spent == pytest.approx(plus["gmacs_by_step"][-1])
    by_class = sum(each["accuracy"] * each["videos"] for each in plus["classes"])
    assert by_class / len(test) == pytest.approx(plus["accuracy_by_step"][-1])
    for each in plus["classes"]:
        label = cache.classes.index(each["name"])
        of_class = cache.labels[test] == label
        assert each["videos"] == int(of_class.sum())
        seen = attended & of_class[:, None]
        counts = torch.bincount(options[seen], minlength=cache.n_options).double()
        assert each["heat"] == pytest.approx((counts / max(1, int(seen.sum()))).tolist())


def test_the_folder(shown: tuple[Path, dict[str, Any]]) -> None:
    out, result = shown
    films = [f"videos/{row}.mp4" for row in CHOSEN]
    pages = ["episodes.json", "index.html", "overview.html", "strip.png"]
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert files == sorted(pages + films) == result["files"]
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    written = json.loads((out / "episodes.json").read_text())
    assert written == {key: result[key] for key in written}
    assert {"videos", "overview", "policies", "classes", "seed", "reward"} <= written.keys()


def test_json_alone_is_printed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["replay", tmp_path / "out", "--policy", run / "policy", "--videos", "99"]
    main([*map(str, args), "--no-mp4", "--json"])
    (line,) = capsys.readouterr().out.splitlines()
    printed = json.loads(line)
    assert [video["row"] for video in printed["videos"]] == [99]
    assert printed["files"] == ["episodes.json", "index.html", "overview.html", "strip.png"]


def test_text_says_why_and_where(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    result = replay(ReplayConfig(out, run / "policy", videos=(99,), mp4=False))
    first, counted, last = capsys.readouterr().out.splitlines()
    assert counted.startswith("videos shown frame by frame: 1, in the list: 20; --more N ")
    ends = [each["confidences"][-1] for each in result["videos"][0]["episodes"]]
    right = [
        "right" if each["correct"][-1] else "wrong" for each in result["videos"][0]["episodes"]
    ]
    assert (
        first.split()
        == (
            f"99 chosen by hand; AdaFocus {right[0]} ({ends[0]:.2f}), "
            f"random patches {right[1]} ({ends[1]:.2f})"
        ).split()
    )
    assert str(out / "index.html") in last


def test_the_reward_is_the_one_asked_for(run: Path, tmp_path: Path) -> None:
    def rewards(reward: str) -> Any:
        config = ReplayConfig(tmp_path / reward[:9], run / "policy", videos=(99,), mp4=False)
        return replay(replace(config, reward=reward))["videos"][0]["episodes"][0]

    episode = rewards("confidence")
    assert episode["rewards"] == pytest.approx(episode["confidences"], abs=1e-6)
    episode = rewards("{name: increment_over_random, draws: null}")
    gained = np.subtract(episode["confidences"], episode["random"])
    assert episode["rewards"] == pytest.approx(gained.tolist(), abs=2e-6)


def test_policies_are_called_what_they_are(
    run: Path, shown: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """By their method; two of one method by their folders besides."""
    assert [each["name"] for each in shown[1]["policies"]] == ["AdaFocus+", "AdaFocus"]
    assert [each["folder"] for each in shown[1]["policies"]] == ["policy_plus", "policy"]
    policy, other = run / "policy", tmp_path / "other" / "policy"
    shutil.copytree(policy, other)
    for second, names in (
        (policy, ["AdaFocus (policy)", "AdaFocus (policy, again)"]),
        (other, ["AdaFocus (quickstart/policy)", "AdaFocus (other/policy)"]),
    ):
        out = tmp_path / f"beside {second.parent.name}"
        parts = run / "cache", run / "classifier"
        config = ReplayConfig(out, policy, second, *parts, videos=(99,), mp4=False)
        result = replay(config)
        assert [each["name"] for each in result["policies"]] == names
        one, two = result["videos"][0]["episodes"]
        assert one == two


def test_all_videos_are_listed_and_more_can_be_shown(run: Path, tmp_path: Path) -> None:
    """The list against playing each video alone; more are shown in the split's order."""
    out = tmp_path / "out"
    config = ReplayConfig(out, run / "policy_plus", run / "policy", videos=(3, 81), more=3)
    result = replay(config)
    assert [video["row"] for video in result["videos"]] == [3, 81, 80, 82, 83]
    films = sorted(path.name for path in (out / "videos").iterdir())
    assert films == ["3.mp4", "81.mp4"], "of those that were chosen"
    cache = FeatureCache.open(run / "cache")
    engine = FocusEngine(FeatureSource(cache, f_c(run)))
    listing = result["listing"]
    assert listing["rows"] == cache.split("test").tolist()
    assert listing["labels"] == [[int(cache.labels[row])] for row in listing["rows"]]
    for name, listed in zip(("policy_plus", "policy"), listing["policies"], strict=True):
        for i in (0, 7, 19):
            row = np.array([listing["rows"][i]])
            options, attended = read_policy(run / name).choose(cache.glance_maps(row))
            p = engine.rollout(row, options.numpy(), attended.numpy())[0, -1].softmax(dim=-1)
            assert listed["predictions"][i] == int(p.argmax())
            assert listed["correct"][i] == int(p.argmax() == cache.labels[row[0]])
            sure = float(p[cache.labels[row[0]]])
            assert listed["confidences"][i] == pytest.approx(sure, abs=6e-5)
            assert listed["looks"][i] == int(attended.sum())
