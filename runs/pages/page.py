"""Pages: one self-contained HTML file each, which no network is asked for."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ...recognizer.files.atomic import whole_file

# Nothing is fetched from anywhere: what a page shows is in it.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write_page(path: Path, template: str, **context: Any) -> None:
    """Write an HTML file that needs no other file and no network; it appears whole.

    A template extends ``base.html``. It may call ``inline(NAME)`` for the text of a ``.css`` or
    ``.js`` file of this folder, and ``as_data(VALUE)`` for JSON inside a ``<script>`` element;
    everything else that it shows is escaped.

    Args:
        path: The file.
        template: Name of a template in this folder.
        **context: What the template shows.

    Raises:
        ValueError: If a value for ``as_data`` is not JSON-able, or has numbers that are not finite.
    """
    environment = Environment(
        loader=PackageLoader(__package__, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(inline=inline, as_data=as_data, policy=POLICY)
    text = environment.get_template(template).render(context)
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="replace")  # names may be any bytes


def inline(name: str) -> Markup:
    """Return the text of a style sheet or a script of this folder, as it is."""
    return Markup(files(__package__).joinpath(name).read_text(encoding="utf-8"))


def as_data(value: Any) -> Markup:
    """Return JSON that no text in it can end: ``<`` is escaped, so no tag begins.

    Raises:
        ValueError: If a number is not finite.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))
