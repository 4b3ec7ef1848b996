"""The house: which module may import which, how long a module may be, and what names say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("recognizer", "feature_cache", "envs", "agents", "runs")  # by floors, the lowest first
Module = tuple[str, ...]


def module_of(path: Path) -> Module:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


@cache
def modules() -> dict[Module, Path]:
    return {module_of(path): path for room in ROOMS for path in (ROOT / room).rglob("*.py")}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports_of(path: Path) -> Iterator[Module]:
    """Modules of this project that a file imports when it runs, wherever the import stands."""
    package = path.parent.relative_to(ROOT).parts
    tree = tree_of(path)
    hints = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
        if node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level or node in hints:
            continue
        base = package[: len(package) - node.level + 1]
        target = (*base, *(node.module or "").split(".")) if node.module else base
        for alias in node.names:
            yield (*target, alias.name) if (*target, alias.name) in modules() else target


@cache
def arrows() -> dict[Module, set[Module]]:
    return {module: set(imports_of(path)) for module, path in modules().items()}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_lower_floors(room: str) -> None:
    lower = ROOMS[: ROOMS.index(room) + 1]
    for module, targets in arrows().items():
        if module[0] == room:
            wrong = {target for target in targets if target and target[0] not in lower}
            assert wrong <= {("__version__",)}, module


@pytest.mark.parametrize("depth", [2, 3], ids=["inner rooms", "modules"])
@pytest.mark.parametrize("room", ROOMS)
def test_no_circles(room: str, depth: int) -> None:
    """What imports another is not imported by it, directly or by others; nor is an inner room."""
    graph: dict[Module, set[Module]] = {}
    for module, targets in arrows().items():
        if module[0] == room and len(module) > 1:
            inside = {x[:depth] for x in targets if x[:1] == (room,) and len(x) > 1}
            graph.setdefault(module[:depth], set()).update(inside - {module[:depth]})
    while graph:
        free = [node for node, targets in graph.items() if not targets & graph.keys()]
        assert free, {
            "/".join(a): ["/".join(b) for b in c & graph.keys()] for a, c in graph.items()
        }
        for node in free:
            del graph[node]


def test_verbs_are_imported_by_nothing() -> None:
    """The command finds them by their names."""
    for module, targets in arrows().items():
        assert not any(target[:2] == ("runs", "verbs") for target in targets), module


def test_few_arrows_among_the_inner_rooms_of_runs() -> None:
    room_pairs = {
        (module[1], target[1])
        for module, targets in arrows().items()
        for target in targets
        if module[:1] == target[:1] == ("runs",) and len(module) > 1 and len(target) > 1
        if module[1] != target[1]
    }
    assert len(room_pairs) <= 40, sorted(room_pairs)


def test_modules_are_short() -> None:
    long = {
        path.name: n for path in modules().values() if (n := path.read_text().count("\n")) > 400
    }
    assert not long


def names_of(tree: ast.AST) -> Iterator[str]:
    """Names of variables, parameters, attributes, functions and classes that a module makes."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
                yield name


SAYS_NOTHING = {"found", "given", "there", "said", "whole", "tell", "told"}
_SUCH_A_WORD = re.compile(rf"\b_*({'|'.join(SAYS_NOTHING)})_*\b", re.IGNORECASE)
# A comment, or a string with its prefix.
_COMMENT_OR_STRING = re.compile(
    r"""#[^\n]*|([a-z]*)(?:"{3}(?:\\.|[^\\])*?"{3}|'{3}(?:\\.|[^\\])*?'{3}"""
    r"""|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')""",
    re.DOTALL | re.IGNORECASE,
)


def code_of(text: str) -> str:
    """A module without its comments and strings, but with f-strings, in which there is code."""
    return _COMMENT_OR_STRING.sub(
        lambda match: match[0] if "f" in (match[1] or "").lower() else "''", text
    )


def test_names_say_what_a_value_is() -> None:
    """Not that it was found or given: such a name fits everything."""
    folders = (*ROOMS, "tests", "benchmarks")
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        text = path.read_text()
        # To parse a file takes long: few have such a word outside of comments and strings.
        if _SUCH_A_WORD.search(text) and _SUCH_A_WORD.search(code_of(text)):
            names = {name.strip("_").lower() for name in names_of(tree_of(path))}
            assert not names & SAYS_NOTHING, path
