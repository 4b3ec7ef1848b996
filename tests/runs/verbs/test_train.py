"""The verb ``train``: what a run holds, what comes of an interruption, what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from kills import report_of
from support import C, G, L, T, add_group, write_cache
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from focusgym.agents import PlusTraining, PPOConfig, read_policy, train_policy
from focusgym.envs import make_sb3
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import ClassifierConfig, GruClassifier, build_classifier, write_bundle
from focusgym.runs.cli import main
from focusgym.runs.configs.train import PolicyTrainingConfig, SkipConfig, TrainConfig
from focusgym.runs.evaluation.trace import read_played
from focusgym.runs.folders.atomic import OutputError
from focusgym.runs.options.ppo import sized, usual_hidden
from focusgym.runs.options.presets import read_preset
from focusgym.runs.training.policy_run import learning_curve, run_training, with_sizes

SMALL = ("--n-envs=6", "--minibatch=3", "--conv-channels=2", "--hidden=6", "--epochs=4")
SETTINGS = PPOConfig(4, n_envs=6, minibatch=3, conv_channels=2, hidden=6)
POLICY = PolicyTrainingConfig(4, n_envs=6, minibatch=3, conv_channels=2, hidden=6)


@pytest.fixture
def root(tmp_path: Path, classifier_path: Path) -> Path:
    """Holds cache/ and classifier/; what tests write goes elsewhere."""
    assert classifier_path.parent == tmp_path
    return tmp_path


def options(root: Path) -> tuple[str, ...]:
    return (f"--cache={root}/cache", f"--classifier={root}/classifier", *SMALL)


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["train", *map(str, args)])
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("focusgym: ").strip()


@pytest.mark.parametrize("plus", [False, True])
def test_a_run(plus: bool, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What its files say is what the room below gives, and what the environment counts."""
    out = root / "out"
    more = ("--plus", "--keep-ratio=0.3", "--penalty-per-gmac=0.1") if plus else ()
    main(["train", str(out), *options(root), "--seed=2", "--json", *more])
    printed = json.loads(capsys.readouterr().out)
    results = json.loads((out / "results.json").read_text())
    assert printed == results
    config = SETTINGS
    if plus:
        config = replace(config, plus=PlusTraining(penalty={"per_gmac": 0.1}, keep_ratio=0.3))
    policy, returns = train_policy(root / "cache", root / "classifier", config, seed=2)
    cache = FeatureCache.open(root / "cache")
    kept = read_policy(out / "policy", cache.fingerprint)
    assert kept.config == policy.config
    assert all(torch.equal(v, kept.state_dict()[k]) for k, v in policy.state_dict().items())
    assert results["mean_returns"] == returns
    assert results["threshold"] == policy.config.threshold
    assert (results["threshold"] is None) != plus

    played, test = read_played(out / "played.npz"), cache.split("test")
    assert played.names.tolist() == cache.videos["name"][test].tolist()
    row = results["test"]
    assert (row["name"], row["n_videos"]) == ("out", len(test))
    right = played.predictions == cache.labels[test].numpy()[:, None]
    assert row["accuracy_by_step"] == right.mean(axis=0).tolist()
    assert row["kept_share"] == played.attended.mean()
    # The same episodes in the environment, which charges as it goes.
    env = make_sb3(
        f"focusgym/AdaFocus{'Plus' if plus else ''}-v0",
        len(test),
        cache=root / "cache",
        classifier=root / "classifier",
        split="test",
        observation="index",
        policy_gmacs=_policy_gmacs(out, root),
    )
    order = [test.tolist().index(int(video)) for video in env.reset()["video"].ravel()]
    assert sorted(order) == list(range(len(test)))
    for t in range(T):
        chosen, attended = played.options[order, t], played.attended[order, t]
        actions = np.stack([chosen, attended], axis=1) if plus else chosen
        infos = env.step(actions)[3]
        for name in ("gmacs", "confidence"):
            charged = [info[name] for info in infos]
            wanted = {"gmacs": played.gmacs, "confidence": played.confidences}[name][order, t]
            np.testing.assert_allclose(charged, wanted, rtol=1e-5, atol=1e-6)


def _policy_gmacs(out: Path, root: Path) -> float:
    """π by hand: a 1×1 convolution, a linear layer, a GRU, the actor; π′ likewise, one logit."""
    config = read_policy(out / "policy").config
    h, w, channels, hidden = 3, 3, config.conv_channels, config.hidden

    def network(outputs: int) -> int:
        trunk = h * w * G * channels + h * w * channels * hidden + 2 * 3 * hidden * hidden
        return trunk + hidden * outputs

    total = network(config.n_options)
    if config.threshold is not None:
        total += network(1)
    return total / 1e9


def test_the_logs(root: Path) -> None:
    config = TrainConfig(root / "out", POLICY, SkipConfig(), root / "cache", root / "classifier")
    results = run_training(config)
    curve = learning_curve(config.out)
    assert curve.columns.tolist() == ["steps", "mean_return", "correct", "gmacs"]
    assert curve["steps"].tolist() == [6 * T * i for i in (1, 2, 3, 4)]
    np.testing.assert_allclose(curve["mean_return"], results["mean_returns"], rtol=1e-6)
    right = curve["correct"] * 6  # of six episodes
    assert (right - right.round()).abs().max() < 1e-9
    np.testing.assert_allclose(curve["gmacs"], results["test"]["gmacs_per_video"])
    events = EventAccumulator(str(config.out / "logs" / "1")).Reload()
    logged = [each.value for each in events.Scalars("rollout/ep_rew_mean")]
    np.testing.assert_allclose(logged, curve["mean_return"], rtol=1e-6)


def test_what_is_not_given_goes_with_the_classifier(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """f_C lies beside the cache; π is as wide as its GRU, which here has 7 units."""
    short = ("--n-envs=6", "--minibatch=3", "--epochs=1")
    monkeypatch.chdir(root / "cache")
    main(["train", "../out", "--cache=.", *short])
    message = capsys.readouterr().err
    assert "focusgym: --hidden 7 --conv-channels 1, which goes with the width of f_C" in message
    stored = yaml.safe_load((root / "out" / "config.yaml").read_text())["train"]
    assert (stored["hidden"], stored["conv-channels"]) == (7, 1)
    assert stored["classifier"] == str(root / "classifier")
    kept = read_policy(root / "out" / "policy").config
    assert (kept.hidden, kept.conv_channels) == (7, 1)
    main(["train", "../some", "--cache=.", *short, "--hidden=5", "--conv-channels=2"])
    assert "which goes with" not in capsys.readouterr().err
    shutil.move(root / "classifier", root / "elsewhere")
    assert refused(capsys, "../other", "--cache=.") == (
        f"there is no classifier in {root}/classifier: give --classifier, or train one: `focusgym "
        f"fit classifier {root}/classifier --cache {root}/cache`"
    )
    config = TrainConfig(root / "out", PolicyTrainingConfig(), SkipConfig(), root / "cache")
    assert with_sizes(replace(config, policy=POLICY)).policy == POLICY, "no f_C is read for that"


class OwnGru(GruClassifier):
    """A kind of one's own."""


@pytest.mark.parametrize("name", ["digits", "clips", "activitynet"])
def test_presets_have_the_sizes_that_go_with_their_classifier(name: str) -> None:
    preset = read_preset(name)
    channels = {"digits": (32, 64), "clips": (1280, 1280), "activitynet": (1280, 2048)}[name]
    hidden = preset["compare"]["fit-hidden"]
    f_c = ClassifierConfig(*channels, 10, hidden)
    sizes = sized(PolicyTrainingConfig(), build_classifier(f_c))
    expected = preset["train"]["hidden"], preset["train"]["conv-channels"]
    assert (sizes.hidden, sizes.conv_channels) == expected
    if name != "clips":  # of few videos
        assert usual_hidden(*channels) == hidden
        for pooling in ("average", "average_logits", "max_pool"):
            other = build_classifier(replace(f_c, hidden=3, aggregation=pooling))
            assert sized(PolicyTrainingConfig(), other) == sizes
    assert sized(PolicyTrainingConfig(), OwnGru(replace(f_c, hidden=24))).hidden == 24


def test_killed_at_its_steps(root: Path) -> None:
    """Final weights, what was played, results and the learning curve: the same bytes."""
    report = report_of(Path(__file__).with_name("killed_runs.py"), root)
    at_checkpoint, in_its_write, *later = report["plus"]
    begun = {".lock", "checkpoint.safetensors", "config.yaml", "logs", "run.json"}
    assert set(at_checkpoint) == begun
    assert set(in_its_write) == {*begun, "checkpoint.safetensors.partial"}
    assert ["policy" in files for files in later] == [False, False, True]
    assert ["played.npz" in files for files in later] == [False, False, True]
    assert not any("results.json" in files for files in later)


def test_going_on_and_what_is_finished(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = root / "out"
    main(["train", str(out), *options(root), "--seed=1", "--json"])
    results = json.loads(capsys.readouterr().out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    main(["train", str(out), "--resume", "--json"])
    assert json.loads(capsys.readouterr().out) == results
    shutil.move(root / "cache", root / "moved")  # not even read
    main(["train", str(out), "--resume"])
    assert "out" in capsys.readouterr().out
    shutil.move(root / "moved", root / "cache")
    message = refused(capsys, out, "--resume", "--seed=2", "--lr=0.5")
    assert message == (
        f"{out} was begun with other settings (lr was 0.001, is 0.5; seed was 1, is 2): go on "
        "with those it was begun with, or give another folder"
    )
    message = refused(capsys, out, *options(root))
    assert message.startswith(f"{out} exists: nothing was touched; --resume goes on")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    (out / "results.json").write_text("{")
    assert "results.json is damaged" in refused(capsys, out, "--resume")
    # As a kill left it that came after the training.
    (out / "results.json").unlink()
    shutil.rmtree(out / "logs" / "1")
    (out / "logs" / "2").mkdir()
    (out / "logs" / "2" / "kept").touch()
    main(["train", str(out), "--resume", "--json"])
    assert json.loads(capsys.readouterr().out) == results
    assert (out / "logs" / "2" / "kept").exists()
    assert (out / "logs" / "3" / "progress.csv").exists()
    with pytest.raises(OutputError, match="has no logs: train it again"):
        learning_curve(out)  # nothing was left to train


def test_settings_of_an_older_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = root / "out"
    main(["train", str(out), *options(root)])
    (out / "results.json").unlink()
    config = out / "config.yaml"
    config.write_text(config.read_text() + "  gone: 3\n")
    message = refused(capsys, out, "--resume")
    assert message == (
        f"{config}: train has no option 'gone': remove it, or `focusgym train --help` tells which "
        "there are"
    )


def test_the_same_run_again(root: Path) -> None:
    main(["train", str(root / "a"), *options(root), "--seed=3", "--plus"])
    main(["train", str(root / "b"), "--preset", str(root / "a" / "config.yaml")])
    for file in ("played.npz", "policy/weights.safetensors"):
        assert (root / "a" / file).read_bytes() == (root / "b" / file).read_bytes()
    main(["train", str(root / "c"), "--preset", str(root / "a" / "config.yaml"), "--seed=4"])
    weights = [root / each / "policy" / "weights.safetensors" for each in "ac"]
    assert weights[0].read_bytes() != weights[1].read_bytes()


def test_a_learning_curve_of_parts(tmp_path: Path) -> None:
    """Each rollout once; a line, or a file, that a kill left unfinished does not count."""
    header = "time/total_timesteps,rollout/gmacs,rollout/correct,rollout/ep_rew_mean"
    more = "train/loss,rollout/correct,time/total_timesteps,rollout/ep_rew_mean,rollout/gmacs"
    parts = {
        1: f"{header}\n24,0.5,0.25,1.5\n48,0.5,0.5,2.5\n7",
        2: "",
        3: f"{header}\n48,0.5,0.5,2.5\n72,0.5,0.75,3.5\n96,0.5,0.7",
        10: f"{more}\n,1.0,96,4.5,0.5\n9.0,0.5,120,5.5,0.5\n",
        11: header[:20],
    }
    for number, text in parts.items():
        (tmp_path / "logs" / str(number)).mkdir(parents=True)
        (tmp_path / "logs" / str(number) / "progress.csv").write_text(text)
    wanted = pd.DataFrame(
        {
            "steps": [24, 48, 72, 96, 120],
            "mean_return": [1.5, 2.5, 3.5, 4.5, 5.5],
            "correct": [0.25, 0.5, 0.75, 1.0, 0.5],
            "gmacs": [0.5] * 5,
        }
    )
    pd.testing.assert_frame_equal(learning_curve(tmp_path), wanted)


WRONG = {
    "--n-envs=0": "--n-envs must be an integer of at least 1; got 0",
    "--epochs=0": "--epochs must be an integer of at least 1; got 0",
    "--update-epochs=0": "--update-epochs must be an integer of at least 1; got 0",
    "--hidden=0": "--hidden must be an integer of at least 1; got 0",
    "--threads=0": "--threads must be in 1..",
    "--threads=1000000": "--threads must be in 1..",
    "--validations=-1": "--validations must be an integer of at least 0; got -1",
    "--lr=0": "--lr must be a positive number; got 0.0",
    "--lr=nan": "--lr must be a positive number; got nan",
    "--lr=inf": "--lr must be a positive number; got inf",
    "--clip-range=0": "--clip-range must be a positive number; got 0.0",
    "--gamma=1.1": "--gamma must be in [0, 1]; got 1.1",
    "--gae-lambda=-1": "--gae-lambda must be in [0, 1]; got -1.0",
    "--ent-coef=-1": "--ent-coef must be a number of at least 0; got -1.0",
    "--max-grad-norm=0": "--max-grad-norm must be a positive number, or inf; got 0.0",
    "--keep-from=1": "--keep-from must be in [0, 1); got 1.0",
    "--keep-ratio=0": "--keep-ratio must be in (0, 1], a share of the frames; got 0.0",
    "--target-gmacs=0": "--target-gmacs must be a positive number; got 0.0",
    "--penalty-per-px2=-1": "--penalty-per-px2 must be a number of at least 0; got -1.0",
    "--penalty-per-px2=1 --penalty-per-gmac=1": "give one of them; where a preset gives the other",
    "--minibatch=4": "minibatch must divide n_envs; got epochs=4, minibatch=4, n_envs=6",
    "--normalize=returns": "normalize_returns wants gae_lambda=1",
    "--plus --target-gmacs=99": "target_gmacs must be between",
    "--reward=nope": "reward must be one of increment_over_random",
    "--reward=no_module:Nope": "got 'no_module:Nope' (No module named 'no_module')",
    "--reward={name: confidence, k: 1}": "reward 'confidence' does not take {'k': 1}",
    "--reward=[1": "--reward '[1': expected a name, or a mapping such as",
    "--reward={name: x, at: 2020-99-01}": "expected a name, or a mapping such as",
    "--seed=-1": "--seed must be in 0..4294967295; got -1",
    "--cache=nowhere": "nowhere is not a complete feature cache",
    "--classifier=nowhere": "/nowhere: give --classifier, or train one: `focusgym fit classifier ",
    "--group=x": "holds no option group 'x': choose one of ['p12_3x3']",
}


def test_what_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, before anything is written."""
    before = {path.name for path in root.iterdir()}
    for wrong, message in WRONG.items():
        args = [wrong] if wrong.startswith("--reward") else wrong.split()
        assert message in refused(capsys, root / "out", *options(root), *args), wrong
    assert "is no run of `focusgym train`" in refused(capsys, root / "out", "--resume")
    assert "is no run of `focusgym train`" in refused(capsys, root / "cache", "--resume")
    assert {path.name for path in root.iterdir()} == before


def test_a_classifier_of_another_cache(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_cache(root / "other", seed=1)
    message = refused(capsys, root / "out", *options(root), f"--cache={other.root}")
    assert f"than {other.root} (fingerprint {other.fingerprint[:12]}…)" in message
    group = add_group(other)
    message = refused(capsys, root / "out", *options(root), f"--cache={other.root}")
    assert f"holds 2 option groups: say which of ['p12_3x3', '{group}']" in message
    assert not (root / "out").exists()


@pytest.mark.parametrize("split", ["train", "test", "val"])
def test_a_split_that_is_empty(split: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = root / "cache" / "videos.csv"
    other = "val" if split == "train" else "train"
    table.write_text(table.read_text().replace(f",{split},", f",{other},"))
    args = [root / "out", *options(root), "--validations=1"]
    assert f"split '{split}' has no videos in {root}/cache" in refused(capsys, *args)
    assert not (root / "out").exists()
    if split == "val":  # needed for validations alone
        main(["train", *map(str, args[:-1])])


def test_an_interruption_says_how_to_go_on(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    def interrupted(where: str, out: Path) -> str:
        monkeypatch.setattr(f"focusgym.runs.training.policy_run.{where}", stop)
        with pytest.raises(SystemExit) as caught:
            main(["train", str(out), *options(root)])
        monkeypatch.undo()
        assert caught.value.code == 130
        return capsys.readouterr().err.splitlines()[-1]

    assert "the same command goes on" in interrupted("make_model", root / "a")
    out = root / "b"
    message = interrupted("play", out)
    assert message == f"focusgym: interrupted; `focusgym train {out} --resume` goes on with it"
    main(["train", str(out), "--resume"])
    assert (out / "results.json").is_file()


def test_a_reward_of_ones_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside where the command is typed, which Python does not look at by itself."""
    (root / "its_rewards.py").write_text(
        "def gain(p):\n    return 2 * p.chosen\ngain.draws, gain.compares_skip = 0, False\n"
    )
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each not in ("", ".")])
    returns = []
    for reward in ("its_rewards:gain", "confidence"):
        out = reward.replace(":", "_")
        main(["train", out, *options(root), f"--reward={reward}", "--lr=1e-9"])
        results = json.loads((root / out / "results.json").read_text())
        returns.append(np.array(results["mean_returns"]))
    np.testing.assert_allclose(returns[0], 2 * returns[1], rtol=1e-4)
    assert sys.path.count("") == 1


def test_of_several_groups(root: Path) -> None:
    cache = FeatureCache.open(root / "cache")
    group = add_group(cache)
    fingerprint = FeatureCache.open(cache.root, group).fingerprint
    torch.manual_seed(0)
    network = GruClassifier(ClassifierConfig(G, L, C, hidden=7)).eval()
    write_bundle(root / "other", "classifier", network.config, network, fingerprint)
    args = [*options(root), f"--classifier={root}/other", f"--group={group}"]
    main(["train", str(root / "out"), *args])
    assert read_policy(root / "out" / "policy", fingerprint).config.n_options == 4
