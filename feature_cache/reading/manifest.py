"""The manifest of a cache: what its features depend on, its option groups and its encoders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...recognizer import FocusgymError, OptionGroup, in_words, shortened
from ...recognizer.files.documents import read_json
from . import journal
from .schema import GLANCE as GLANCE
from .schema import check_manifest

MOST_BYTES = 1 << 26  # of a manifest, which has a line or two for each video that was skipped


class CacheError(FocusgymError):
    """A cache cannot be used as asked; the message says why and what to do."""


def fingerprint(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON-able mapping, keys sorted, as 64 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def group_fingerprint(manifest: Mapping[str, Any], name: str) -> str:
    """Return the fingerprint of an option group: it does not depend on the other groups.

    Args:
        manifest: ``depends_on``, ``encoders`` and ``groups`` of a manifest.
        name: Of the group, which does not count.
    """
    group, encoders = manifest["groups"][name], manifest["encoders"]
    own = {"places": group["places"], "encoder": encoders[group["encoder"]]}
    return fingerprint({**manifest["depends_on"], "glance_encoder": encoders[GLANCE], **own})


def joint_fingerprint(fingerprints: Iterable[str]) -> str:
    """Return the fingerprint of several option groups that are played together, in this order.

    Of one group it is that of the group.
    """
    several = list(fingerprints)
    return several[0] if len(several) == 1 else fingerprint({"groups": several})


def stored_groups(manifest: Mapping[str, Any]) -> dict[str, OptionGroup]:
    """Return the option groups of a cache by name, in the order of its build."""
    return {name: OptionGroup.read(name, each) for name, each in manifest["groups"].items()}


def read_manifest(root: Path) -> dict[str, Any]:
    """Read the manifest of a complete cache, or of a complete shard.

    Raises:
        CacheError: If there is none, if it was edited, or if a part is missing or of another type
            than `check_manifest` expects.
    """
    try:
        manifest: dict[str, Any] = read_json(root / "manifest.json", MOST_BYTES)
        check_manifest(manifest)
        fingerprints = {name: group_fingerprint(manifest, name) for name in stored_groups(manifest)}
        written = manifest["fingerprints"]
    except CacheError:
        raise
    except (OSError, ValueError) as error:
        raise CacheError(
            f"{root} is not a complete feature cache ({in_words(error)}): build it, or give "
            "another path"
        ) from error
    if fingerprints != written:
        raise CacheError(
            f"{root}: the manifest says fingerprints {_listed(written)}, but its content gives "
            f"{_listed(fingerprints)}: it was edited; rebuild the cache"
        )
    return manifest


def identity_in(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that the content depended on before a file was opened."""
    depends_on = {key: value for key, value in manifest["depends_on"].items() if key != "files"}
    return {**depends_on, **{key: manifest[key] for key in ("groups", "encoders", "shard")}}


def is_complete(root: Path, identity: Mapping[str, Any]) -> bool:
    """Say whether a cache of this identity is there already.

    Raises:
        CacheError: If something else is.
    """
    if not root.exists():
        return False
    if not (root / "manifest.json").is_file():
        raise CacheError(
            f"{root} exists and is no feature cache: nothing was touched; give the name of a new "
            "folder, in which the cache will be"
        )
    stored, expected = identity_in(read_manifest(root)), json.loads(json.dumps(identity))
    if stored != expected:
        keys = dict.fromkeys((*expected, *stored))
        other = [key for key in keys if stored.get(key) != expected.get(key)]
        raise CacheError(
            f"{root} is a complete cache of other videos or settings ({', '.join(other)} differ): "
            "nothing was touched; give the name of a new folder"
        )
    if (root / journal.NAME).exists():
        (root / journal.NAME).unlink()
    return True


def in_short(described: Mapping[str, Any]) -> str:
    """Return what `describe` gives of an encoder, for people to read."""
    size = f" at {described['input_px']} px" if described["input_px"] else ""
    how = f" ({described['reduction']})" if "reduction" in described else ""
    return f"{described['name']}{size}{how}, weights {shortened(described['weights_sha256'])}"


def _listed(fingerprints: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {shortened(value)}" for name, value in fingerprints.items())
