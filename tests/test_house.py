"""The rooms of the library depend one way: book -> evidence -> core -> system, data -> system."""

import ast
import re

import pytest
from helpers import ROOT

LIBRARY = ROOT / "alexnet_lib"
FILES = sorted(path.relative_to(LIBRARY) for path in LIBRARY.rglob("*.py"))
MAY = {
    "system": {"system"},
    "data": {"data", "system"},
    "core": {"core", "system"},
    "evidence": {"evidence", "core", "data", "system"},
    "book": {"book", "evidence", "core", "data", "system"},
}


def room(path) -> str:
    return path.parts[0] if len(path.parts) > 1 else "core"


def imported(path) -> set[str]:
    """The rooms that a file of the library imports from, lazily or not."""
    rooms = set()
    package = ["alexnet_lib", *path.parts[:-1]]
    for node in ast.walk(ast.parse((LIBRARY / path).read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module or "").split(".")] if node.module else base
            names = [[*module, alias.name] for alias in node.names] if module[:1] == ["alexnet_lib"] else []
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names if alias.name.startswith("alexnet_lib")]
        rooms |= {name[1] if name[1] in MAY else "core" for name in names if len(name) > 1}
    return rooms


@pytest.mark.parametrize("path", [p for p in FILES if p.as_posix() not in ("__init__.py", "__main__.py")], ids=str)
def test_a_file_imports_only_rooms_below_its_own(path):
    assert imported(path) <= MAY[room(path)]


def test_an_import_the_other_way_would_be_seen(monkeypatch, tmp_path):
    (tmp_path / "model.py").write_text("def late():\n    from .evidence import records\n    from alexnet_lib.book import cards\n")
    monkeypatch.setattr("test_house.LIBRARY", tmp_path)
    assert imported(FILES[0].__class__("model.py")) == {"evidence", "book"}


def test_files_can_be_read_at_a_sitting():
    long = {path.as_posix(): len((LIBRARY / path).read_text().splitlines()) for path in FILES}
    assert max(long.values()) <= 300, max(long, key=long.get)


def test_no_test_imports_a_test():
    """What several need is in helpers.py, ledgers.py, browsing.py: a test file can be read, run and deleted alone."""
    for path in sorted((ROOT / "tests").glob("*.py")):
        assert not re.search(r"^\s*(from|import) test_", path.read_text(), re.MULTILINE), path.name
