"""The folder of a system's recognizer: what is in it, and that it is what was written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..recognizer import BundleError, ExitRule, in_words
from ..recognizer.files.atomic import write_whole
from ..recognizer.files.documents import read_json
from ..recognizer.files.regular import file_digest
from ..recognizer.files.typed import typed
from ..recognizer.registry import NotImported

NAME = "system.json"
CACHE, CLASSIFIER, POLICY = "cache", "classifier", "policy"  # folders in it


@dataclass(frozen=True)
class PlayedIn:
    """What an agent decides in.

    Attributes:
        id: Id of the environment, such as ``focusgym/Exit-v0``; or ``module:attribute`` of its
            config class.
        keywords: Of it, without files and what only a training needs.
        exits: When a video stops before the agent ends it; None for never.
    """

    id: str
    keywords: dict[str, Any]
    exits: ExitRule | None


@dataclass(frozen=True)
class PlayedAlone:
    """A system without an environment.

    Attributes:
        system: Its name; see `find_system`.
        setting: Setting of the system.
        seed: Seed of the training of the system.
        exits: When a video stops before the system ends it; None for never.
    """

    system: str
    setting: float
    seed: int
    exits: ExitRule | None = None


@dataclass(frozen=True)
class SystemFolder:
    """What the file ``system.json`` of a folder says.

    Attributes:
        decides: Who decides: an agent in an environment, or a system without one.
        groups: Names of the option groups that it chooses among, in order.
        files: SHA-256 of every other file, by its name from the folder, with slashes.
    """

    decides: PlayedIn | PlayedAlone
    groups: tuple[str, ...]
    files: dict[str, str]


def is_system_folder(path: Path) -> bool:
    """Say whether a folder is the recognizer of a system, as `SystemRecognizer.save` writes it."""
    return (path / NAME).is_file()


def plain(name: str, value: Any) -> Any:
    """Return the value of a keyword as JSON has it.

    Args:
        name: Of the keyword, for the message.
        value: A number, a text, a sequence or a mapping of them, of Python or of NumPy.

    Raises:
        ValueError: If there is something else in it.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: plain(name, each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [plain(name, each) for each in value]
    raise ValueError(
        f"expected keywords of the environment that are numbers, texts or lists of them; got "
        f"{name} = {value!r:.80}, which no safe file holds"
    )


def write_description(root: Path, decides: PlayedIn | PlayedAlone, groups: tuple[str, ...]) -> None:
    """Write ``system.json`` beside the other files, which are all there."""
    entry = SystemFolder(decides, groups, _digests(root))
    write_whole(root / NAME, json.dumps(asdict(entry), indent=2))


def read_description(root: Path) -> SystemFolder:
    """Read ``system.json``, and compare all other files with it.

    Raises:
        BundleError: If it cannot be read, or a file is missing, another one, or none of those that
            were written.
    """
    try:
        entry = typed(SystemFolder, read_json(root / NAME))
        digests = _digests(root)
    except (OSError, ValueError) as error:
        raise damaged(root, error) from error
    for name in (*entry.files, *digests):
        if digests.get(name) != entry.files.get(name):
            problem = "is missing" if name not in digests else "was changed"
            raise damaged(
                root, f"{name} {problem if name in entry.files else 'is none of its files'}"
            )
    return entry


def damaged(root: Path, error: Exception | str) -> BundleError:
    """Return the error of a folder whose files make no recognizer."""
    if isinstance(error, NotImported):  # the folder is not to blame
        return BundleError(f"{root}: {error}")
    why = error if isinstance(error, str) else in_words(error)
    return BundleError(
        f"{root} is no readable recognizer of a system ({why}): copy it again, or write it anew "
        "with `focusgym recognize --save`"
    )


def _digests(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder but its own description."""
    files = sorted(each for each in root.rglob("*") if not each.is_dir())
    names = {each.relative_to(root).as_posix(): each for each in files}
    return {name: file_digest(file) for name, file in names.items() if name != NAME}
