"""Seeded mutations of small real files, each opened by what reads such files in the package.

``python tests/faults/mutations.py --n 5000`` prints a table of what happened, by kind of file; a
failure is printed with what repeats it. Readers run in a worker with a limit on memory and on time:
a process is forked from this one, which imports everything and computes nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
import torch
from changes import change
from readers import KINDS as FILES
from system_readers import KINDS as SYSTEMS

from focusgym.recognizer import FocusgymError
from focusgym.runs.options.checks import OptionError
from focusgym.runs.options.presets import PresetError

REFUSED, SAME, OTHER = "refused", "same meaning", "other content"
TRACEBACK, HANG, CRASH, MEMORY = "traceback", "hang", "crash", "memory"
KINDS = {**FILES, **SYSTEMS}
OUTCOMES = (REFUSED, SAME, OTHER, TRACEBACK, HANG, CRASH, MEMORY)
FAILURES = (TRACEBACK, HANG, CRASH, MEMORY)
REFUSALS = (FocusgymError, OptionError, PresetError)
MOST_BYTES = 2**30  # beyond what reading the intact file takes
MOST_MESSAGE = 20_000  # characters of a refusal: lists name up to fifty problems
LIMIT_CPU_S = 30.0  # of one mutation, in the worker
LIMIT_S = 600.0  # of one that waits; long, for the machine may be busy with other things
_FORK = multiprocessing.get_context("fork")


def main() -> None:
    """Print the table, or JSON; the exit status is 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=5000, help="how many mutations, of all kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=[*KINDS], choices=[*KINDS])
    parser.add_argument("--only", type=int, help="number of one mutation, to repeat it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        maker = _FORK.Process(target=make_all, args=(Path(folder), options.kinds))
        maker.start()
        maker.join()
        if maker.exitcode:
            raise SystemExit("the intact files could not be made")
        numbers = [options.only] if options.only is not None else [*range(options.n)]
        jobs = [(options.kinds[number % len(options.kinds)], number) for number in numbers]
        results = run_all(Path(folder), jobs, options.seed)
    if options.json:
        print(json.dumps(results))
    else:
        print_table(results)
    raise SystemExit(any(result["outcome"] in FAILURES for result in results))


def make_all(folder: Path, kinds: list[str]) -> None:
    """Write the intact files of each kind into a folder of its name, and read them."""
    for name in kinds:
        (folder / name).mkdir()
        KINDS[name].make(folder / name)
        KINDS[name].read(folder / name)


def run_all(folder: Path, jobs: list[tuple[str, int]], seed: int) -> list[dict[str, Any]]:
    """Do mutations in a worker; another one takes over where one hangs or dies.

    Interrupted, return what was done.
    """
    results: list[dict[str, Any]] = []
    while len(results) < len(jobs):
        ours, its = _FORK.Pipe()
        worker = _FORK.Process(target=work, args=(folder, jobs[len(results) :], seed, its))
        worker.start()
        its.close()
        try:
            while len(results) < len(jobs):
                kind, number = jobs[len(results)]
                if not answers(ours, worker.pid):
                    results.append({"kind": kind, "number": number, "outcome": HANG, "why": ""})
                    break
                results.append(ours.recv())
        except KeyboardInterrupt:
            worker.kill()
            print(f"interrupted after {len(results)} of {len(jobs)}", file=sys.stderr)
            break
        except EOFError:
            worker.join()
            why = f"exit status {worker.exitcode}"
            results.append({"kind": kind, "number": number, "outcome": CRASH, "why": why})
        worker.kill()
        worker.join()
    return results


def answers(pipe: Connection, worker: int | None) -> bool:
    """Wait for a worker to answer; returns whether it did within the limits."""
    begun_s, waited_s = cpu_s(worker), 0.0
    while not pipe.poll(2.0):
        waited_s += 2.0
        if waited_s > LIMIT_S or cpu_s(worker) - begun_s > LIMIT_CPU_S:
            return False
    return True


def cpu_s(process: int | None) -> float:
    """Return how long a process has computed, seconds; 0 for one that is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def work(folder: Path, jobs: list[tuple[str, int]], seed: int, send: Connection) -> None:
    """Do mutations one after the other, and send what happened."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    warnings.simplefilter("ignore")
    meanings, takes = {}, {}
    scratch = Path(tempfile.mkdtemp(dir=folder))
    for kind in dict.fromkeys(kind for kind, _ in jobs):
        shutil.rmtree(scratch)  # where mutated files will be: some say where they are
        shutil.copytree(folder / kind, scratch)
        before = reset_peak()
        meanings[kind] = KINDS[kind].read(scratch)
        takes[kind] = peak_bytes() - before
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 4 * MOST_BYTES,) * 2)
    for kind, number in jobs:
        shutil.rmtree(scratch)
        shutil.copytree(folder / kind, scratch)
        rng = np.random.default_rng([seed, number])
        paths = sorted({p for each in KINDS[kind].targets for p in scratch.glob(each)})
        path = paths[int(rng.integers(len(paths)))]
        how = change(rng, path)
        before = reset_peak()
        outcome, why = read_one(kind, scratch, meanings[kind])
        if peak_bytes() - before - takes[kind] > MOST_BYTES:
            outcome, why = MEMORY, f"{(peak_bytes() - before) / 2**30:.2f} GiB"
        name = str(path.relative_to(scratch))
        result = {"kind": kind, "number": number, "outcome": outcome, "why": why}
        send.send({**result, "file": name, "how": how})


def read_one(kind: str, folder: Path, meaning: Any) -> tuple[str, str]:
    """Return what happened when files were read, and what was said."""
    try:
        content = KINDS[kind].read(folder)
    except REFUSALS as error:
        message = str(error)
        if (
            not message
            or len(message) > MOST_MESSAGE
            or not message.replace("\n", "").isprintable()
        ):
            return TRACEBACK, f"a message that is not fit to print: {message[:200]!r}"
        return REFUSED, message[:300]
    except BaseException as error:  # whatever a reader lets out
        where = traceback.extract_tb(error.__traceback__)
        ours = [f"{Path(each.filename).name}:{each.lineno}" for each in where][-4:]
        return TRACEBACK, f"{type(error).__name__}: {str(error)[:200]} ({' > '.join(ours)})"
    return (SAME if content == meaning else OTHER), ""


def reset_peak() -> int:
    """Forget the largest memory so far; returns what is in use, bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def peak_bytes() -> int:
    """Return the largest memory of this process since it was last forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def print_table(results: list[dict[str, Any]]) -> None:
    """Print how often what happened, by kind of file, and every failure."""
    kinds = [*dict.fromkeys(result["kind"] for result in results)]
    counts = Counter((result["kind"], result["outcome"]) for result in results)
    print(f"| kind | tried | {' | '.join(OUTCOMES)} |")
    print("|---|" + "---:|" * (1 + len(OUTCOMES)))
    for kind in [*kinds, "all"]:
        of = [sum(counts[k, o] for k in kinds if kind in (k, "all")) for o in OUTCOMES]
        print(f"| {kind} | {sum(of)} | {' | '.join(map(str, of))} |")
    for result in results:
        if result["outcome"] in FAILURES:
            print(json.dumps(result))


if __name__ == "__main__":
    main()
