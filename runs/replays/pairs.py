"""Opening two policies: those of a cache, systems of boxes, or runs trained end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..configs.replay import ReplayConfig
from ..evaluation.opened_runs import GATED, is_pixel_run
from ..evaluation.system_runs import is_system_run
from ..evaluation.trained import names_options
from ..folders.run_folder import verb_of
from ..options.parse import UsageError
from .cached_pair import CachedPair
from .contract import Pair
from .gate_pair import gate_pair
from .pixel_pair import pixel_pair
from .system_pair import system_pair


def open_pair(config: ReplayConfig) -> Pair:
    """Open the policies that ``replay`` is to show; see there for what is raised."""
    paths = [path for path in (config.policy, config.second) if path is not None]
    kinds = [_kind(path) for path in paths]
    if kinds[0] != kinds[-1]:
        special = 1 if kinds[0] == _POLICY else 0
        raise UsageError(
            f"{paths[special]} {kinds[special]}; {paths[1 - special]} is no such run: expected two "
            "of one kind; give --policy and --second two runs of 'focusgym fit end-to-end', two of "
            "'focusgym fit cubes', two of 'focusgym fit afnet', two of 'focusgym train --system', "
            "or two policies of one cache"
        )
    if config.gmacs is not None and kinds[0] != _END_TO_END:
        raise UsageError(
            f"--gmacs: {config.policy} is no run of 'focusgym fit cubes', whose videos stop: leave "
            "the option out"
        )
    return _PAIRS[kinds[0]](config)


_END_TO_END = "was trained end to end, and is played on the video files"
_GATES = "is an AF network, whose gates keep frames, and is played on the video files"
_SYSTEM = "is a run of a system"
_POLICY = "is a policy that chooses among the options of a cache"
_PAIRS: dict[str, Callable[[ReplayConfig], Pair]] = {
    _END_TO_END: pixel_pair,
    _GATES: gate_pair,
    _SYSTEM: system_pair,
    _POLICY: CachedPair.find,
}


def _kind(path: Path) -> str:
    """Return what a folder holds, in words."""
    if is_pixel_run(path):
        return _GATES if verb_of(path) == GATED else _END_TO_END
    return _SYSTEM if is_system_run(path) and not names_options(path) else _POLICY
