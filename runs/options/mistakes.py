"""Verbs and options that there are not: which were meant. Imports nothing heavy."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from typing import Any, get_args, get_type_hints

from .presets import options_of

_EVERYWHERE = ("-h", "--help", "--version")
_NEAR = 0.6  # from here on, a likeness of 0 to 1 is told
_MOST_LINES = 3  # of options


def mistake(args: Sequence[str], command: Any) -> str | None:
    """Return what is said of the first verb or option that there is not; None if all are known.

    Args:
        args: What stands behind ``focusgym``.
        command: The union of all verbs, each annotated with its name.
    """
    verb, known = "focusgym", _verbs_of(command)
    for place, word in enumerate(args):
        if word in known:
            verb, config = f"{verb} {word}", known[word]
            known = _verbs_of(config)
            if not known:
                return _mistaken_option(args[place + 1 :], verb, options_of(config))
        elif word in _EVERYWHERE or word.startswith("--tyro-"):
            return None
        elif word.startswith("-"):
            return f"`{verb}` has no option {word}: first give one of {', '.join(known)}"
        else:
            meant = _meant(word, verb, known)
            return f"there is no `{verb} {word}`: {meant} {', '.join(known)}"
    return None


def _verbs_of(command: Any) -> Mapping[str, Any]:
    """Return the verbs of a union, or of the config that holds one; none of a verb's own config."""
    if isinstance(command, type):
        command = get_type_hints(command, include_extras=True).get("verb")
    return {get_args(each)[1].name: get_args(each)[0] for each in get_args(command)}


def _meant(word: str, verb: str, known: Mapping[str, Any]) -> str:
    """Return a question whether another verb was meant, if one is near, and what comes next."""
    verbs = dict(_leaves(verb, known))
    near = get_close_matches(word, verbs, 1, _NEAR)
    return f"did you mean `{verbs[near[0]]}`? The verbs are" if near else "the verbs are"


def _leaves(verb: str, known: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the last word of each verb, and the whole of it: verbs of verbs too."""
    for name, config in known.items():
        yield from _leaves(f"{verb} {name}", _verbs_of(config))
        yield name, f"{verb} {name}"


def _mistaken_option(args: Sequence[str], verb: str, options: Mapping[str, Any]) -> str | None:
    named = [name for name, option in options.items() if not option.is_positional]
    flags = [f"no-{name}" for name in named if options[name].is_flag]
    for word in args:
        name = word.split("=")[0].removeprefix("--").replace("_", "-")
        if not word.startswith("--") or not name or word in _EVERYWHERE:
            continue
        if name in options and options[name].is_positional:
            return f"`{verb}` takes {name} without an option's name: leave --{name} out"
        if name not in (*named, *flags) and not name.startswith("tyro-"):
            return _unknown_option(name, verb, named)
    return None


def _unknown_option(name: str, verb: str, named: Sequence[str]) -> str:
    """Return that an option is unknown, and the verb's own, nearest first: at most five lines."""
    near = {each: SequenceMatcher(None, name, each).ratio() for each in named}
    first, *others = sorted(named, key=lambda each: -near[each])
    meant = f": did you mean --{first}?" if near[first] >= _NEAR else ""
    listed = textwrap.wrap(
        f"Its options, nearest first: {', '.join(f'--{each}' for each in (first, *others))}",
        max(40, shutil.get_terminal_size().columns),
        max_lines=_MOST_LINES,
        placeholder=" …",
        break_long_words=False,
        break_on_hyphens=False,
    )
    help = f"`{verb} --help` tells what they do."
    return "\n".join([f"`{verb}` has no option --{name}{meant}", *listed, help])
