"""A search for the options of a verb: trials, each a run of its own, and what came of them on val.

A trial is a command that a user could type: its folder has the run, a log, and a file with what was
chosen and the accuracy. Optuna proposes what is tried next from those files alone, so that a search
that was interrupted goes on as it would have.
"""

from __future__ import annotations

import json
import shlex
import shutil
import traceback
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ...recognizer import FocusgymError, Purpose, generator, in_words
from ...recognizer.files.atomic import write_whole
from ...recognizer.files.disks import FULL, disk_error
from ...recognizer.files.documents import read_json
from ...recognizer.files.typed import typed
from ..executors.units import Executor, Unit, error_text
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
        space: The options that are tried, with their ranges.
        out: Folder of the search; what is there is not tried again.
        trials: How many there shall be.
        jobs: How many are proposed together, from the same former ones.
        seed: Of what is tried.
        do: Runs the trials.

    Returns:
        All trials.

    Raises:
        TuningError: If Optuna is not installed, a file of a trial is damaged or gone, or the first
            trials all failed.
        FailedError: If the process of a trial ended; the others are kept.
        OSError: If a disk is full.
    """
    all_trials = read_trials(out, space)[:trials]
    while (done := sum(each.is_done for each in all_trials)) < trials:
        first = next((each.number for each in all_trials if not each.is_done), len(all_trials))
        begin = first - first % jobs  # trials of a batch know of those before it alone
        for number in range(len(all_trials), min(begin + jobs, trials)):
            all_trials.append(propose(space, all_trials[:begin], number, seed))
            _write(folder_of(out, number), all_trials[-1])
        units = {
            f"trial {each.number}": Unit((space, place, each), place)
            for each in all_trials[begin:]
            if not each.is_done
            for place in (folder_of(out, each.number),)
        }
        do(run_trial, units, "trials", done, "trial")
        all_trials = read_trials(out, space)[:trials]
        if len(all_trials) >= min(trials, _RANDOM) and all(each.failed for each in all_trials):
            raise TuningError(
                f"all of the first {len(all_trials)} trials failed; the first one said: "
                f"{all_trials[0].failed}\n{folder_of(out, 0) / _LOG} has all that it said; mend "
                "that, and give another folder"
            )
    return all_trials


def folder_of(out: Path, number: int) -> Path:
    """Return the folder of a trial of a search."""
    return out / "trials" / f"{number:04d}"


def propose(space: Space, known: Sequence[Trial], number: int, seed: int) -> Trial:
    """Return the next trial: Optuna's TPE, from what came of former ones.

    Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011.

    Args:
        space: What is searched for.
        known: Trials that are done.
        number: Of the new one: with the seed it decides what is drawn.
        seed: Seed of the search.

    Raises:
        TuningError: If Optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise TuningError(
            'a search needs Optuna: `pip install ".[tune]"` in the clone of focusgym'
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    drawn = int(generator(Purpose.TRIALS, seed, number).integers(2**31))
    sampler = optuna.samplers.TPESampler(n_startup_trials=_RANDOM, seed=drawn)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    ranges = {name: _distribution(each) for name, each in space.searched.items()}
    for each in known:
        study.add_trial(_frozen(each, space, ranges))
    proposed = study.ask(ranges).params
    return Trial(number, {name: _value(space.searched[name], of) for name, of in proposed.items()})


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
        command += [f"--device={device}"] if (device := space.device) != "cpu" else []
    else:
        shutil.rmtree(run, ignore_errors=True)  # trained, but its accuracy was not kept
        command = [*space.command(run, trial.chosen), "--json"]
    failed, printed = _focusgym(command, place)
    if failed:
        return _write(place, replace(trial, failed=failed))
    measured = json.loads(printed)
    accuracy = measured.get("val_accuracy")
    if accuracy is None:  # of a policy
        accuracy = fmean(measured["policies"][0]["accuracy_by_step"])
    return _write(place, replace(trial, accuracy=float(accuracy)))


def read_trials(out: Path, space: Space) -> list[Trial]:
    """Return the trials of a search in order.

    Raises:
        TuningError: If a file is damaged or gone, or is of another space.
    """
    trials: list[Trial] = []
    names = [each.parent.name for each in out.glob(f"trials/*/{_TRIAL}")]
    numbers = [int(name) for name in names if name.isdecimal()]  # others are not ours
    for number in range(max(numbers, default=-1) + 1):
        path = folder_of(out, number) / _TRIAL
        try:
            trial = typed(Trial, read_json(path))
        except (OSError, ValueError) as error:
            raise TuningError(
                f"{path} is damaged ({in_words(error)}): put it back; or remove the folders of "
                "this trial and of all later ones, which are then tried again"
            ) from error
        if trial.chosen.keys() != space.searched.keys() or not all(
            space.searched[name].holds(value) for name, value in trial.chosen.items()
        ):
            raise TuningError(
                f"{path} chose {trial.chosen}; the space searches for "
                f"{', '.join(space.searched)}, in ranges that do not hold that: give another folder"
            )
        if trial.number != number or not 0 <= (trial.accuracy or 0) <= 1:
            raise TuningError(
                f"{path} is damaged (it is of trial {trial.number} with the accuracy "
                f"{trial.accuracy}, expected trial {number} and a share): put it back; or remove "
                "the folders of this trial and of all later ones, which are then tried again"
            )
        trials.append(trial)
    return trials


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
    """Run a command; return why it failed, empty if it did not, and what it printed.

    Raises:
        OSError: If a disk is full: that is no mistake of what is tried.
    """
    from ..cli import main

    printed, errors, failed = StringIO(), StringIO(), ""
    try:
        with redirect_stdout(printed), redirect_stderr(errors):
            main(words)
    except SystemExit as end:
        refused = disk_error(end.__context__) if end.__context__ is not None else None
        if refused is not None and refused.errno in FULL:
            raise refused from None
        if end.code == _INTERRUPTED:  # it goes on later
            raise KeyboardInterrupt from None
        if end.code:
            lines = errors.getvalue().strip().splitlines() or ["nothing was said"]
            failed = lines[-1].removeprefix("focusgym: ")
    except Exception as error:  # such as memory that a GPU lacks for these sizes
        failed = error_text(error)
        errors.write(traceback.format_exc())
    finally:
        with (place / _LOG).open("a", encoding="utf-8") as log:
            log.write(f"$ focusgym {shlex.join(words)}\n{errors.getvalue()}{printed.getvalue()}\n")
    return failed, printed.getvalue()


def _write(place: Path, trial: Trial) -> None:
    place.mkdir(parents=True, exist_ok=True)
    write_whole(place / _TRIAL, json.dumps(asdict(trial), indent=2))


def _distribution(option_range: Range) -> optuna.distributions.BaseDistribution:
    from optuna import distributions

    if option_range.choices:  # by their index: Optuna keeps numbers and texts alone
        return distributions.CategoricalDistribution(range(len(option_range.choices)))
    if option_range.is_integer:
        step = int(option_range.step or 1)
        return distributions.IntDistribution(
            int(option_range.low), int(option_range.high), option_range.log, step
        )
    return distributions.FloatDistribution(
        option_range.low, option_range.high, option_range.log, option_range.step
    )


def _value(option_range: Range, suggested: Any) -> Any:
    return option_range.choices[suggested] if option_range.choices else suggested


def _frozen(
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
