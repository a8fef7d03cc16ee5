"""Writes what README.md shows and nobody types: the tree of the house, captioned by its docstrings, and the tally of verdicts.

python tools/readme.py
"""

import argparse
import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
sys.path.insert(0, str(ROOT / "book" / "_ext"))
from front import in_words  # noqa: E402
from reference import CORE  # noqa: E402

from alexnet_lib.system.files import whole  # noqa: E402

WINGS = {
    "data": "from folders to a packed set",
    "evidence": "from runs to verdicts",
    "book": "what the notebooks share",
    "system": "what any careful program needs",
}
WIDTH = 118


def caption(file: Path) -> str:
    """The first sentence or clause of a module's docstring that fits the line."""
    said = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n\n")[0].replace("\n", " ")
    room = WIDTH - 24
    cuts = [said[: found.start()] for found in re.finditer(r"\.(?: |$)|[:;] |, | \(section", said)]
    cuts = [cut for cut in cuts if all(cut.count(a) == cut.count(b) for a, b in ("()", "{}"))]
    return next((cut for cut in reversed(cuts) if len(cut) <= room), said[:room]).rstrip(".:;,")


def rows(folder: Path, order: str = "") -> list[str]:
    names = order.split()
    files = [path for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
    files.sort(key=lambda path: names.index(path.stem) if path.stem in names else len(names))
    return [f"  {path.name:<20}{caption(path)}" for path in files]


def tree() -> str:
    """The library file by file, the core in the paper's order, then its four wings."""
    library = ROOT / "alexnet_lib"
    length = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in library.glob("*.py"))
    head = f"the core, about {round(length, -2):,} lines in the paper's order: the evening's reading"
    lines = [f"alexnet_lib/           {head}", *rows(library, CORE)]
    for wing, words in WINGS.items():
        lines += [f"alexnet_lib/{wing + '/':<11}{words}", *rows(library / wing)]
    lines += [
        "notebooks/             the chapters, one idea of the paper each; 14_reproduction runs everything from pixels to verdict",
        "book/                  the book's pages and table of contents; make book renders them into _build/html",
        "results/               run records, committed: the evidence behind every measured number",
        "tools/                 what is run around the library: benchmarks, make reproduce",
        "tests/                 unit, property, notebook, book and browser tests",
        "data/, runs/           what is downloaded, packed and trained; ignored by git",
    ]
    return "```\n" + "\n".join(lines) + "\n```"


def written() -> str:
    """README.md as it should be."""
    text = README.read_text(encoding="utf-8")
    for name, part in (("tree", tree()), ("tally", in_words() + ".")):
        text = re.sub(
            rf"(<!-- {name}[^>]*-->\n).*?(\n<!-- end -->)", lambda found, p=part: found[1] + p + found[2], text, flags=re.S
        )
    return text


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    with whole(README) as partial:
        partial.write_text(written(), encoding="utf-8")
