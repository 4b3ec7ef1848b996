"""The verb ``recognize`` on systems: from their runs, and from folders without their cache."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import own_tasks  # noqa: F401 (it registers an id)
import pytest
import torch
from fused_once import fused_once
from sb3_contrib import MaskablePPO, RecurrentPPO
from system_runs import STEPS, make_cache, train

from focusgym.agents import (
    DirectRecognizer,
    DirectSystem,
    SystemRecognizer,
    TaskRecognizer,
    TaskTrace,
    find_system,
    read_system_recognizer,
    trace_task,
)
from focusgym.agents.systems.dynamic_ste import ScheduledSystem
from focusgym.envs import make_sb3
from focusgym.feature_cache import RecognizedVideo, read_many, recognize_videos
from focusgym.recognizer import BundleError, ExitRule, encoder_gmacs
from focusgym.runs.cli import main
from focusgym.runs.evaluation.system_runs import TaskRun, find_system_run
from focusgym.runs.verbs.recognize import facts

# Learned among several groups; with a stop; in one decision; with a policy of our own; by
# supervision; with gates; in a fixed order.
RUNS = (
    *("arnet", "frameexit", "ocsampler", "adafocus_v3_ppo"),
    *("scsampler", "frameexit_gates", "dynamic_ste"),
)
# Of sb3-contrib, with a state of its own, and with masks of the possible actions; the latter in a
# task of somebody's own.
AGENTS = {
    "MultiInputLstmPolicy": (RecurrentPPO, "focusgym/Jump-v0"),
    "MultiInputPolicy": (MaskablePPO, "own/Skim-v0"),
}


@pytest.fixture(scope="module", autouse=True)
def encoders_once() -> Iterator[None]:
    with fused_once():
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a cache of digit videos, and runs."""
    root = tmp_path_factory.mktemp("systems")
    make_cache(root)
    for name in RUNS:
        train(root, name)
    return root


def plugged_back(root: Path, name: str) -> tuple[SystemRecognizer, TaskTrace]:
    """Return the recognizer of a run or an agent, and what that does in cached test videos."""
    if name in RUNS:
        run = find_system_run(root / name)
        return run.recognizer(), run.watch(run.source.cache.split("test"))
    (algorithm, env_id), how = AGENTS[name], {"cache": root / "cache", "group": "full32"}
    how |= {"classifier": root / "f_c_ocsampler", "observation": "state"}
    kwargs = {"net_arch": {"pi": [7], "vf": [5]}, "activation_fn": torch.nn.ReLU}
    env = make_sb3(env_id, 2, **how)
    model = algorithm(name, env, n_steps=4, batch_size=4, seed=3, policy_kwargs=kwargs)
    return TaskRecognizer(model, env_id, **how), trace_task(model, env_id, **how)


@pytest.mark.parametrize("name", [*RUNS, *AGENTS])
def test_a_recognizer_without_its_cache(root: Path, tmp_path: Path, name: str) -> None:
    """It does on pixels, elsewhere and without cache and run, what is done on the cache."""
    recognizer, expected = plugged_back(root, name)
    cache = recognizer.cache
    clips = cache.clips(cache.split("test"))
    frames = torch.stack([each for each, _ in read_many(clips, cache.frames)])
    recognizer.save(tmp_path / "written")
    shutil.move(tmp_path / "written", tmp_path / "elsewhere")
    files = [each.suffix for each in (tmp_path / "elsewhere").rglob("*") if each.is_file()]
    assert set(files) == {".json", ".npy", ".csv", ".safetensors"}
    (root / "cache").rename(root / "gone")
    try:
        alone = read_system_recognizer(tmp_path / "elsewhere")
        recognition = alone(frames)
    finally:
        (root / "gone").rename(root / "cache")
    for column in ("segments", "attended", "fed"):
        assert getattr(recognition, column).tolist() == getattr(expected, column).tolist(), column
    named = np.where(expected.named, expected.options, -1)
    assert recognition.options.tolist() == named.tolist()
    np.testing.assert_allclose(recognition.logits, expected.logits, atol=1e-3)
    np.testing.assert_allclose(recognition.gmacs, expected.gmacs)
    assert (alone.cache.fingerprint, alone.cache.n_videos) == (cache.fingerprint, 0)


def test_what_the_verb_tells(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a run and of the folder written from it, against what the run does on the cache."""
    run = find_system_run(root / "arnet")
    cache = run.source.cache
    rows = cache.split("test")[:2]
    paths = [str(path) for path in cache.videos["path"].iloc[rows]]
    out = tmp_path / "arnet"
    capsys.readouterr()
    main(["recognize", *paths, f"--bundle={root / 'arnet'}", f"--save={out}", "--json"])
    main(["recognize", *paths, f"--bundle={out}", "--json"])
    main(["recognize", *paths, f"--bundle={out}", f"--annotate={tmp_path / 'seen'}"])
    assert len([*(tmp_path / "seen").iterdir()]) == 2
    *lines, text = capsys.readouterr().out.split("\n", 4)
    recognized: list[dict[str, Any]] = [json.loads(line) for line in lines]
    for line in recognized:
        del line["decode_ms"], line["recognize_ms"]
    assert recognized[:2] == recognized[2:]
    trace, groups = run.watch(rows), [each.group.name for each in cache.opened]
    # Every segment in full: the dearer encoder, and f_C, which takes no glance.
    full = STEPS * (
        encoder_gmacs(cache.encoders_by_name()["large"], 32)
        + run.source.frame_cost.classifier_gmacs
    )
    for video, line in enumerate(recognized[:2]):
        best = trace.logits[video, -1].softmax(-1)
        assert line["classes"][0]["class"] == cache.classes[int(best.argmax())]
        assert line["classes"][0]["probability"] == pytest.approx(float(best.max()), abs=1e-3)
        assert line["full_frames_gmacs"] == pytest.approx(full)
        assert line["times_less"] == pytest.approx(full / trace.gmacs[video, -1])
        middle = cache.frame_indices(rows)[video]
        read = []
        for t, step in enumerate(line["steps"]):
            segment, looked = trace.segments[video, t], trace.attended[video, t]
            assert step["segment"] == (None if segment < 0 else segment)
            assert step["frame"] == (None if segment < 0 else middle[segment])
            assert step["option"] == (groups[trace.options[video, t]] if looked else None)
            assert step["fed"] == trace.fed[video, t]
            if looked:
                read.append(f"frame {step['frame']} ({step['option']})")
        assert f"read in this order: {', '.join(read)}\n" in text


class SkipsFirst:
    """In ``Resolution-v0`` with one option: skips two segments, then looks at all."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, **_: Any
    ) -> tuple[np.ndarray, Any]:
        return np.where(episode_start, 2, 0), state


def test_nothing_is_predicted_before_a_look(root: Path) -> None:
    """Logits of zeros before the first look are no prediction."""
    how = {"cache": root / "cache", "classifier": root / "f_c_frameexit", "group": "full32"}
    recognizer = TaskRecognizer(SkipsFirst(), "focusgym/Resolution-v0", **how)
    (video,) = recognize_videos(recognizer, [Path(recognizer.cache.videos["path"].iloc[0])])
    assert isinstance(video, RecognizedVideo)
    reported = facts(recognizer, video, recognizer.full_frames_gmacs(), 1)
    first, *rest = reported["steps"]
    assert (first["fed"], first["class"], first["probability"]) == (False, None, None)
    names = recognizer.classes
    for t, step in enumerate(rest, 1):
        sure = video.recognition.logits[0, t].softmax(-1).max()
        assert step["class"] in names
        assert step["probability"] == pytest.approx(float(sure))


@pytest.mark.parametrize("name", ["dynamic_ste", "frameexit_gates"])
def test_exits_of_systems_without_an_environment(root: Path, tmp_path: Path, name: str) -> None:
    """Against what they do without, up to a sure prediction; and again from a folder."""
    recognizer = find_system_run(root / name).recognizer()
    cache = recognizer.cache
    clips = cache.clips(cache.split("test"))
    frames = torch.stack([each for each, _ in read_many(clips, cache.frames)])
    alone = recognizer.look(frames)
    sure = alone.logits.double().softmax(-1).amax(-1).numpy()
    thresholds = np.quantile(sure[:, :-1], [0.7, 0.4, 0.3], axis=0).diagonal()
    recognizer.exits = ExitRule("confidence", (*thresholds.tolist(), 0.0))
    stopped = recognizer.look(frames)
    ends = stopped.fed.sum(axis=1) - 1
    for video, end in enumerate(ends):
        stops = np.flatnonzero(sure[video, :-1] >= thresholds)
        assert end == min([*stops, alone.fed[video].sum() - 1])
        np.testing.assert_allclose(stopped.logits[video, -1], alone.logits[video, end], atol=1e-5)
    assert (stopped.encoder_gmacs <= alone.encoder_gmacs).all()
    assert stopped.encoder_gmacs.sum() < alone.encoder_gmacs.sum()
    if name == "dynamic_ste":  # which asks nobody
        f_c = (ends + 1) * recognizer.cost.classifier_gmacs
        np.testing.assert_allclose(stopped.gmacs[:, -1], stopped.encoder_gmacs + f_c, rtol=1e-6)
    recognizer.save(tmp_path / "stopping")
    again = read_system_recognizer(tmp_path / "stopping")
    assert again.exits == recognizer.exits
    assert again.look(frames).fed.tolist() == stopped.fed.tolist()


def test_what_reads_is_made_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take long, such as a search for the best place."""
    made, plain = [], ScheduledSystem.reader

    def counted(self: ScheduledSystem, *args: Any) -> Any:
        made.append(args)
        return plain(self, *args)

    monkeypatch.setattr(ScheduledSystem, "reader", counted)
    run = find_system_run(root / "dynamic_ste")
    run.recognizer()
    run.on_frames()
    assert len(made) == 1


def test_exits_that_cannot_be(root: Path) -> None:
    for name, steps, message in (
        ("scsampler", STEPS, "cannot stop a video before its end, and exits would change nothing"),
        ("dynamic_ste", 7, "expected exits of 4 steps, .* got 7: solve the rule for as many"),
        ("frameexit", 7, "expected exits of 4 steps, .* got 7: solve the rule for as many"),
    ):
        recognizer = find_system_run(root / name).recognizer()
        with pytest.raises(ValueError, match=message):
            recognizer.exits = ExitRule("confidence", (0.5,) * steps)
        assert recognizer.exits is None


def test_keywords_of_numpy(root: Path, tmp_path: Path) -> None:
    """They are kept as numbers; what was read from a folder is written again, with its exits."""
    run = find_system_run(root / "frameexit")
    assert isinstance(run, TaskRun)
    env_id, keywords = run.env_id, run.keywords
    how = {**keywords, "frame_order": np.arange(STEPS)[::-1], "option": np.int64(0)}
    recognizer = TaskRecognizer(run.model, env_id, **how)
    space, drawn = run.model.observation_space, []
    for folder in ("unused", "first"):
        space.seed(3)
        if folder == "first":  # which takes no draw of the model's
            recognizer.save(tmp_path / folder)
        drawn.append(space.sample()["glances"])
    np.testing.assert_array_equal(*drawn)
    first = read_system_recognizer(tmp_path / "first")
    first.exits = ExitRule("margin", (0.5,) * STEPS)
    (tmp_path / "second").mkdir()  # an empty folder is taken
    first.save(tmp_path / "second")
    entry = json.loads((tmp_path / "second" / "system.json").read_text())
    kept = entry["decides"]["keywords"]
    assert (kept["frame_order"], kept["option"]) == ([3, 2, 1, 0], 0)
    assert read_system_recognizer(tmp_path / "second").exits == first.exits
    assert sorted(each.name for each in tmp_path.iterdir()) == ["first", "second"]
    with pytest.raises(ValueError, match="precision must be one of float32"):
        read_system_recognizer(tmp_path / "second", precision="float99")
    assert first.to("cpu") is first
    for change in (torch.nn.Module.half, lambda module: module.to("meta")):
        with pytest.raises(ValueError, match="the networks of a system stay in torch.float32 on"):
            change(first)


@pytest.fixture
def written(root: Path, tmp_path: Path) -> Path:
    """Return the folder of a system's recognizer."""
    find_system_run(root / "frameexit").recognizer().save(tmp_path / "system")
    return tmp_path / "system"


def _rewrite(folder: Path, name: str, change: Callable[[Any], None]) -> None:
    """Change a JSON file of a folder, and its digest, as somebody may who writes the folder."""
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    if name != "system.json":
        digest = sha256((folder / name).read_bytes()).hexdigest()
        _rewrite(folder, "system.json", lambda entry: entry["files"].update({name: digest}))


def test_files_that_are_none_of_it(root: Path, written: Path) -> None:
    """A pickle beside its files or in place of one; a file that was changed, or is gone."""
    pickled = (root / "frameexit" / "model.zip").read_bytes()
    weights = written / "policy" / "weights.safetensors"
    kept = weights.read_bytes()
    (written / "model.zip").write_bytes(pickled)
    with pytest.raises(BundleError, match=r"system \(model.zip is none of its files\): copy it"):
        read_system_recognizer(written)
    (written / "model.zip").unlink()
    for content, message in ((pickled, "was changed"), (kept[:-1] + b"\1", "was changed")):
        weights.write_bytes(content)
        with pytest.raises(BundleError, match=f"policy/weights.safetensors {message}"):
            read_system_recognizer(written)
    weights.unlink()
    with pytest.raises(BundleError, match="policy/weights.safetensors is missing"):
        read_system_recognizer(written)
    weights.write_bytes(pickled)
    name = "policy/weights.safetensors"
    digest = sha256(pickled).hexdigest()
    _rewrite(written, "system.json", lambda entry: entry["files"].update({name: digest}))
    with pytest.raises(BundleError, match="is not a readable bundle .* no safetensors file"):
        read_system_recognizer(written)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("system.json", {"decides": {"id": "Nope-v0", "keywords": {}, "exits": None}}, "env_id"),
        ("system.json", {"decides": {"id": "wsgiref:X", "keywords": {}, "exits": None}}, "import"),
        ("system.json", {"decides": {"system": "os:system", "setting": 1, "seed": 0}}, "Python's"),
        ("system.json", {"decides": {"system": "wsgiref:x", "setting": 1, "seed": 0}}, "import"),
        ("system.json", {"decides": {"system": "tsn", "setting": 7, "seed": 0}}, "share of the"),
        ("system.json", {"decides": {"system": "arnet", "setting": 1, "seed": 0}}, "environment"),
        ("system.json", {"groups": 3}, "groups must be a list; got 3"),
        (
            "policy/bundle.json",
            {"config": {"network": "os:system", "keywords": {}}},
            "Python's own",
        ),
        ("policy/bundle.json", {"config": {"network": "wsgiref:x", "keywords": {}}}, "import"),
        ("policy/bundle.json", {"config": {"network": 3, "keywords": {}}}, "must be a text"),
    ],
)
def test_content_of_others(written: Path, name: str, change: dict[str, Any], message: str) -> None:
    """What a file names is found among networks and systems, and nothing else is imported."""
    _rewrite(written, name, lambda content: content.update(change))
    with pytest.raises(BundleError, match=message):
        read_system_recognizer(written)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--bundle={written}", "--save={new}"), "--save: {written} is no run of a system, and"),
        (("--bundle={run}", "--save={written}"), "{written} exists: nothing was touched; give ano"),
        (("--bundle={run}", "--gmacs=1", "--save={new}"), "--gmacs: {run} is a system, of which n"),
        (("--bundle={written}", "--gmacs=1"), "--gmacs: {written} is a system, of which no predic"),
    ],
)
def test_mistakes(
    root: Path,
    written: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    places = {"written": written, "run": root / "frameexit", "new": tmp_path / "new"}
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["recognize", "a.mp4", *(each.format(**places) for each in options)])
    assert capsys.readouterr().err.startswith(f"focusgym: {message.format(**places)}")
    assert not places["new"].exists()


def test_what_cannot_be_written(root: Path, tmp_path: Path) -> None:
    """What is no model, parts that no safe file holds, what needs its cache; a full folder."""
    run = find_system_run(root / "frameexit")
    assert isinstance(run, TaskRun)
    env_id, keywords = run.env_id, run.keywords
    before = sorted(tmp_path.iterdir())
    stranger = TaskRecognizer(run.model.policy, env_id, **keywords)
    with pytest.raises(ValueError, match="expected a model of Stable-Baselines3, .* got MultiInp"):
        stranger.save(tmp_path / "stranger")
    run.model.policy_kwargs = {"activation_fn": max}
    with pytest.raises(ValueError, match="got activation_fn = <built-in function max>, which no"):
        run.recognizer().save(tmp_path / "function")
    nested = type("Nested", (torch.nn.ReLU,), {"__qualname__": "Outer.Nested"})
    run.model.policy_kwargs = {"activation_fn": nested}
    with pytest.raises(ValueError, match=r"Outer\.Nested cannot be found by its own: define the"):
        run.recognizer().save(tmp_path / "nested")
    of_patches = find_system_run(root / "adafocus_v3_ppo").source
    fixed = find_system("clip_fixed")
    assert isinstance(fixed, DirectSystem)
    with pytest.raises(ValueError, match="clip_fixed asks the features of its cache what to read"):
        DirectRecognizer(fixed, "clip_fixed", of_patches, 1.0, 0, None).save(tmp_path / "fixed")
    orders = TaskRecognizer(run.model, env_id, **keywords, frame_order={1, 0})
    with pytest.raises(ValueError, match=r"lists of them; got frame_order = \{0, 1\}, which no"):
        orders.save(tmp_path / "orders")
    assert sorted(tmp_path.iterdir()) == before, "nothing is half written"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ValueError, match="full is not empty: give the name of a new folder"):
        run.recognizer().save(tmp_path / "full")
