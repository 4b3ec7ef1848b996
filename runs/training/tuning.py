"""A search for the options of a verb: trials, each a run of its own, and what came of them on val.

A trial is a command that a user could type: its folder has the run, a log, and a file with what was
chosen and the accuracy. Optuna proposes what is tried next from those files alone, so that a search
that was interrupted goes on as it would have.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...recognizer import FocusgymError, Purpose, generator
from ...recognizer.files.documents import read_json
from ...recognizer.files.typed import typed
from ...recognizer.files.whole import write_whole
from ..executors.units import Executor, Unit
from ..folders.run_folder import RESULTS
from ..options.presets import CONFIG
from ..options.space import Range, Space

if TYPE_CHECKING:
    import optuna

_RANDOM = 10  # trials before the first that is proposed from others
_INTERRUPTED = 130  # the exit status of a command that Ctrl-C ended
_TRIAL, RUN, _LOG = "trial.json", "run", "log.txt"


class TuningError(FocusgymError):
    """A search cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Trial:
    """What was tried.

    Attributes:
        number: From 0.
        chosen: A value for each option that is searched for.
        accuracy: On val, in [0, 1]: the mean over the steps; None if it failed, or is not done.
        failed: Why it failed; empty if it did not.
    """

    number: int
    chosen: dict[str, Any]
    accuracy: float | None = None
    failed: str = ""

    @property
    def is_done(self) -> bool:
        """Whether it need not be run again."""
        return self.accuracy is not None or bool(self.failed)


def search(space: Space, out: Path, trials: int, jobs: int, seed: int, do: Executor) -> list[Trial]:
    """Try combinations until there are enough.

    Args:
        space: What is tried.
        out: Folder of the search; what is there is not tried again.
        trials: How many there shall be.
        jobs: How many are proposed together.
        seed: Of what is tried.
        do: Runs the trials.

    Returns:
        All trials.

    Raises:
        TuningError: If Optuna is not installed, a file of a trial is damaged, or all of the first
            trials failed.
        FailedError: If a trial ended without saying why; the others are kept.
    """
    done = read_trials(out, space)[:trials]
    while len([each for each in done if each.is_done]) < trials:
        waiting = [each for each in done if not each.is_done][:jobs]
        if not waiting:
            waiting = propose(space, done, min(jobs, trials - len(done)), seed)
            for each in waiting:
                _write(folder_of(out, each.number), each)
        places = {each.number: folder_of(out, each.number) for each in waiting}
        units = {
            f"trial {each.number}": Unit((space, places[each.number], each), places[each.number])
            for each in waiting
        }
        do(run_trial, units, "trials", sum(each.is_done for each in done), "trial")
        done = read_trials(out, space)[:trials]
        if all(each.failed for each in done):
            shutil.rmtree(folder_of(out, 0).parent)  # nothing is learned from them
            raise TuningError(
                f"all of the first {len(done)} trials failed; the first one said: "
                f"{done[0].failed}\nmend that and run the same command, or, with another space, "
                "give another folder"
            )
    return done


def folder_of(out: Path, number: int) -> Path:
    """Return the folder of a trial of a search."""
    return out / "trials" / f"{number:04d}"


def propose(space: Space, done: Sequence[Trial], count: int, seed: int) -> list[Trial]:
    """Return the next trials: Optuna's TPE, from what came of those that are done.

    Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011.

    Args:
        space: What is searched for.
        done: All former trials.
        count: How many are wanted. They are proposed from the same former ones.
        seed: Of the search.

    Raises:
        TuningError: If Optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise TuningError("a search needs Optuna: pip install 'focusgym[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    drawn = int(generator(Purpose.TRIALS, seed, len(done)).integers(2**31))
    sampler = optuna.samplers.TPESampler(n_startup_trials=_RANDOM, seed=drawn)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    ranges = {name: _distribution(each) for name, each in space.searched.items()}
    for each in done:
        study.add_trial(_told(each, space, ranges))
    found = []
    for number in range(len(done), len(done) + count):
        asked = study.ask(ranges).params
        found.append(Trial(number, {k: _value(space.searched[k], v) for k, v in asked.items()}))
    return found


def run_trial(space: Space, place: Path, trial: Trial) -> None:
    """Run a trial and measure it on val; what it says, or why it failed, is kept in its folder."""
    run = place / RUN
    if space.verb == "train":
        if not (run / RESULTS).is_file():
            resume = ["--resume"] if (run / CONFIG).is_file() else []
            failed, _ = _focusgym([*space.command(run, trial.chosen), *resume], place)
            if failed:
                return _write(place, replace(trial, failed=failed))
        command = ["evaluate", str(run), "--split", "val", "--no-fixed", "--json"]
    else:
        shutil.rmtree(run, ignore_errors=True)  # trained, but its accuracy was not kept
        command = [*space.command(run, trial.chosen), "--json"]
    failed, said = _focusgym(command, place)
    if failed:
        return _write(place, replace(trial, failed=failed))
    found = json.loads(said)
    of_policy = space.verb == "train"
    accuracy = found["policies"][0]["mean_accuracy"] if of_policy else found["val_accuracy"]
    return _write(place, replace(trial, accuracy=float(accuracy)))


def read_trials(out: Path, space: Space) -> list[Trial]:
    """Return the trials of a search in order, as far as none is missing.

    Raises:
        TuningError: If a file is damaged, or is of another space.
    """
    found: list[Trial] = []
    while (path := folder_of(out, len(found)) / _TRIAL).is_file():
        try:
            trial = typed(Trial, read_json(path))
        except (OSError, ValueError) as error:
            raise TuningError(f"{path} is damaged ({error}): remove it to try it again") from error
        if trial.chosen.keys() != space.searched.keys():
            raise TuningError(
                f"{path} chose {', '.join(trial.chosen)}; the space searches for "
                f"{', '.join(space.searched)}: give another folder"
            )
        found.append(trial)
    return found


def best_of(trials: Sequence[Trial]) -> Trial:
    """Return the most accurate trial on val, the first of equal ones.

    Raises:
        TuningError: If all failed.
    """
    measured = [each for each in trials if each.accuracy is not None]
    if not measured:
        raise TuningError(f"all {len(trials)} trials failed: {trials[0].failed}")
    return max(measured, key=lambda each: (each.accuracy, -each.number))


def _focusgym(words: Sequence[str], place: Path) -> tuple[str, str]:
    """Run a command; return why it failed, empty if it did not, and what it printed."""
    from ..cli import main

    printed, told, status = StringIO(), StringIO(), 0
    try:
        with redirect_stdout(printed), redirect_stderr(told):
            main(words)
    except SystemExit as error:
        status = int(error.code or 0)
    if status == _INTERRUPTED:  # no failure: it goes on later
        raise KeyboardInterrupt
    with (place / _LOG).open("a", encoding="utf-8") as log:
        log.write(f"$ focusgym {shlex.join(words)}\n{told.getvalue()}{printed.getvalue()}\n")
    lines = told.getvalue().strip().splitlines() or ["nothing was said"]
    return (lines[-1].removeprefix("focusgym: ") if status else ""), printed.getvalue()


def _write(place: Path, trial: Trial) -> None:
    place.mkdir(parents=True, exist_ok=True)
    write_whole(place / _TRIAL, json.dumps(asdict(trial), indent=2))


def _distribution(given: Range) -> optuna.distributions.BaseDistribution:
    from optuna import distributions

    if given.choices:  # by their index: Optuna keeps numbers and texts alone
        return distributions.CategoricalDistribution(range(len(given.choices)))
    if given.is_integer:
        step = int(given.step or 1)
        return distributions.IntDistribution(int(given.low), int(given.high), given.log, step)
    return distributions.FloatDistribution(given.low, given.high, given.log, given.step)


def _value(given: Range, asked: Any) -> Any:
    return given.choices[asked] if given.choices else asked


def _told(
    trial: Trial, space: Space, ranges: Mapping[str, optuna.distributions.BaseDistribution]
) -> optuna.trial.FrozenTrial:
    """Return a trial as Optuna knows it."""
    from optuna.trial import TrialState, create_trial

    params = {
        name: space.searched[name].choices.index(value) if space.searched[name].choices else value
        for name, value in trial.chosen.items()
    }
    state = TrialState.FAIL if trial.accuracy is None else TrialState.COMPLETE
    return create_trial(state=state, value=trial.accuracy, params=params, distributions={**ranges})
