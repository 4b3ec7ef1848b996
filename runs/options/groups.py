"""From ``--glance``, ``--group`` and ``--weights`` to encoders and option groups."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...feature_cache import GLANCE, make_encoder
from ...recognizer import (
    Encoder,
    EncoderConfig,
    FrameConfig,
    OptionGroup,
    PatchGrid,
    Places,
    WholeFrame,
    describe,
    is_file_name,
    option_group,
    read_encoder,
)
from ..configs.cache import ContentConfig
from .parse import UsageError, usage

USUAL = ("patches:resnet50:128",)
_FORMS = "patches:ENCODER:SIDE, patches:ENCODER:SIDE:N or full:ENCODER:SIDE"


@dataclass(frozen=True)
class GroupOption:
    """What one ``--group`` says.

    Attributes:
        places: Where the options are.
        source: The encoder: a network's name, or the folder of a bundle.
    """

    places: Places
    source: str


def groups_of_options(
    config: ContentConfig, frames: FrameConfig
) -> tuple[dict[str, Encoder], tuple[OptionGroup, ...]]:
    """Return the encoders of a cache by name, f_G as ``glance``, and its option groups.

    An encoder is called as its network, or as the folder of its bundle; each is there once,
    whatever reads with it. A group is called as its places, and its encoder besides where places
    are read by several.

    Args:
        config: From the command line and the preset.
        frames: Their side S, and how many a segment has.

    Raises:
        UsageError: If a group is not of one of the forms or is given twice, weights are missing,
            given twice or of no network, or two encoders would have one name.
        WeightsError, BundleError, EncoderError: If an encoder cannot be had.
    """
    parsed = [read_group(text, frames.frame_px) for text in config.group or USUAL]
    if len(set(parsed)) < len(parsed):
        raise UsageError(f"--group: each once; got {', '.join(config.group)}")
    sources = [config.glance, *(each.source for each in parsed)]
    networks = [each for each in sources if not _is_bundle(each)]
    with usage():
        for network in networks:
            EncoderConfig(network)  # unknown ones are refused here
    weights = _weights(config.weights, networks)
    glance = _encoder(config.glance, weights, config.glance_px)
    encoders, described, names = {GLANCE: glance}, {GLANCE: describe(glance)}, {}
    for source in dict.fromkeys(each.source for each in parsed):
        encoder = _encoder(source, weights, None)
        content = describe(encoder)
        name = next((known for known, of in described.items() if of == content), _name(source))
        if described.setdefault(name, content) != content:
            raise UsageError(
                f"--group: two encoders would be called {name}: rename the folder of {source}"
            )
        encoders.setdefault(name, encoder)
        names[source] = name
    shared = Counter(each.places.name for each in parsed)
    groups = []
    for each in parsed:
        name, encoder_name = each.places.name, names[each.source]
        if shared[name] > 1:
            name = f"{name}_{encoder_name}"
        encoder, n_frames = encoders[encoder_name], frames.segment_frames
        groups.append(option_group(each.places, encoder_name, encoder, name, n_frames))
    return encoders, tuple(groups)


def read_group(text: str, frame_px: int) -> GroupOption:
    """Return what a ``--group`` says.

    Args:
        text: Such as ``patches:resnet50:128``; the encoder may be a path with colons in it.
        frame_px: Side S of the frames, pixels.

    Raises:
        UsageError: If it is of no known form, or the places do not fit into the frame.
    """
    kind, _, rest = text.partition(":")
    parts = rest.split(":")
    numbers: list[int] = []
    while len(parts) > 1 and len(numbers) < 2 and parts[-1].isdecimal():
        numbers.insert(0, int(parts.pop()))
    source = ":".join(parts)
    most = {"patches": 2, "full": 1}.get(kind, 0)
    if not source or not 1 <= len(numbers) <= most:
        raise UsageError(
            f"--group {text}: expected {_FORMS}, such as patches:resnet50:128: the encoder by its "
            "network's name or the folder of its bundle, the side in pixels"
        )
    with usage():
        if kind == "full":
            return GroupOption(WholeFrame(frame_px, numbers[0]), source)
        return GroupOption(PatchGrid(frame_px, *numbers), source)


def encoders_of(
    glance: str,
    local: str,
    weights: tuple[str, ...],
    glance_px: int | None,
    glance_reduction: str = "area",
) -> tuple[Encoder, Encoder]:
    """Return f_G and f_L, two networks of their own also where they are of one name.

    Args:
        glance: f_G: a network's name, or the folder of a bundle.
        local: f_L, likewise.
        weights: ``NAME=WEIGHTS`` for each network that is given by its name.
        glance_px: Side to which f_G's input is reduced.
        glance_reduction: How the input of f_G is reduced; see `EncoderConfig`.

    Raises:
        UsageError: If weights are missing, given twice or of no network, or a reduction has no side
            or is asked of a bundle, which has its own.
        WeightsError, BundleError, EncoderError: If an encoder cannot be had.
    """
    networks = [each for each in (glance, local) if not _is_bundle(each)]
    with usage():
        for network in networks:
            EncoderConfig(network)  # unknown ones are refused here
    known = _weights(weights, networks)
    return _encoder(glance, known, glance_px, glance_reduction), _encoder(local, known, None)


def encoder_of(source: str, weights: tuple[str, ...]) -> Encoder:
    """Return an encoder.

    Args:
        source: A network's name, or the folder of a bundle.
        weights: ``NAME=WEIGHTS`` of a network that is given by its name.

    Raises:
        UsageError, WeightsError, BundleError, EncoderError: As `encoders_of`.
    """
    networks = [] if _is_bundle(source) else [source]
    with usage():
        for network in networks:
            EncoderConfig(network)  # unknown ones are refused here
    return _encoder(source, _weights(weights, networks), None)


def _weights(texts: tuple[str, ...], networks: list[str]) -> dict[str, str]:
    """Return which weights each network has."""
    weights: dict[str, str] = {}
    for text in texts:
        name, equals, where = text.partition("=")
        if not equals or not where:
            raise UsageError(
                f"--weights {text}: expected NAME=WEIGHTS, such as resnet50=resnet50.pth, "
                "resnet50=default or resnet50=random"
            )
        if name in weights:
            raise UsageError(f"--weights: {name} is given twice: give each network's once")
        if name not in networks:
            raise UsageError(
                f"--weights {text}: there is no network {name}; expected weights of "
                f"{', '.join(dict.fromkeys(networks)) or 'none, for bundles have their own'}: "
                "leave it out; where a preset has it, say all --weights yourself"
            )
        weights[name] = where
    return weights


def _encoder(
    source: str, weights: Mapping[str, str], input_px: int | None, reduction: str = "area"
) -> Encoder:
    if _is_bundle(source):
        if input_px is not None:
            raise UsageError(
                f"--glance-px: the bundle {source} says itself at which side it reads: leave the "
                "option out, or give None where a preset has it"
            )
        if reduction != "area":
            raise UsageError(
                f"--glance-reduction: the bundle {source} says itself how its input is reduced: "
                "leave the option out, or give area where a preset has another"
            )
        if not Path(source).is_dir():
            raise UsageError(
                f"there is no folder {source}, of an encoder's bundle: give one that is there; "
                "those in outputs/quickstart are made by 'focusgym quickstart', others by "
                "'focusgym fit encoder'"
            )
        return read_encoder(source)
    with usage():
        config = EncoderConfig(source, input_px, reduction)
    if source not in weights:
        raise UsageError(
            f"there are no weights for {source}: give --weights {source}=FILE, {source}=default or "
            f"{source}=random"
        )
    return make_encoder(config, weights[source])


def _is_bundle(source: str) -> bool:
    return os.sep in source or (Path(source) / "bundle.json").is_file()


def _name(source: str) -> str:
    name = Path(source).resolve().name if _is_bundle(source) else source
    if not is_file_name(name):
        raise UsageError(
            f"--group: the folder {source} gives an encoder its name: rename it to letters, "
            "digits, '_', '-' and '.'"
        )
    return name
