"""What a policy did, and what is measured of it: against loops over the paper's formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, top_k_accuracy_score
from support import C, G, L, Literal, T

from focusgym.agents import OracleAgent, RandomAgent
from focusgym.envs import FeatureSource, FocusEngine, Plan
from focusgym.recognizer import FrameCost
from focusgym.runs.evaluation import trace as module
from focusgym.runs.evaluation.measures import gmacs_of, measures, print_measures
from focusgym.runs.evaluation.trace import Played, PlayedError, all_labels, play, read_played

K, HIDDEN = 9, 7
# As the cache says: f_G 0.3 on a frame, f_L 1.5 on a patch. By hand: a GRU of three gates, a head.
F_C = (3 * HIDDEN * (G + L + HIDDEN) + HIDDEN * C) / 1e9
POLICY = 0.2


class PlannedAgent:
    """An agent that does what it is told, and says what it is charged for."""

    def __init__(self, plan: Plan, runs_policy: bool = False) -> None:
        self.name, self.runs_policy, self.tries_all = "given", runs_policy, False
        self._plan = plan

    def plan(self, engine: FocusEngine, videos: NDArray[np.int64]) -> Plan:
        return self._plan


@pytest.fixture
def literal(tmp_path: Path) -> Literal:
    return Literal(tmp_path)


def played_by(literal: Literal, agent: Any) -> tuple[Played, torch.Tensor]:
    source = FeatureSource(literal.cache, literal.classifier)
    counted = source.frame_cost
    cost = FrameCost(counted.glance_gmacs, POLICY, counted.local_gmacs, counted.classifier_gmacs)
    return play(FocusEngine(source), agent, np.arange(10), cost)


@pytest.mark.parametrize("runs_policy", [False, True])
@pytest.mark.parametrize("chunk", [256, 3])
def test_a_loop_over_videos_and_frames(
    runs_policy: bool, chunk: int, literal: Literal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    rng = np.random.default_rng(0)
    options, attended = rng.integers(K, size=(10, T)), rng.random((10, T)) < 0.7
    named = attended.copy()
    named[1:] = True  # those of one video are not named where they are not looked at
    played, logits = played_by(literal, PlannedAgent(Plan(options, attended, named), runs_policy))
    assert logits.shape == (10, T, C)
    labels = literal.cache.videos["label"].to_numpy()
    for video in range(10):
        looks = [(int(o), int(b)) for o, b in zip(options[video], attended[video], strict=True)]
        spent = 0.0
        for t in range(T):
            p = literal.probabilities(video, looks[: t + 1])
            np.testing.assert_allclose(logits[video, t].softmax(-1), p, atol=1e-5)
            assert played.confidences[video, t] == pytest.approx(float(p[labels[video]]), abs=1e-5)
            assert played.predictions[video, t] == int(p.argmax())
            assert played.correct[video, t] == (int(p.argmax()) == labels[video])
            spent += 0.3 + F_C + POLICY * runs_policy + 1.5 * looks[t][1]
            assert played.gmacs[video, t] == pytest.approx(spent, rel=1e-12)
    assert played.names.tolist() == [f"{i}.mp4" for i in range(10)]
    assert played.labels.tolist() == labels.tolist()
    assert played.options.tolist() == np.where(named, options, -1).tolist()
    assert played.attended.tolist() == attended.tolist()
    assert played.kept_share == attended.sum() / options.size
    assert played.accuracy_by_step.tolist() == played.correct.mean(axis=0).tolist()
    assert gmacs_of(played) == {
        "gmacs_per_video": pytest.approx(played.gmacs[:, -1].mean()),
        "gmacs_by_step": pytest.approx(played.gmacs.mean(axis=0)),
    }


def test_the_oracle_is_charged_for_all_it_tries(literal: Literal) -> None:
    """K patches, K steps of f_C, no policy; and a random policy for one of each."""
    oracle, _ = played_by(literal, OracleAgent())
    random, _ = played_by(literal, RandomAgent(0))
    steps = np.arange(1, T + 1)
    for played, tries in ((oracle, K), (random, 1)):
        wanted = steps * (0.3 + tries * (F_C + 1.5))
        np.testing.assert_allclose(played.gmacs, np.broadcast_to(wanted, (10, T)), rtol=1e-12)
    for video in range(10):  # greedy: no other first look is better
        confidences = [literal.confidence(video, [(option, 1)]) for option in range(K)]
        assert oracle.confidences[video, 0] == pytest.approx(max(confidences), abs=1e-5)


def test_videos_with_several_labels(tmp_path: Path) -> None:
    """A prediction of any of them is right, and the confidence is their mean."""
    several = [[i % C] if i % 2 else [i % C, (i + 1) % C] for i in range(10)]
    literal = Literal(tmp_path, all_labels=several)
    played, logits = played_by(literal, RandomAgent(1))
    labels = all_labels(literal.cache, np.arange(10))
    assert labels.tolist() == [[k in own for k in range(C)] for own in several]
    odd = np.arange(1, 10, 2)
    assert all_labels(literal.cache, odd).tolist() == (odd % C).tolist()
    row = measures("x", logits, labels, played.attended)
    for t in range(T):
        wanted = np.mean([played.predictions[i, t] in own for i, own in enumerate(several)])
        assert row["accuracy_by_step"][t] == pytest.approx(wanted)
        assert played.accuracy_by_step[t] == pytest.approx(wanted)
        means = [logits[i, t].softmax(-1)[own].mean() for i, own in enumerate(several)]
        np.testing.assert_allclose(played.confidences[:, t], means, rtol=1e-5)


def test_measures_are_those_of_sklearn() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 3, 8), torch.arange(50) % 8
    attended = np.random.default_rng(0).random((50, 3)) < 0.3
    row = measures("name", logits, labels, attended)
    assert (row["name"], row["n_videos"]) == ("name", 50)
    assert row["kept_share"] == pytest.approx(attended.sum() / 150)
    for t in range(3):
        scores = logits[:, t].numpy()
        for name, k in (("accuracy_by_step", 1), ("top5_by_step", 5)):
            wanted = top_k_accuracy_score(labels, scores, k=k, labels=range(8))
            assert row[name][t] == pytest.approx(wanted)
        probabilities = logits[:, t].softmax(-1).numpy()
        wanted = average_precision_score(np.eye(8)[labels], probabilities, average="macro")
        assert row["map_by_step"][t] == pytest.approx(wanted)
    assert row["accuracy"] == row["accuracy_by_step"][-1]
    # Wilson's interval as a formula: the centre is drawn to one half.
    p, z = row["accuracy"], 1.959963984540054
    centre = (p + z**2 / 100) / (1 + z**2 / 50)
    half = z / (1 + z**2 / 50) * np.sqrt(p * (1 - p) / 50 + z**2 / (4 * 50**2))
    assert row["accuracy_interval"] == pytest.approx([centre - half, centre + half])


def test_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits and names are not cut off where the terminal is narrow; of many steps some."""
    monkeypatch.setenv("COLUMNS", "30")
    row = {
        "name": "a rather long [name]",
        "n_videos": 40,
        "accuracy_by_step": [i / 20 for i in range(1, 17)],
        "accuracy_interval": [0.6543, 0.8767],
        "kept_share": 0.504,
        "glances": 0,
        "gmacs_per_video": 26.58123,
    }
    print_measures([row])
    title, heads, _, cells, *left_out = capsys.readouterr().out.splitlines()
    assert left_out == ["6 of 16 frames are shown; the mean is over all, and --json prints all"]
    assert title.strip() == "accuracy (%) on 40 videos, after t frames; frames kept (%)"
    shown = [1, 4, 7, 10, 13, 16]
    assert heads.split() == [
        "policy",
        *(f"t={t}" for t in shown),
        "95",
        "%",
        "mean",
        "kept",
        "GMACs",
    ]
    wanted = [*(f"{5 * t:.1f}" for t in shown), "65.4–87.7", "42.5", "50", "26.58"]
    assert cells.split() == ["a", "rather", "long", "[name]", *wanted]


def test_the_file(literal: Literal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played, _ = played_by(literal, RandomAgent(0))
    path = tmp_path / "played.npz"
    played.write(path)
    again = read_played(path)
    for name, dtype in (
        *(("labels", np.int64), ("predictions", np.int64), ("confidences", np.float32)),
        *(("options", np.int64), ("attended", np.bool_), ("gmacs", np.float64)),
    ):
        assert getattr(again, name).dtype == getattr(played, name).dtype == dtype
        np.testing.assert_array_equal(getattr(again, name), getattr(played, name))
    assert again.names.tolist() == played.names.tolist()
    before = path.read_bytes()
    played.write(path)
    assert path.read_bytes() == before  # no clock in it
    monkeypatch.setattr(np, "savez_compressed", lambda file, **arrays: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        played.write(path)
    assert path.read_bytes() == before
    other = tmp_path / "other.npz"
    np.save(tmp_path / "array.npy", np.zeros(3))
    contents = {
        "half": before[: len(before) // 2],
        "damaged": before[:200] + bytes(100) + before[300:],
        "text": b"text",
        "empty": b"",
        "array": (tmp_path / "array.npy").read_bytes(),
    }
    for name, content in contents.items():
        other.write_bytes(content)
        with pytest.raises(PlayedError) as caught:
            read_played(other)
        message = str(caught.value)
        assert message.startswith(f"{other} is not readable as what a policy did ("), name
        assert message.endswith("): evaluate the run again")
    arrays = vars(played)
    np.savez(other, **{"looked" if name == "attended" else name: arrays[name] for name in arrays})
    with pytest.raises(PlayedError, match="attended"):
        read_played(other)
    for change, wanted in (
        ({"gmacs": np.full_like(played.gmacs, np.nan)}, "gmacs has values that are no finite"),
        ({"gmacs": played.gmacs - 1000}, "gmacs has values that are no finite numbers of at leas"),
        ({"confidences": played.confidences + 1}, "confidences has values above 1"),
        ({"labels": played.labels - 100}, "labels has values that are no finite numbers of at l"),
        ({"options": played.options - 100}, "options has values that are no finite numbers of a"),
        ({name: arrays[name][:0] for name in module._ARRAYS}, "there are no videos"),
        (
            {n: arrays[n][:, :0] for n in module._ARRAYS if arrays[n].ndim == 2},
            "there are no videos, steps",
        ),
        ({"precision": 1.5}, r"precision must be a number in \[0, 1\]"),
    ):
        np.savez(other, **{**arrays, **change})
        with pytest.raises(PlayedError, match=wanted):
            read_played(other)
    np.savez(other, **{**arrays, "names": np.zeros(len(played.names))})
    with pytest.raises(PlayedError, match="names has values of float64"):
        read_played(other)
    with pytest.raises(PlayedError, match="No such file"):
        read_played(tmp_path / "nowhere.npz")
