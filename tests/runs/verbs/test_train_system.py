"""The verb ``train`` with a system: what a run holds, what comes of an interruption, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3
from support import T, add_frames, write_cache, write_classifier

from focusgym.agents import SYSTEMS, LearnedSystem, find_system, play_task
from focusgym.agents.centers import CentersOnFeatures, read_centers
from focusgym.envs import FeatureSource
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import (
    PolicyConfig,
    build_policy,
    read_bundle,
    read_classifier,
    restore,
)
from focusgym.runs.cli import main
from focusgym.runs.configs.train import (
    LearnerConfig,
    PolicyTrainingConfig,
    SkipConfig,
    SystemConfig,
    TrainConfig,
)
from focusgym.runs.evaluation.trace import read_played
from focusgym.runs.training import system_training
from focusgym.runs.training.policy_run import learning_curve
from focusgym.runs.training.system_run import run_system

LEARNER = "{n_envs: 3, n_steps: 5, batch_size: 5, n_epochs: 2}"
LEARNED = [name for name in SYSTEMS if isinstance(find_system(name), LearnedSystem)]
OFF_POLICY = "{n_envs: 3, learning_starts: 12, batch_size: 5}"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds cache/ with patches and two sides of whole frames, and an f_C for each system."""
    groups: str | tuple[str, ...]
    folder = tmp_path_factory.mktemp("systems")
    frames = add_frames(write_cache(folder / "cache", n=20))
    for name in SYSTEMS:
        system = find_system(name)
        groups = frames if system.several_groups else "full32"
        if system.places == "patches":
            groups = "p12_3x3"
        cache = FeatureCache.open(folder / "cache", groups)
        kind = system.classifier
        how = {"aggregation": kind.aggregation, "reuse_glance": kind.reuse_glance}
        write_classifier(cache, folder / f"f_c_{name}", **how)
    return folder


def options(root: Path, name: str) -> tuple[str, ...]:
    return f"--system={name}", f"--cache={root}/cache", f"--classifier={root}/f_c_{name}"


def tiny(name: str) -> tuple[str, ...]:
    """Options of a short training of a system."""
    learner = OFF_POLICY if name.endswith("sac") else LEARNER
    return "--decisions=60", f"--learner={learner}"


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["train", *map(str, args)])
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.removeprefix("focusgym: ").strip()


@pytest.mark.parametrize("name", LEARNED)
def test_a_run(name: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its figures are those of its model, played again by its keywords."""
    out = tmp_path / "out"
    system = find_system(name)
    assert isinstance(system, LearnedSystem)
    setting = 0.5 if len(system.settings) > 1 else 1.0
    arguments = (f"--setting={setting}",) if len(system.settings) > 1 else ()
    main(["train", str(out), *options(root, name), *tiny(name), *arguments, "--json"])
    results = json.loads(capsys.readouterr().out)
    assert results == json.loads((out / "results.json").read_text())
    assert (results["system"], results["setting"]) == (name, setting)
    files = {path.name for path in out.iterdir()}
    files -= {".lock"}
    expected = {"checkpoint.safetensors", "config.yaml", "logs", "model.zip", "played.npz"}
    if name.endswith("sac"):  # an off-policy algorithm keeps no checkpoint
        expected.remove("checkpoint.safetensors")
    assert files == expected | {"results.json", "run.json"}

    groups = ("full32", "full16") if system.several_groups else ("full32",)
    if system.places == "patches":
        groups = ("p12_3x3",)
    cache = FeatureCache.open(root / "cache", groups)
    full = T * (0.3 + 1.5 * (32 / 12) ** 2)  # f_C's own is next to nothing
    knob: dict[str, Any] = {"price_per_gmac": 0.5 / full}
    if name == "ocsampler":
        knob = {"n_segments": 2}
    elif name == "listentolook_ppo":
        knob = {"n_decisions": 2}
    elif name.startswith("adafocus_v2"):
        knob = {"observation": "map"}
    elif name.startswith("adafocus_tsm"):
        centers = {"actions": "centers"} if name.endswith("gaussian") else {}
        knob = {"observation": "maps", **centers}
    elif name == "lite_eval":
        knob |= {"coarse": True, "skips": ()}
    elif name == "multi_agent":
        knob |= {"n_pointers": 2}
    elif name == "adafocus_v3_ppo":
        knob = {"price_per_gmac": 0.5 / (T * (0.3 + 1.5)), "n_decisions": 2, "observation": "maps"}
    keywords = {"cache": root / "cache", "classifier": root / f"f_c_{name}", "group": groups}
    model = getattr(stable_baselines3, system.learner.algorithm).load(out / "model.zip")
    played = play_task(model, f"focusgym/{system.task}-v0", **keywords, **knob)
    row = results["test"]
    assert (row["name"], row["n_videos"]) == ("out", len(cache.split("test")))
    assert row["accuracy"] == pytest.approx(played["correct"].mean())
    assert results["decisions"] == pytest.approx(played["decisions"].mean())
    # Without the model's own cost, which the keywords above do not say.
    assert row["gmacs_per_video"] == pytest.approx(played["gmacs"].mean(), rel=1e-3)
    did = read_played(out / "played.npz")
    np.testing.assert_array_equal(did.correct[:, -1], played["correct"])
    assert did.kept_share == pytest.approx(row["kept_share"])
    assert sum(results["usage"].values()) == pytest.approx(row["kept_share"])
    assert [*results["usage"]] == [*groups]
    assert sum(results["segments"]) / T == pytest.approx(row["kept_share"])
    read = np.arange(T + 1) @ results["read"] / len(played)
    assert read / T == pytest.approx(row["kept_share"])
    if name == "ocsampler":
        assert row["kept_share"] == 0.5
    curve = learning_curve(out)
    assert curve["steps"].tolist() == ([60] if name.endswith("sac") else [15, 30, 45, 60])
    assert curve["mean_return"].tolist() == results["mean_returns"]


@pytest.mark.parametrize(
    ("name", "segments"),
    [*((name, [0, 1, 2, 3]) for name in ("average", "gru", "tsn", "tsm")), ("uniform", [1, 3])],
)
def test_a_system_that_decides_nothing(
    name: str, segments: list[int], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    main(["train", str(out), *options(root, name)])
    printed = capsys.readouterr().out
    share = 100 * len(segments) / T
    assert f"of the segments of a video it reads full32 {share:.0f} %" in printed
    results = json.loads((out / "results.json").read_text())
    assert results["segments"] == [float(t in segments) for t in range(T)]
    assert not (out / "model.zip").exists()
    cost = results["test"]["gmacs_by_step"]
    each = 1.5 * (32 / 12) ** 2  # and f_C's own; f_G does not run
    assert cost[-1] == pytest.approx(len(segments) * each, rel=1e-3)
    assert cost[0] == pytest.approx(each, rel=1e-3)


SIZES = "--learner={conv_channels: 2, hidden: 5, epochs: 2, batch_size: 4, lr: 0.01}"


def test_a_system_trained_by_gradient(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its policy is kept as a bundle of the sizes that were asked for, and plays again."""
    out = tmp_path / "out"
    main(["train", str(out), *options(root, "adafocus_v2"), SIZES, "--json"])
    results = json.loads(capsys.readouterr().out)
    files = {path.name for path in out.iterdir()} - {".lock"}
    expected = {"config.yaml", "played.npz", "results.json", "run.json", "trained"}
    assert files == expected, "the checkpoint of a finished training is gone"
    cache = FeatureCache.open(root / "cache", "p12_3x3")
    source = FeatureSource(cache, read_classifier(root / "f_c_adafocus_v2"))
    bundle = read_bundle(out / "trained", "policy", cache.fingerprint)
    policy = restore(out / "trained", bundle, lambda sizes: build_policy(PolicyConfig(**sizes)))
    assert (policy.names_centers, policy.config.conv_channels, policy.config.hidden) == (True, 2, 5)
    trace = read_centers(source, cache.split("test"), policy)
    assert results["test"]["accuracy"] == pytest.approx(trace.correct.mean())
    assert results["test"]["gmacs_per_video"] == pytest.approx(trace.gmacs[:, -1].mean())
    assert results["usage"] == {"p12_3x3": 1.0}
    message = refused(capsys, tmp_path / "other", *options(root, "adafocus_v2"), "--decisions=9")
    assert "adafocus_v2 does not learn in an environment: leave out how many" in message
    (out / "trained" / "bundle.json").unlink()
    with pytest.raises(SystemExit):
        main(["evaluate", str(out)])
    message = capsys.readouterr().err
    assert f"{out}/trained, what adafocus_v2 has learned, is gone: put it back, or" in message


class _Stopped(Exception):
    pass


def test_going_on_with_a_training_by_gradient(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in its second epoch: the same results; a finished training is not done again."""

    def config(out: str, **more: Any) -> TrainConfig:
        return TrainConfig(
            tmp_path / out,
            PolicyTrainingConfig(),
            SkipConfig(),
            root / "cache",
            root / "f_c_adafocus_v2",
            method=SystemConfig("adafocus_v2"),
            learning=LearnerConfig(learner=SIZES.removeprefix("--learner=")),
            **more,
        )

    uninterrupted = run_system(config("whole"), 0)
    plain, calls = CentersOnFeatures.forward, 0

    def interrupted(stage: CentersOnFeatures, videos: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise _Stopped
        return plain(stage, videos)

    monkeypatch.setattr(CentersOnFeatures, "forward", interrupted)
    with pytest.raises(_Stopped):
        run_system(config("out"), 0)
    assert (tmp_path / "out" / "trained.safetensors").is_file()
    monkeypatch.setattr(CentersOnFeatures, "forward", plain)
    resumed = run_system(config("out", resume=True), 0)
    assert resumed.pop("test") == {**uninterrupted.pop("test"), "name": "out"}
    assert resumed == uninterrupted
    played = [(tmp_path / each / "played.npz").read_bytes() for each in ("out", "whole")]
    assert played[0] == played[1]
    (tmp_path / "out" / "results.json").unlink()
    monkeypatch.setattr(CentersOnFeatures, "forward", interrupted)
    assert run_system(config("out", resume=True), 0)["usage"] == uninterrupted["usage"]


@pytest.mark.parametrize("name", ["frameexit", "adaframe"])
def test_going_on(name: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after half of the training: the same results and the same played videos."""

    def config(out: str, **more: Any) -> TrainConfig:
        return TrainConfig(
            tmp_path / out,
            PolicyTrainingConfig(),
            SkipConfig(),
            root / "cache",
            root / f"f_c_{name}",
            method=SystemConfig(name),
            learning=LearnerConfig(60, LEARNER),
            **more,
        )

    uninterrupted = run_system(config("whole"), 0)
    train = system_training.train_system

    def stopped(made: Any, *args: Any) -> None:
        made.model.learn = interrupted(made.model.learn)
        train(made, *args)

    def interrupted(learn: Any) -> Any:
        def run(total: int, *args: Any, **how: Any) -> None:
            learn(total // 2, *args, **how)
            raise _Stopped

        return run

    monkeypatch.setattr(system_training, "train_system", stopped)
    with pytest.raises(_Stopped):
        run_system(config("out"), 0)
    assert not (tmp_path / "out" / "results.json").exists()
    monkeypatch.setattr(system_training, "train_system", train)
    resumed = run_system(config("out", resume=True), 0)
    assert resumed.pop("test") == {**uninterrupted.pop("test"), "name": "out"}
    assert resumed == uninterrupted
    played = [(tmp_path / each / "played.npz").read_bytes() for each in ("out", "whole")]
    assert played[0] == played[1]
    assert (
        run_system(config("out", resume=True), 0)["mean_returns"] == uninterrupted["mean_returns"]
    )


def test_no_episode_has_ended(root: Path, tmp_path: Path) -> None:
    """One decision in each environment: the run is finished, and its curve says so."""
    learner = "--learner={algorithm: A2C, n_envs: 3, n_steps: 1}"
    out = tmp_path / "out"
    main(["train", str(out), *options(root, "arnet"), "--decisions=3", learner])
    assert json.loads((out / "results.json").read_text())["mean_returns"] == [None]
    curve = learning_curve(out)
    assert curve["steps"].tolist() == [3]
    assert curve[["mean_return", "correct", "gmacs"]].isna().all(axis=None)


def test_what_is_refused(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is trained, and nothing is left behind."""
    out, exits = tmp_path / "out", options(root, "frameexit")
    cases: dict[tuple[object, ...], str] = {
        ("--setting=1",): "--setting, --price-per-gmac, --decisions, --learner: of systems: give",
        ("--system=nope",): "there is no system 'nope': the nearest names are ",
        (*exits, "--epochs=3"): "--epochs: of AdaFocus, and --system frameexit is another method",
        (*exits, "--reward=confidence"): "--reward: of AdaFocus, and",
        (*exits, "--setting=1", "--price-per-gmac=1"): "both say the price: give one of them",
        (*exits, "--learner=[1]"): "--learner '[1]': expected a mapping such as '{n_envs: 8",
        (*exits, "--learner={nope: 1}"): "PPO takes no such settings: ",
        (*exits, "--learner={ent_coef: much}"): "PPO: ent_coef must be a number; got 'much'",
        (*exits, "--learner={normalize_advantage: maybe}"): "must be true or false; got 'maybe'",
        (*exits, "--learner={policy: 'os:getcwd'}"): "policy must be a class derived from Stable",
        (*exits, "--decisions=0"): "--decisions must be an integer of at least 1; got 0",
        (*exits, "--learner={decisions: 0}"): "decisions must be an integer of at least 1; got 0",
        (*exits, "--learner={n_envs: 0}"): "n_envs must be an integer of at least 1; got 0",
        (*exits, "--learner={algorithm: PPPO}"): "algorithm PPPO: there is no such algorithm in St",
        (
            *exits,
            "--learner={algorithm: 'sb3_contrib:ARS'}",
        ): "must be an on-policy or off-policy",
        (*exits, "--learner={algorithm: FocusPPO}"): "FocusPPO takes no such settings: ",
        (*exits, "--learner={policy: 3}"): "policy must be a name; got 3",
        (*exits, "--price-per-gmac=-1"): "--price-per-gmac must be a number of at least 0; got",
        (*exits, "--group", "p12_3x3"): "--group p12_3x3: frameexit reads whole frames, and",
        (*exits, "--group", "full32", "full16"): "--group: frameexit reads one group, got full32 f",
        (*options(root, "arnet"), "--group", "full32"): "arnet reads several groups of whole fra",
        (*options(root, "ocsampler"), "--setting=2"): "a share of the segments in (0, 1]; got 2",
        (*options(root, "ocsampler"), "--price-per-gmac=1"): "ocsampler pays no price: leave it",
        (*options(root, "tsn"), "--setting=1"): "--setting: tsn trades nothing for cost: leave it",
        (
            *options(root, "tsn"),
            "--decisions=10",
        ): "tsn does not learn in an environment: leave out how many",
        ("--system=tsn", *exits[1:]): "is of the kind max_pool without glance vectors, and the f_C "
        "of tsn is average_logits without glance vectors: give --classifier, or train one: "
        f"`focusgym fit classifier classifier_tsn --cache {root}/cache --group full32 "
        "--aggregation average_logits --order video --no-reuse-glance`",
        (*exits[:2], f"--classifier={root}/nope"): f"there is no classifier in {root}/nope: give",
        (f"--cache={root}/cache", "--group", "full32", "full16"): "--group: AdaFocus looks at the ",
    }
    recurrent = "{algorithm: RecurrentPPO, policy: MultiInputLstmPolicy}"
    v2, sac = options(root, "adafocus_v2"), options(root, "adafocus_v2_sac")
    cases |= {
        (*v2, "--setting=1"): "--setting: adafocus_v2 trades nothing for cost: leave it",
        (*v2, "--learner={n_envs: 3}"): "adafocus_v2 has no setting 'n_envs'; expected some of co",
        (*v2, "--learner={lr: 0}"): "lr must be positive; got 0",
        (*v2, "--group", "full32"): "--group full32: adafocus_v2 reads patches, and",
        (*sac, "--learner={n_epochs: 3}"): "SAC takes no such settings: ",
        (*sac, "--learner={algorithm: DQN}"): "DQN takes no such settings: ",
        (*exits, f"--learner={recurrent}"): "checkpoints are of on-policy algorithms without a st",
        (*options(root, "ocsampler"), "--learner={use_sde: true}"): "use_sde: its noise is drawn",
    }
    for args, wanted in cases.items():
        assert wanted in refused(capsys, out, *args), args
        assert not out.exists()
    for name in ("no_frames", "run"):
        (tmp_path / name).mkdir()
    write_cache(tmp_path / "no_frames" / "cache")
    arguments = ("--system=tsn", f"--cache={tmp_path}/no_frames/cache")
    message = refused(capsys, out, *arguments)
    assert "tsn reads a group of whole frames, and there is none in" in message
    assert (
        "build a cache that has them: `focusgym cache build --group full:ENCODER:SIDE`" in message
    )


def test_adafocus_on_whole_frames(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a system it is AdaFocus that learns, which chooses among places."""
    read = (f"--cache={root}/cache", f"--classifier={root}/f_c_frameexit", "--group=full32")
    assert "has one: give a --group of patches" in refused(capsys, tmp_path / "out", *read)
    assert not (tmp_path / "out").exists()


def test_a_run_of_a_system_has_no_patches(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    main(["train", str(out), *options(root, "tsn")])
    with pytest.raises(SystemExit):
        main(["replay", str(tmp_path / "replay"), "--policy", str(out)])
    assert f"{out} is a run of the system tsn, which is not replayed" in capsys.readouterr().err
