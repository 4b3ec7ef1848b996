"""README and docs: what is named exists, links lead somewhere, figures are the benchmarks'."""

from __future__ import annotations

import importlib
import importlib.util
import re
from typing import Any

from doc_pages import (
    CONFIGS,
    FOCUSGYM,
    FOREIGN,
    PAGES,
    PAGES_BY,
    ROOT,
    blocks,
    commands,
    prose,
    verb_of,
    words_of,
)

from focusgym.runs.options.presets import options_of


def test_no_two_pages_make_one_folder() -> None:
    """Who follows the pages in any order is never refused: a folder that exists is not touched."""
    # The quickstart's is given, and a comparison that is asked for again goes on with what it has.
    shared = {"quickstart", "table5"}
    pages: dict[str, set[str]] = {}
    for page in PAGES:
        for language, block in blocks(page):
            for name in re.findall(r"outputs/(\w+)", block) if language else []:
                pages.setdefault(name, set()).add(page.name)
    assert len(pages) > 30
    assert {name: makers for name, makers in pages.items() if len(makers) > 1}.keys() <= shared
    compare = f"{FOCUSGYM} compare outputs/table5 --preset digits"
    assert all(compare in PAGES_BY[name].read_text() for name in ("README", "compare"))


def test_blocks_are_short() -> None:
    for page in PAGES:
        for language, block in blocks(page):
            assert language != "python" or len(block.strip().splitlines()) <= 15, block
            assert language in ("python", "sh", "yaml", "mermaid", ""), page


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_links_lead_somewhere() -> None:
    n_links = 0
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
            if target.startswith("https://"):
                continue
            n_links += 1
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            assert path.exists(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
                assert anchor in map(slug, headings), f"{page.name}: {target}"
    assert n_links > 50
    readme = (ROOT / "README.md").read_text()
    assert all(f"(docs/{page.name})" in readme for page in PAGES[1:])


def attribute(path: str, name: str) -> Any:
    """What a module of the repository has under a name, such as ``Class.method``."""
    member = importlib.import_module(f"focusgym.{path.removesuffix('.py').replace('/', '.')}")
    for part in name.split("."):
        member = getattr(member, part)
    return member


def test_code_that_pages_name_exists() -> None:
    rows = re.findall(
        r"^\| .* \| \[(.*\.py)\]\(.*\) \| (.*) \|$", prose(PAGES_BY["equations"]), re.M
    )
    assert len(rows) > 30
    for path, names in rows:
        for name in re.findall(r"`([\w.]+)`", names):
            assert attribute(path, name), f"{path}: {name}"
    choices = prose(PAGES_BY["choices"])
    mentions = re.findall(r"((?:`\w[\w.]*`(?:, )?)+) in ([\w/]+\.py)", choices)
    assert len(mentions) >= 15
    for names, path in mentions:
        for name in re.findall(r"`([\w.]+)`", names):
            assert attribute(path, name), f"{path}: {name}"
    for path in re.findall(r"\b[a-z_]+/[\w/]+\.py", choices):
        assert (ROOT / path).is_file(), path


def test_options_that_pages_name_exist() -> None:
    """In a command, those of its verb; in a sentence, those of a verb that the page is about."""
    known = {verb: set(options_of(config)) for verb, config in CONFIGS.items()}
    n_options = 0
    for page in PAGES:
        spans = re.findall(r"`([^`]+)`", re.sub(r"\s+", " ", prose(page)))
        lines = [command for command in commands(page) if words_of(command)[0] == FOCUSGYM]
        verbs = {verb for text in (*spans, *lines) if (verb := verb_of(text))} or known.keys()
        for text in (*spans, *lines):
            verb = verb_of(text) if "focusgym " in text else None
            for option in re.findall(r"(?<![\w-])--([a-z][\w-]*)", text):
                n_options += 1
                if text.startswith("python benchmarks/"):
                    assert f'"--{option}"' in (ROOT / text.split()[1]).read_text(), text
                    continue
                name = option.removeprefix("no-")
                of = {verb} if verb else verbs if page.stem != "choices" else known.keys()
                fits = [v for v in of if {name, option} & known[v]]
                assert fits or option in FOREIGN, f"{page.name}: --{option} in {text!r}"
    assert n_options > 150


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"(?:^|`)make (\w+)", page.read_text(), re.MULTILINE):
            assert f"\n{target}:" in makefile


def test_extras_that_are_installed_exist() -> None:
    setup = (ROOT / "setup.cfg").read_text()
    for page in PAGES:
        for extra in re.findall(r"pip install .*\.\[(\w+)\]", page.read_text()):
            assert f"\n{extra} =\n" in setup


def test_figures_in_the_readme_are_those_of_the_benchmarks() -> None:
    table = (ROOT / "README.md").read_text().partition("## In figures")[2].partition("## ")[0]
    figures = re.findall(r"\| ([^|]*\d)\s*\|$", table, re.MULTILINE)
    assert len(figures) == 7
    measured = (ROOT / "docs" / "benchmarks.md").read_text()
    for figure in ";".join(figures).split(";"):
        assert f"| {figure.strip()} |" in measured, figure
