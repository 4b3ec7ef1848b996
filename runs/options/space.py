"""The space of a search: the options of a verb, some of them with a range in place of a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...recognizer.files.typed import is_finite
from .presets import (
    VERBS,
    PresetError,
    as_tokens,
    check_keys,
    check_types,
    options_of,
    preset_options,
    read_preset,
)

# Those that leave a validation accuracy behind.
TUNED = ("fit encoder", "fit patches", "fit classifier", "fit end-to-end", "fit cubes", "train")
_RANGE = {"low", "high", "log", "step"}
_MOST_INTEGER = 2**53
_LEAST_STEP = 1e-6  # of the larger of low and high
_EXPECTED = (
    "expected {low: NUMBER, high: NUMBER} with 'log: true' or 'step: NUMBER' if wanted, or "
    "{choose: [VALUE, VALUE, ...]}"
)


@dataclass(frozen=True)
class Range:
    """What an option may be.

    Attributes:
        choices: The values; empty if there is a range of numbers.
        low: Smallest number.
        high: Largest number.
        step: Numbers are so far from each other; None for any.
        log: Whether they are spread evenly in their logarithm.
    """

    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False

    @property
    def is_integer(self) -> bool:
        """Whether all numbers of the range are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def holds(self, value: Any) -> bool:
        """Return whether a value is one of these."""
        if self.choices:
            return value in self.choices
        if not is_finite(value) or not self.low <= value <= self.high:
            return False
        if self.is_integer:
            return isinstance(value, int) and (value - self.low) % (self.step or 1) == 0
        steps = (value - self.low) / self.step if self.step else 0
        return bool(abs(steps - round(steps)) < 1e-8)  # as Optuna has it


@dataclass(frozen=True)
class Space:
    """What a search tries.

    Attributes:
        verb: Such as ``fit classifier``.
        fixed: Options that all trials share, by name.
        searched: What is searched for, by name.
        preset: That says the other options, if any does.
    """

    verb: str
    fixed: Mapping[str, Any]
    searched: Mapping[str, Range]
    preset: str | None = None

    @property
    def fingerprint(self) -> str:
        """Tells spaces apart by what they and the preset say, however it is written."""
        content = asdict(self) | {"preset": self._of_preset()}
        return sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def device(self) -> str:
        """Where the trials compute, as of ``--device``."""
        return str(self.option("device") or "cpu")

    def option(self, name: str) -> Any:
        """Return what all trials have of an option; None where the verb's default holds."""
        return self.fixed.get(name, self._of_preset().get(name))

    def _of_preset(self) -> dict[str, Any]:
        return {} if self.preset is None else preset_options(self.preset, self.verb)

    def command(self, out: Path, chosen: Mapping[str, Any]) -> list[str]:
        """Return the command line of a trial, without ``focusgym``.

        Args:
            out: Folder of its run.
            chosen: A value for each option that is searched for.
        """
        preset = [] if self.preset is None else [f"--preset={self.preset}"]
        options = as_tokens(self.verb, {**self.fixed, **chosen}, self.verb)
        return [*self.verb.split(), str(out), *preset, *options]


def read_space(path: Path) -> Space:
    """Read a space from its file.

    Raises:
        PresetError: If the file cannot be read, has other sections than one of a verb that has a
            validation accuracy, or an option or a range that cannot be.
    """
    try:
        content = read_preset(str(path))
        if len(content) != 1 or next(iter(content)) not in TUNED:
            raise PresetError(
                f"{path}: expected one section, of {', '.join(TUNED)}; got {', '.join(content)}"
            )
        ((verb, section),) = content.items()
        read = {str(key).replace("_", "-"): value for key, value in section.items()}
        if len(read) < len(section):
            raise PresetError(f"{path}: {verb}: expected each option once; got {[*section]}")
        preset = read.pop("preset", None)
        check_keys(str(path), verb, read, options_of(VERBS[verb]))
        if preset is not None:
            preset_options(str(preset), verb)  # refused before anything is tried
    except PresetError as error:
        raise PresetError(str(error).removeprefix("--preset ")) from error.__cause__
    if isinstance(read.get("device"), dict):
        raise PresetError(f"{path}: {verb}: device: it is not searched for: give one")
    searched = {
        name: _range(path, verb, name, value)
        for name, value in read.items()
        if isinstance(value, dict) and value.keys() & {"choose", *_RANGE}
    }
    if not searched:
        raise PresetError(f"{path}: {verb}: no option has a range to search in: {_EXPECTED}")
    fixed = {name: value for name, value in read.items() if name not in searched}
    return Space(verb, fixed, searched, None if preset is None else str(preset))


def _range(path: Path, verb: str, name: str, mapping: Mapping[str, Any]) -> Range:
    """Return a range that is written as a mapping, of an option of a verb."""
    where = f"{path}: {verb}: {name}"
    if mapping.keys() == {"choose"}:
        values = mapping["choose"]
        if not isinstance(values, list) or len({repr(each) for each in values}) < 2:
            raise PresetError(f"{where}: choose: expected two values or more; got {values!r}")
        parsed = Range(choices=tuple(values))
    else:
        parsed = _numbers(where, mapping)
    try:
        for value in parsed.choices or (parsed.low, parsed.high):
            check_types(VERBS[verb], {name: value})
    except ValueError as error:
        raise PresetError(f"{path}: {verb}: {error}") from None
    return parsed


def _numbers(where: str, mapping: Mapping[str, Any]) -> Range:
    numbers = [mapping[name] for name in ("low", "high", "step") if name in mapping]
    are_numbers = all(map(is_finite, numbers))
    log, step = mapping.get("log", False), mapping.get("step")
    if (
        not {"low", "high"} <= mapping.keys() <= _RANGE
        or not are_numbers
        or log not in (True, False)
    ):
        hint = " (YAML reads 1e-4 as a text, and 1.0e-4 as a number)"
        texts = any(isinstance(x, str) for x in numbers)
        raise PresetError(f"{where}: {_EXPECTED}; got {mapping!r}{hint if texts else ''}")
    low, high = mapping["low"], mapping["high"]
    if not low < high or (log and low <= 0) or (step is not None and (log or step <= 0)):
        raise PresetError(
            f"{where}: expected low below high, both positive where log is true, and a positive "
            f"step or log, not both; got {mapping!r}"
        )
    if not is_finite(high - low) or (step is not None and step > high - low):
        raise PresetError(
            f"{where}: expected a finite range, and a step of at most high less low; got "
            f"{mapping!r}"
        )
    if not isinstance(step or 1, int) and isinstance(low, int) and isinstance(high, int):
        raise PresetError(
            f"{where}: expected an integer as the step of integers; got {mapping!r}: make low a "
            f"number with a point, such as {float(low)}, if others are meant"
        )
    parsed, largest = Range(low=low, high=high, step=step, log=log), max(abs(low), abs(high))
    if parsed.is_integer and largest > _MOST_INTEGER:
        raise PresetError(
            f"{where}: expected integers of at most 2^53: floats do not tell larger ones apart; "
            f"got {mapping!r}"
        )
    if step is not None and not parsed.is_integer and step < _LEAST_STEP * largest:
        raise PresetError(
            f"{where}: expected a step of at least a millionth of low and high, smaller ones are "
            f"lost in rounding; got {mapping!r}"
        )
    return parsed
