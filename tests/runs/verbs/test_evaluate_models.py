"""The verb ``evaluate`` on models of Stable-Baselines3: the figures of stepping them by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from support import GRID, SIDE, C, G, L, Literal, T, add_group

from focusgym.agents import GlanceGruExtractor
from focusgym.envs import make_sb3
from focusgym.runs.cli import main

K = GRID**2
LOCAL, OTHERS = 1.5, 0.3 + (3 * 7 * (G + L + 7) + 7 * C) / 1e9  # of `write_cache`; f_G, and f_C
GLANCE = SIDE * SIDE * G
MODELS: dict[str, tuple[type[BaseAlgorithm], str, dict[str, Any]]] = {
    "ppo": (PPO, "focusgym/AdaFocus-v0", {}),
    "recurrent": (RecurrentPPO, "focusgym/AdaFocus-v0", {}),
    "dqn": (DQN, "focusgym/AdaFocusPlus-v0", {"action_set": "flat"}),
    "a2c": (A2C, "focusgym/AdaFocusPlus-v0", {}),
    "gru": (PPO, "focusgym/AdaFocus-v0", {"observation": "index"}),
}
# Multiply-adds of a decision: layers of 8 units, heads; four gates of the LSTM's 6 units.
MACS = {
    "ppo": GLANCE * 8 + 8 * K,
    "recurrent": 4 * 6 * (GLANCE + 6) + 6 * 8 + 8 * K,
    "dqn": GLANCE * 8 + 8 * (K + 1),
    "a2c": GLANCE * 8 + 8 * (K + 2),
    # 1×1 convolution to 2 channels, the linear layer to 6 units, three gates of the GRU.
    "gru": SIDE * SIDE * G * 2 + SIDE * SIDE * 2 * 6 + 3 * 6 * 12 + 6 * 8 + 8 * K,
}


class Own(PPO):
    """An algorithm of the user's own."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that were saved beside the cache and the classifier."""
    root = tmp_path_factory.mktemp("models")
    literal = Literal(root)
    for name, (algorithm, env_id, config) in MODELS.items():
        env = make_sb3(env_id, 2, **literal.files, **config)
        kwargs: dict[str, Any] = {"net_arch": [8]}
        if name == "recurrent":
            kwargs |= {"lstm_hidden_size": 6}
        if name == "gru":
            sizes = {"cache": literal.cache, "conv_channels": 2, "hidden": 6}
            kwargs |= {"features_extractor_class": GlanceGruExtractor}
            kwargs |= {"features_extractor_kwargs": sizes}
        policy = {"recurrent": "MlpLstmPolicy", "gru": "MultiInputPolicy"}.get(name, "MlpPolicy")
        learning = {"n_steps": T} if algorithm is not DQN else {"learning_starts": 4}
        batch = {"batch_size": 2 * T} if algorithm in (PPO, RecurrentPPO) else {}
        model = algorithm(policy, env, policy_kwargs=kwargs, seed=0, **learning, **batch)
        model.learn(2 * T)
        model.save(root / f"{name}.zip")
    return root


def evaluate(capsys: pytest.CaptureFixture[str], *args: object) -> list[dict[str, Any]]:
    capsys.readouterr()
    main(["evaluate", *map(str, args), "--json"])
    return list(json.loads(capsys.readouterr().out)["policies"])


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *map(str, args)])
    assert caught.value.code == 2
    return " ".join(capsys.readouterr().err.split()).removeprefix("focusgym: ")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_the_figures_of_its_episodes(
    root: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    algorithm, env_id, config = MODELS[name]
    row, random, *_ = evaluate(
        capsys, root / f"{name}.zip", f"--algorithm={algorithm.__name__}", "--split=train"
    )
    model = algorithm.load(root / f"{name}.zip")
    files = {"cache": root / "cache", "classifier": root / "classifier"}
    env = make_sb3(env_id, 6, order="listed", **files, **config)
    observations, state, correct, looks = env.reset(), None, [], 0
    for t in range(T):
        starts = np.full(6, t == 0)
        actions, state = model.predict(observations, state, starts, deterministic=True)
        observations, _, _, infos = env.step(actions)
        correct.append(np.mean([info["correct"] for info in infos]))
        looks += sum(info.get("attended", True) for info in infos)
    assert row["name"] == name
    assert row["accuracy_by_step"] == pytest.approx(correct)
    low, high = row["accuracy_interval"]
    assert low <= row["accuracy"] <= high
    assert len(row["map_by_step"]) == T
    assert row["kept_share"] == pytest.approx(looks / (6 * T))
    expected = T * (OTHERS + MACS[name] / 1e9) + looks / 6 * LOCAL
    assert row["gmacs_per_video"] == pytest.approx(expected, rel=1e-9)
    assert random["name"] == "random"
    assert random["gmacs_per_video"] == pytest.approx(T * (OTHERS + LOCAL), rel=1e-9)


def test_the_table_and_algorithms_by_their_names(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    main(["evaluate", str(root / "ppo.zip"), f"--algorithm={__name__}:Own"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "accuracy (%) on 2 videos, after t frames; frames kept (%)"
    assert [line.split()[0] for line in lines[3:]] == ["ppo", "random", "central", "gaussian"]


def test_what_is_refused(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ppo = root / "ppo.zip"
    message = refused(capsys, ppo)
    assert message.startswith(
        f"{ppo} does not say which algorithm saved it: give --algorithm, such as"
    )
    message = refused(capsys, ppo, "--algorithm=PPPO")
    assert (
        "no such algorithm in Stable-Baselines3, sb3-contrib (if installed) or focusgym" in message
    )
    assert all(name in message for name in ("DQN", "RecurrentPPO", "FocusPPO", "module:attribute"))
    assert "No module named 'nowhere'" in refused(capsys, ppo, "--algorithm=nowhere:PPO")
    message = refused(capsys, ppo, "--algorithm=DQN")
    assert message.startswith(f"{ppo} cannot be opened as a model of DQN (")
    assert message.endswith("and install what its policy is made of")
    assert "is not there" in refused(capsys, root / "nowhere.zip", "--algorithm=PPO")
    (tmp_path / "text.zip").write_text("text")
    files = (f"--cache={root / 'cache'}", f"--classifier={root / 'classifier'}")
    message = refused(capsys, tmp_path / "text.zip", "--algorithm=PPO", *files)
    assert "cannot be opened as a model of PPO (" in message
    for option in ("--pixels", "--keep-ratio=0.5"):
        message = refused(capsys, ppo, "--algorithm=PPO", option)
        assert f"{option.partition('=')[0]}: {ppo} is a model of Stable-Baselines3" in message
    for option in ("--algorithm=PPO", "--group=p12_3x3"):
        assert "it is of zip files, and none is given" in refused(capsys, root, option)
    message = refused(capsys, ppo, "--algorithm=PPO", f"--cache={tmp_path / 'x'}")
    assert f"{ppo}: there is no cache in {tmp_path / 'x'}: give --cache" in message


def test_of_another_cache(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By what it sees and does; and where it reads a cache itself, by that one's fingerprint."""
    other = Literal(tmp_path, seed=1)
    arguments = (
        "--algorithm=PPO",
        f"--cache={tmp_path}/cache",
        f"--classifier={tmp_path}/classifier",
    )
    message = refused(capsys, root / "gru.zip", *arguments)
    assert other.cache.fingerprint in message
    assert "was trained on cache" in message
    add_group(other.cache)
    assert "holds 2 option groups: say which" in refused(capsys, root / "ppo.zip", *arguments)
    message = refused(capsys, root / "ppo.zip", *arguments, "--group=p8_2x2")
    assert "acts in Discrete(9); on" in message
    assert "expected glance maps (45,), or video and t, and Discrete(4), Discrete(5) or" in message
    row, *_ = evaluate(capsys, root / "ppo.zip", *arguments, "--group=p12_3x3")
    assert row["name"] == "ppo"
