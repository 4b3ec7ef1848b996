"""Modules that files of a run name: none is imported unless the command line names it too."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from support import add_frames, write_cache, write_classifier
from system_runs import TINY

from focusgym.agents import find_system
from focusgym.agents.system_files import damaged
from focusgym.agents.systems.algorithms import find_algorithm
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import BundleError
from focusgym.recognizer.registry import NotImported
from focusgym.runs.cli import main

OWN = """
from pathlib import Path
from dataclasses import replace
from stable_baselines3 import PPO
from focusgym.agents import find_system
from focusgym.envs import ExitConfig
from focusgym.recognizer.classifiers.average import AverageClassifier
Path(__file__).with_name("was_imported").touch()
Own = replace(find_system("frameexit"), name="own")
class Keywords(ExitConfig): pass
Patient = replace(Own, task="own_module:Keywords")
class Mine(PPO): pass
class Mean(AverageClassifier): pass
def reward(p): return p.chosen
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own")
    add_frames(write_cache(root / "cache", n=20))
    kind, f_c = find_system("frameexit").classifier, root / "f_c"
    cache = FeatureCache.open(root / "cache", "full32")
    write_classifier(cache, f_c, aggregation=kind.aggregation, reuse_glance=kind.reuse_glance)
    files = (f"--cache={cache.root}", f"--classifier={f_c}")
    main(["train", str(root / "frameexit"), "--system=frameexit", *files, *TINY])
    return root


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module beside which a file appears when it is imported; Python finds it."""
    (tmp_path / "own_module.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "was_imported"
    sys.modules.pop("own_module", None)


@pytest.fixture
def changed(root: Path) -> Iterator[Callable[[str, Callable[[str], str]], None]]:
    """Write a file of the run anew; afterwards all are as they were."""
    run = root / "frameexit"
    kept = {name: (run / name).read_text() for name in ("config.yaml", "results.json")}

    def change(name: str, by: Callable[[str], str]) -> None:
        put_back()
        (run / name).write_text(by(kept[name]))

    def put_back() -> None:
        for name, text in kept.items():
            (run / name).write_text(text)

    yield change
    put_back()


def _environment(text: str, **changes: object) -> str:
    results = json.loads(text)
    results["environment"] |= changes
    return json.dumps(results)


def _refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_a_system_an_algorithm_and_a_task(
    root: Path,
    own: Path,
    changed: Callable[[str, Callable[[str], str]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message says in which file they are named, and how to go on; then it does."""
    run = str(root / "frameexit")
    advice = "which a file may not import: import own_module first, if it is yours (--trust own"
    for name, by, expected in (
        (
            "config.yaml",
            lambda text: text.replace("system: frameexit", "system: own_module:Own"),
            "config.yaml: system 'own_module:Own' is of another module",
        ),
        (
            "results.json",
            lambda text: _environment(text, algorithm="own_module:Mine"),
            "results.json: environment: algorithm 'own_module:Mine' is of another module",
        ),
        (
            "results.json",
            lambda text: _environment(text, id="own_module:Keywords"),
            "results.json: environment: task 'own_module:Keywords' is of another module",
        ),
    ):
        changed(name, by)
        for verb in (["evaluate", run], ["recognize", "none.mp4", "--bundle", run]):
            refused = _refused(capsys, *verb)
            assert expected in refused
            assert advice in refused
        assert not own.exists()
        main(["evaluate", run, "--trust", "own_module", "--json"])
        assert "accuracy" in json.loads(capsys.readouterr().out)["policies"][0]
        own.unlink()
        del sys.modules["own_module"]


def test_a_task(root: Path, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A system of one's own trains in it, and the run says which one it is."""
    out = tmp_path / "out"
    files = (f"--cache={root / 'cache'}", f"--classifier={root / 'f_c'}")
    main(["train", str(out), "--system=own_module:Patient", *files, *TINY])
    results = json.loads((out / "results.json").read_text())
    assert results["environment"]["id"] == "own_module:Keywords"
    del sys.modules["own_module"]
    own.unlink()
    message = _refused(capsys, "evaluate", str(out))
    assert "config.yaml: system 'own_module:Patient' is of another module" in message
    assert not own.exists()
    main(["evaluate", str(out), "--trust", "own_module", "--json"])
    assert json.loads(capsys.readouterr().out)["policies"][0]["accuracy"] == pytest.approx(
        results["test"]["accuracy"]
    )


def test_a_classifier(
    root: Path, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bundle of one's own f_C goes through later verbs where its module is named."""
    cache = FeatureCache.open(root / "cache", "p12_3x3")
    f_c = write_classifier(cache, tmp_path / "f_c", aggregation="own_module:Mean")
    out, files = tmp_path / "out", (f"--cache={cache.root}", "--group=p12_3x3")
    tiny = ("--epochs=1", "--n-envs=6", "--minibatch=3", "--conv-channels=2", "--hidden=6")
    for args in (
        ("train", str(out), *files, f"--classifier={f_c}", *tiny),
        ("fit", "classifier", str(tmp_path / "fit"), *files, f"--classifier={f_c}", "--epochs=1"),
        ("evaluate", str(out), "--no-fixed"),
    ):
        del sys.modules["own_module"]
        own.unlink()
        message = _refused(capsys, *args)
        assert message == (
            f"focusgym: {f_c}: aggregation 'own_module:Mean' is of another module, which a file "
            "may not import: import own_module first, if it is yours (--trust own_module does)\n"
        )
        assert not own.exists()
        main([*args, "--trust", "own_module"])
    for made in (f_c, tmp_path / "fit"):
        config = json.loads((made / "bundle.json").read_text())["config"]
        assert config["aggregation"] == "own_module:Mean"
    settings = out / "config.yaml"
    assert "trust" not in yaml.safe_load(settings.read_text())["train"]  # it is named again
    settings.write_text(f"{settings.read_text()}  trust: [own_module]\n")
    del sys.modules["own_module"]
    own.unlink()
    assert "has no option 'trust'" in _refused(capsys, "train", str(out), "--resume")
    assert not own.exists()


def test_a_folder_of_a_system() -> None:
    """One that names what was not imported is not called damaged."""
    assert str(damaged(Path("folder"), NotImported("import x first"))) == "folder: import x first"
    assert isinstance(damaged(Path("folder"), NotImported()), BundleError)


def test_a_reward(
    root: Path,
    own: Path,
    changed: Callable[[str, Callable[[str], str]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No verb that opens a run tells rewards, so it is left alone, and the run can be used."""
    run = root / "frameexit"
    keywords = json.loads((run / "results.json").read_text())["environment"]["keywords"]
    main(["evaluate", str(run), "--json"])
    before = json.loads(capsys.readouterr().out)
    of_own = {**keywords, "reward": {"name": "own_module:reward"}}
    changed("results.json", lambda text: _environment(text, keywords=of_own))
    main(["evaluate", str(run), "--json"])
    assert json.loads(capsys.readouterr().out) == before
    assert not own.exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("system", "own_module:Own"),
        ("reward", "own_module:reward"),
        ("reward", "{name: own_module:reward, draws: 1}"),
        ("learner", "{algorithm: own_module:Mine}"),
        ("learner", "{policy: own_module:Mine}"),
    ],
)
def test_a_run_that_goes_on(
    root: Path,
    own: Path,
    changed: Callable[[str, Callable[[str], str]], None],
    capsys: pytest.CaptureFixture[str],
    option: str,
    value: str,
) -> None:
    """Its settings need not be given again, but such a name."""

    def named(text: str) -> str:
        kept = [line for line in text.splitlines() if not line.startswith(f"  {option}:")]
        return "\n".join([*kept, f"  {option}: '{value}'\n"])

    changed("config.yaml", named)
    run = str(root / "frameexit")
    message = _refused(capsys, "train", run, "--resume")
    assert f"config.yaml: {option} names own_module:" in message
    assert f"--resume --{option} " in message
    assert not own.exists()
    message = _refused(capsys, "train", run, "--resume", "--system", "own_module:Other")
    assert own.exists() == (option == "system")


def test_names_that_are_none(
    root: Path,
    changed: Callable[[str, Callable[[str], str]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = str(root / "frameexit")
    for algorithm, expected in (
        (5, "algorithm must be a name; got 5"),
        (".x:PPO", "'.x:PPO' is of an"),
    ):
        changed("results.json", lambda text: _environment(text, algorithm=algorithm))  # noqa: B023
        assert expected in _refused(capsys, "evaluate", run)
    changed("results.json", lambda text: _environment(text, algorithm="os:abort"))
    assert "is of Python's own module" in _refused(capsys, "evaluate", run)
    for name in (".x:y", "..:y", ":y"):
        for find in (find_system, find_algorithm):
            for trusted in (True, False):
                with pytest.raises(ValueError, match=r"(system|algorithm)"):
                    find(name, trusted=trusted)
    with pytest.raises(ValueError, match="system must be a name; got 3"):
        find_system(3)  # type: ignore[arg-type]
    assert "system must be one of " in _refused(capsys, "train", f"{run}_2", "--system=.x:y")
    assert "--trust .x: " in _refused(capsys, "evaluate", run, "--trust", ".x")
