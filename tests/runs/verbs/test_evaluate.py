"""The verb ``evaluate``: policies beside policies that do not learn; which policy is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import C, Literal, add_group, write_cache

from focusgym.agents import (
    CentralAgent,
    GaussianAgent,
    RandomAgent,
    keep_probabilities,
    read_policy,
)
from focusgym.envs import FeatureSource, FocusEngine
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import NEVER
from focusgym.runs.cli import main
from focusgym.runs.evaluation.trained import find_boxes, find_trained
from focusgym.runs.options.parse import UsageError

SMALL = ("--n-envs=6", "--minibatch=3", "--conv-channels=2", "--hidden=6", "--epochs=2")
Evaluate = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on a cache of random features: ``where``, and ``plus`` that also skips."""
    root = tmp_path_factory.mktemp("evaluate")
    Literal(root)
    files = (f"--cache={root}/cache", f"--classifier={root}/classifier")
    main(["train", str(root / "where"), *files, *SMALL])
    main(["train", str(root / "plus"), *files, *SMALL, "--plus", "--lr=0.05", "--keep-from=0"])
    return root


@pytest.fixture
def evaluate(capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """Run the verb with --json, which prints one object; return its rows."""

    def run(*args: object) -> list[dict[str, Any]]:
        capsys.readouterr()
        main(["evaluate", *map(str, args), "--json"])

        def no_number(name: str) -> None:
            raise AssertionError(f"{name} is no JSON")

        report = json.loads(capsys.readouterr().out, parse_constant=no_number)
        assert report.keys() == {"split", "policies"}
        return list(report["policies"])

    return run


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *map(str, args)])
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("focusgym: ").strip()


def test_rows(root: Path, evaluate: Evaluate) -> None:
    """A run's own row is that of its results; the others are played anew, in the engine."""
    rows = evaluate(root / "where", root / "plus", "--oracle", "--seed=3")
    assert [row["name"] for row in rows] == [
        *("where", "random", "central", "gaussian", "oracle", "plus")
    ]
    for row in (rows[0], rows[-1]):
        results = json.loads((root / row["name"] / "results.json").read_text())
        assert row == results["test"]
    cache = FeatureCache.open(root / "cache")
    trained = find_trained(root / "where")
    engine = FocusEngine(FeatureSource(cache, trained.engine.source.classifier))
    test = cache.split("test")
    for row, agent in zip(
        rows[1:4], (RandomAgent(3), CentralAgent(), GaussianAgent(3)), strict=True
    ):
        logits = engine.rollout(test, agent.plan(engine, test).options)
        right = logits.argmax(-1).numpy() == cache.labels[test].numpy()[:, None]
        assert row["accuracy_by_step"] == right.mean(axis=0).tolist()
        assert row["gmacs_per_video"] < rows[0]["gmacs_per_video"]  # no policy is run
    assert rows[4]["gmacs_per_video"] == pytest.approx(9 * rows[1]["gmacs_per_video"] - 8 * 4 * 0.3)
    assert [row["name"] for row in evaluate(root / "where", "--no-fixed")] == ["where"]
    train = evaluate(root / "where", "--split=train", "--no-fixed")[0]
    assert train["n_videos"] == 6


def test_shares_of_the_frames(root: Path, evaluate: Evaluate) -> None:
    """ρ is solved on training frames: of those as many are kept as was asked for."""
    cache = FeatureCache.open(root / "cache")
    policy = read_policy(root / "plus" / "policy")
    shares = (0.25, 0.5, 1.0)
    arguments = (root / "plus", "--no-fixed", "--keep-ratio", *shares)
    rows = evaluate(*arguments, "--split=train")
    assert [row["name"] for row in rows] == [f"plus η={share:g}" for share in shares]
    probabilities = keep_probabilities(policy, cache, cache.split("train"))
    assert len(np.unique(probabilities)) == probabilities.size
    assert [row["kept_share"] for row in rows] == [pytest.approx(share) for share in shares]
    test = keep_probabilities(policy, cache, cache.split("test"))
    for row, share in zip(evaluate(*arguments), shares, strict=True):
        least = np.sort(probabilities.ravel())[::-1][round(share * probabilities.size) - 1]
        # Frames of the test videos that lie between the last kept and the first skipped may go
        # either way: there are none here.
        assert row["kept_share"] == pytest.approx((test >= least).mean())
        assert row["gmacs_per_video"] == pytest.approx(
            rows[-1]["gmacs_per_video"] - (1 - row["kept_share"]) * 4 * 1.5
        )


def test_names_that_collide(root: Path, tmp_path: Path, evaluate: Evaluate) -> None:
    """Of the same folder name, of other features, and given twice."""
    other = tmp_path / "other"
    Literal(other, seed=1)
    files = (f"--cache={other}/cache", f"--classifier={other}/classifier")
    main(["train", str(other / "where"), *files, *SMALL])
    rows = evaluate(root / "where", other / "where")
    first, second = root / "where", other / "where"
    assert [row["name"] for row in rows] == [
        *(str(first), *(f"{name}, as {first}" for name in ("random", "central", "gaussian"))),
        *(str(second), *(f"{name}, as {second}" for name in ("random", "central", "gaussian"))),
    ]
    assert len(evaluate(first, first)) == 4
    rows = evaluate(first, root / "plus")
    assert [row["name"] for row in rows] == ["where", "random", "central", "gaussian", "plus"]


def test_pixels(tiny_run: tuple[Path, dict[str, Any]], evaluate: Evaluate) -> None:
    """Bundles of a quickstart: the recognizer reads the files, and says what the cache says."""
    run, results = tiny_run
    rows = evaluate(run / "policy", run / "policy_plus", "--pixels", "--no-fixed")
    by_name = {row["name"]: row for row in results["policies"]}
    for row, name in zip(rows, ("adafocus", "adafocus_plus"), strict=True):
        assert row["parity"]["prediction_agreement"] >= 1 - 1 / 120
        assert row["parity"]["max_abs_confidence_difference"] < 1e-3
        # Of 20 videos of 6 frames rounding may turn one.
        assert row["accuracy_by_step"] == pytest.approx(by_name[name]["accuracy_by_step"], abs=0.05)
        assert row["gmacs_per_video"] == pytest.approx(by_name[name]["gmacs_per_video"], rel=0.01)
        assert row["kept_share"] == pytest.approx(by_name[name]["kept_share"], abs=1 / 120)


def test_the_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    main(["evaluate", str(root / "where")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "accuracy (%) on 2 videos, after t frames; frames kept (%)"
    assert [line.split()[0] for line in lines[3:]] == ["where", "random", "central", "gaussian"]


def test_what_is_refused(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = root / "where"
    nowhere = tmp_path / "x"
    assert refused(capsys) == "give at least one run of `focusgym train`, or a policy bundle"
    assert refused(capsys, nowhere).startswith(f"{nowhere} is no trained policy: give a folder")
    assert refused(capsys, where, "--split=nope").startswith("split 'nope' has no videos in")
    assert refused(capsys, where, "--split=skipped") == (
        "--split skipped: these videos could not be read: choose another"
    )
    assert "--keep-ratio must be in (0, 1]" in refused(capsys, root / "plus", "--keep-ratio=0")
    assert "π′" in refused(capsys, where, "--keep-ratio=0.5")
    assert "--seed must be in 0" in refused(capsys, where, "--seed=-1")
    for name in ("cache", "classifier"):
        assert refused(capsys, where, f"--{name}={nowhere}") == (
            f"{where}: there is no {name} in {nowhere}: give --{name}, the one that the policy was "
            "trained with"
        )
    bundle = shutil.copytree(where / "policy", tmp_path / "alone" / "policy")
    assert "there is no cache in" in refused(capsys, bundle)
    unfinished = shutil.copytree(where, tmp_path / "unfinished")
    (unfinished / "results.json").unlink()
    assert refused(capsys, unfinished) == (
        f"{unfinished} is a run that is not finished: `focusgym train {unfinished} --resume` goes "
        "on"
    )
    config = unfinished / "config.yaml"
    config.write_text(config.read_text().replace("train:", "compare:"))
    assert "is a run of `focusgym compare`, not of `focusgym train`" in refused(capsys, unfinished)


def test_of_another_cache(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of one group or of two, the bundle is refused, with both fingerprints."""
    other = write_cache(tmp_path / "cache", seed=1)
    trained = find_trained(root / "where").cache.fingerprint
    for _ in range(2):
        message = refused(capsys, root / "where", f"--cache={other.root}")
        assert trained[:12] in message
        assert other.fingerprint[:12] in message
        add_group(other)


def test_augmented_copies_are_not_read_as_they_are(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = shutil.copytree(root / "cache", tmp_path / "cache")
    table = cache / "videos.csv"
    table.write_text(table.read_text().replace(",-1\n", ",0\n"))
    message = refused(capsys, root / "where", f"--cache={cache}", "--pixels", "--split=train")
    assert message == (
        f"--pixels: {cache} holds augmented copies of the split train, and the recognizer reads "
        "videos as they are: choose another --split"
    )


def test_finding_a_policy(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its run, from anywhere; by its bundle beside cache and f_C; by a group of several."""
    monkeypatch.chdir(root / "where")
    assert find_trained(Path(".")).name == "where"
    alone = shutil.copytree(root / "where" / "policy", tmp_path / "alone")
    for name in ("cache", "classifier"):
        shutil.copytree(root / name, tmp_path / name)
    add_group(FeatureCache.open(tmp_path / "cache"))
    trained = find_trained(alone)
    assert trained.cache.root == tmp_path / "cache"
    assert trained.cache.group.name == "p12_3x3"
    assert trained.policy.config.n_options == 9
    assert trained.engine.cache.n_classes == C
    weights = find_trained(root / "where").policy.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in trained.policy.state_dict().items())


def test_boxes(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "cache")
    assert find_boxes(cache, None) is None
    (tmp_path / "data").mkdir()
    header = "path,frame,left,top,right,bottom,visible,more\n"
    (tmp_path / "data" / "boxes.csv").write_text(header + "a.mp4,3,1,2,3,4,True,x\n")
    for boxes_path in (None, tmp_path / "data" / "boxes.csv"):
        boxes = find_boxes(cache, boxes_path)
        assert boxes is not None
        (row,) = boxes.to_dict("records")
        assert row["path"] == str(tmp_path / "data" / "a.mp4")
        assert (row["frame"], row["bottom"], row["visible"]) == (3, 4, True)
    wrong = tmp_path / "wrong.csv"
    for content in ("path,frame\na,1\n", ""):
        wrong.write_text(content)
        with pytest.raises(UsageError, match=r"--boxes .*wrong.csv is no table of boxes \(.*path"):
            find_boxes(cache, wrong)
    with pytest.raises(UsageError, match="is no table of boxes"):
        find_boxes(cache, tmp_path / "nowhere.csv")


def test_exits(root: Path, evaluate: Evaluate, capsys: pytest.CaptureFixture[str]) -> None:
    """Solved on val, reported on test; the rows beside are those of the whole videos."""
    shares = (0.5, 1.0)
    arguments = (root / "where", "--no-fixed", "--exit-measure=margin", "--exit-at", *shares)
    full_row, *rows = evaluate(*arguments)
    assert [row["name"] for row in rows] == [
        f"where {kind} at {share:g}" for share in shares for kind in ("exits", "random", "fixed")
    ]
    assert evaluate(root / "where", "--no-fixed") == [full_row]
    trained = find_trained(root / "where")
    cache = trained.cache
    logits, margins = {}, {}
    for split in ("val", "test"):
        videos = cache.split(split)
        plan = trained.agent.plan(trained.engine, videos)
        logits[split] = trained.engine.rollout(videos, plan.options, plan.attended)
        best = logits[split].double().softmax(-1).sort(-1).values
        margins[split] = (best[..., -1] - best[..., -2]).tolist()
    labels = cache.labels[cache.split("test")].tolist()
    frame = full_row["gmacs_per_video"] / 4
    for row in rows[::3]:
        thresholds = row["exits"]["thresholds"]
        exits = {
            split: [
                next((t for t in range(3) if video[t] >= thresholds[t]), 3)
                for video in margins[split]
            ]
            for split in ("val", "test")
        }
        share = float(row["name"].split()[-1])
        assert np.mean(exits["val"]) + 1 <= share * 4
        assert row["gmacs_per_video"] == pytest.approx(frame * (np.mean(exits["test"]) + 1))
        right = [
            int(logits["test"][n, step].argmax()) == labels[n]
            for n, step in enumerate(exits["test"])
        ]
        assert row["accuracy"] == np.mean(right)
        assert row["kept_share"] == pytest.approx((np.mean(exits["test"]) + 1) / 4)
    for row in rows[1:3]:
        half_a_frame = frame / 2 / len(labels)
        assert row["gmacs_per_video"] == pytest.approx(rows[0]["gmacs_per_video"], abs=half_a_frame)
    assert all(row["accuracy"] == full_row["accuracy"] for row in rows[3:])
    _, row, *_ = evaluate(root / "where", "--no-fixed", "--exit-at=0.6", "--exit-after=2")
    before, may_stop, later, _ = row["exits"]["thresholds"]
    assert before == later == NEVER > may_stop
    message = refused(capsys, root / "where", "--exit-at=0.6", "--exit-after", 2, 5)
    assert message == (
        "--exit-after 5: where predicts 4 times in a video: expected numbers in 1..4; give smaller "
        "ones"
    )
    message = refused(capsys, root / "where", "--exit-after=2")
    assert message == "--exit-after is for videos that stop: give --exit-at as well"
    assert refused(capsys, root / "where", "--exit-at=0.5", "--split=val") == (
        "--exit-at: thresholds are solved on the split val, and --split val would report what they "
        "were made for: choose another --split"
    )
    message = refused(capsys, root / "where", "--exit-at", 0.5, 1.5)
    assert message == "--exit-at must be in (0, 1], a share of the full cost; got 1.5"
    message = refused(capsys, root / "where", "--exit-at=0.2")
    assert message.startswith(
        "--exit-at 0.2: the first frame alone costs where 0.25 of a whole video: "
    )
