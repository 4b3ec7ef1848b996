"""The systems, by name."""

from __future__ import annotations

from difflib import get_close_matches

from ...recognizer.registry import find
from .system import System

# Where the recipes are. A new one is a file and a line.
SYSTEMS: dict[str, str] = {
    "average": "focusgym.agents.systems.whole_frames:AVERAGE",
    "gru": "focusgym.agents.systems.whole_frames:GRU",
    "tsn": "focusgym.agents.systems.whole_frames:TSN",
    "tsm": "focusgym.agents.systems.whole_frames:TSM",
    "tsm_plus": "focusgym.agents.systems.whole_frames:TSM_PLUS",
    "uniform": "focusgym.agents.systems.whole_frames:UNIFORM",
    "frameexit": "focusgym.agents.systems.frameexit:FRAMEEXIT",
    "frameexit_gates": "focusgym.agents.systems.gates:FRAMEEXIT_GATES",
    "arnet": "focusgym.agents.systems.arnet:ARNET",
    "adaframe": "focusgym.agents.systems.adaframe:ADAFRAME",
    "adafocus_tsm": "focusgym.agents.systems.adafocus_tsm:ADAFOCUS_TSM",
    "adafocus_tsm_ppo": "focusgym.agents.systems.adafocus_tsm:ADAFOCUS_TSM_PPO",
    "adafocus_tsm_gaussian": "focusgym.agents.systems.adafocus_tsm:ADAFOCUS_TSM_GAUSSIAN",
    "clip_random": "focusgym.agents.systems.adafocus_tsm:CLIP_RANDOM",
    "clip_central": "focusgym.agents.systems.adafocus_tsm:CLIP_CENTRAL",
    "clip_fixed": "focusgym.agents.systems.adafocus_tsm:CLIP_FIXED",
    "adafocus_v2": "focusgym.agents.systems.adafocus_v2:ADAFOCUS_V2",
    "adafocus_v2_ppo": "focusgym.agents.systems.adafocus_v2:ADAFOCUS_V2_PPO",
    "adafocus_v2_sac": "focusgym.agents.systems.adafocus_v2:ADAFOCUS_V2_SAC",
    "adafocus_v3": "focusgym.agents.systems.adafocus_v3:ADAFOCUS_V3",
    "adafocus_v3_ppo": "focusgym.agents.systems.adafocus_v3:ADAFOCUS_V3_PPO",
    "adafuse": "focusgym.agents.systems.adafuse:ADAFUSE",
    "dynamic_ste": "focusgym.agents.systems.dynamic_ste:DYNAMIC_STE",
    "listentolook": "focusgym.agents.systems.listentolook:LISTENTOLOOK",
    "listentolook_ppo": "focusgym.agents.systems.listentolook:LISTENTOLOOK_PPO",
    "videoiq": "focusgym.agents.systems.videoiq:VIDEOIQ",
    "ocsampler": "focusgym.agents.systems.ocsampler:OCSAMPLER",
    "frame_glimpses": "focusgym.agents.systems.frame_glimpses:FRAME_GLIMPSES",
    "multi_agent": "focusgym.agents.systems.multi_agent:MULTI_AGENT",
    "scsampler": "focusgym.agents.systems.scsampler:SCSAMPLER",
    "lite_eval": "focusgym.agents.systems.lite_eval:LITE_EVAL",
    "lite_eval_gates": "focusgym.agents.systems.lite_eval:LITE_EVAL_GATES",
}


# AdaFocus itself is what is trained where no system is named.
_UNNAMED = {"adafocus": "`focusgym train`", "adafocus_plus": "`focusgym train --plus`"}


def find_system(name: str, *, trusted: bool = True) -> System:
    """Return a system.

    Args:
        name: One of `SYSTEMS`, or ``module:attribute`` of a recipe of your own.
        trusted: Whether a module that is not this project's may be imported; see `find`.

    Raises:
        ValueError: If there is no such system.
    """
    if not isinstance(name, str):
        raise ValueError(f"system must be a name; got {name!r:.80}")
    if name in _UNNAMED:
        raise ValueError(f"{name} is what {_UNNAMED[name]} trains without a system: leave it out")
    if name not in SYSTEMS and ":" not in name:
        near = ", ".join(get_close_matches(name, SYSTEMS, 5, cutoff=0.0))
        close = get_close_matches(name, SYSTEMS, 1, cutoff=0.8)
        hint = f"did you mean {close[0]!r}?" if close else f"the nearest names are {near};"
        raise ValueError(
            f"there is no system {name!r}: {hint} `focusgym systems` lists all, and "
            "'module:attribute' names one of your own"
        )
    system = find("system", name, SYSTEMS, trusted=trusted)
    if not isinstance(system, System):
        raise ValueError(
            f"system must be an instance of focusgym.agents.systems.system.System; got {name!r}, "
            f"which is {system!r}"
        )
    return system
