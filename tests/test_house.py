"""The rooms of the library depend one way: book -> evidence -> core -> system, data -> system.

Two files stand at the door and not in a room: `__init__` hands out the public names, of which open_dataset is one of the wing
data; `__main__` is the command line, which calls every room. Nothing imports `__main__`.
"""

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
    "__init__": {"core", "data", "system"},
    "__main__": {"book", "evidence", "core", "data", "system"},
}


def room(path) -> str:
    if len(path.parts) > 1:
        return path.parts[0]
    return path.stem if path.stem in MAY else "core"


def imported(path, late: bool = True) -> set[str]:
    """The rooms that a file of the library imports from, lazily or not; without `late`, as soon as it is imported itself."""
    rooms = set()
    package = ["alexnet_lib", *path.parts[:-1]]
    tree = ast.parse((LIBRARY / path).read_text())
    for node in ast.walk(tree) if late else tree.body:
        names = []
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module or "").split(".")] if node.module else base
            names = [[*module, alias.name] for alias in node.names] if module[:1] == ["alexnet_lib"] else []
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names if alias.name.startswith("alexnet_lib")]
        rooms |= {name[1] if name[1] in MAY else "core" for name in names if len(name) > 1}
    return rooms


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_imports_only_rooms_below_its_own(path):
    assert imported(path) <= MAY[room(path)]


def test_an_import_the_other_way_would_be_seen(monkeypatch, tmp_path):
    (tmp_path / "model.py").write_text("def late():\n    from .evidence import records\n    from alexnet_lib.book import cards\n")
    monkeypatch.setattr("test_house.LIBRARY", tmp_path)
    assert imported(FILES[0].__class__("model.py")) == {"evidence", "book"}


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "commands.py"], ids=str)
def test_the_commands_of_a_wing_load_it_when_they_are_called(path):
    """So that --help is as quick as the core."""
    assert imported(path, late=False) <= {"system"} and room(path) in imported(path)


def test_files_can_be_read_at_a_sitting():
    long = {path.as_posix(): len((LIBRARY / path).read_text().splitlines()) for path in FILES}
    assert max(long.values()) <= 300, max(long, key=long.get)


def test_no_test_imports_a_test():
    """What several need is in helpers.py, ledgers.py, browsing.py: a test file can be read, run and deleted alone."""
    for path in sorted((ROOT / "tests").glob("*.py")):
        assert not re.search(r"^\s*(from|import) test_", path.read_text(), re.MULTILINE), path.name


def opened_in_some_encoding(text: str) -> list[int]:
    """The lines that read or write text in the encoding of whichever machine it is."""
    lines = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or any(word.arg == "encoding" for word in node.keywords):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == "open" and isinstance(node.func, ast.Name):
            mode = [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "mode")]
            if not mode or not any(isinstance(part, ast.Constant) and "b" in str(part.value) for part in ast.walk(mode[0])):
                lines.append(node.lineno)
        if (name == "read_text" and not node.args) or (name == "write_text" and len(node.args) < 2):
            lines.append(node.lineno)
    return lines


def test_text_is_read_and_written_in_a_named_encoding():
    """Where the machine's is ASCII, as in a bare container, the first é of a notebook would end the command."""
    assert opened_in_some_encoding("open(x)\nopen(x, 'rb')\np.read_text()\np.read_text(encoding='utf-8')\np.write_text(x)") == [
        1,
        3,
        5,
    ]
    rooms = (LIBRARY, ROOT / "tools", ROOT / "book" / "_ext")
    every = [path for room in rooms for path in room.rglob("*.py")]
    found = {path.name: lines for path in every if (lines := opened_in_some_encoding(path.read_text(encoding="utf-8")))}
    assert not found
