"""The directive {reference}: every public class and function of the library, from its docstrings, module by module.

Each entry names the chapters that use it, and each chapter ends with links to what it uses.
"""

import ast
import importlib
import json
import pkgutil
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

import alexnet_lib

# The core in the paper's order; what is not named here follows by name, and each wing after it.
CORE = "config presets runs_2012 layers fast_lrn model towers exchange augment batches optim training checkpoint evaluation introspection summary"
CODE = re.compile(r"(``?[^`]+``?)")
NO_TYPE = "\ue000"  # a colon, while the sections of a docstring are set
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def modules() -> list[str]:
    """The names of the library's modules, as they are to be read."""
    found = [m.name for m in pkgutil.walk_packages(alexnet_lib.__path__, "alexnet_lib.") if not m.ispkg]
    found = [name for name in found if not name.endswith(("__main__", "commands"))]  # --help says what these are
    core = [f"alexnet_lib.{name}" for name in CORE.split()]

    def place(name: str) -> tuple:
        return name.count("."), core.index(name) if name in core else len(core), name

    return sorted(found, key=place)


@cache
def public(module: str) -> dict[str, str]:
    """What a module defines for others and says something about: full names by short ones."""
    found = vars(importlib.import_module(module))
    return {
        key: f"{module}.{key}"
        for key, each in found.items()
        if key in found.get("__all__", found)
        and callable(each)
        and hasattr(each, "__qualname__")  # a class or a function, and no instance that can be called
        and getattr(each, "__module__", "") == module
        and key[0] != "_"
        and each.__doc__
    }


@cache
def trees(page: str) -> list[ast.Module]:
    """The code of a chapter, cell by cell."""
    cells = json.loads((NOTEBOOKS / f"{page}.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return [ast.parse("\n".join(line for line in text.splitlines() if line[:1] not in "%!")) for text in code]


@cache
def imported(page: str) -> tuple[dict[str, str], dict[str, str]]:
    """What a chapter imports of the library: (its entries, its modules), full names by those that the chapter uses."""
    entries, whole_modules = {}, {}
    for node in (node for tree in trees(page) for node in ast.walk(tree)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("alexnet_lib"):
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                if whole in modules():
                    whole_modules[name.asname or name.name] = whole
                else:
                    each = getattr(importlib.import_module(node.module), name.name, None)
                    entries[name.asname or name.name] = f"{getattr(each, '__module__', node.module)}.{name.name}"
    return entries, whole_modules


@cache
def used(page: str) -> list[str]:
    """The full names of what a chapter's code takes from the library, in the library's order."""
    entries, whole_modules = imported(page)
    found = set(entries.values())
    for node in (node for tree in trees(page) for node in ast.walk(tree)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in whole_modules:
            found.add(f"{whole_modules[node.value.id]}.{node.attr}")
    return [name for module in modules() for name in public(module).values() if name in found]


@cache
def users(name: str) -> list[str]:
    """The chapters whose code uses an entry of the library."""
    return [page.stem for page in sorted(NOTEBOOKS.glob("*.ipynb")) if name in used(page.stem)]


class Reference(SphinxDirective):
    """Without arguments: whatever the library holds, so that nothing can be left out."""

    def run(self) -> list:
        self.env.note_reread()  # Sphinx does not watch the library
        parts = []
        for name in filter(public, modules()):
            path = name.removeprefix("alexnet_lib.").replace(".", "/") + ".py"
            parts.append(f"## `{path}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```")
        return self.parse_text_to_nodes("\n\n".join(parts), allow_section_headings=True)


def plain(app, what, name, thing, options, lines: list[str]) -> None:
    """Docstrings are plain text with code in backticks: what reStructuredText would take for markup is escaped."""
    for number, line in enumerate(lines):
        parts = CODE.split(line)
        parts[::2] = [re.sub(r"([*|]|_\b)", r"\\\1", part) for part in parts[::2]]
        lines[number] = "".join(parts)
    # What stands before the first colon of a property, or of what is returned, would be taken for its type.
    if what == "property" and lines:
        lines[0] = lines[0].replace(":", NO_TYPE)
    for number, (above, line) in enumerate(pairwise(lines), 1):
        if above.strip() == "Returns:":
            lines[number] = line.replace(":", NO_TYPE)
    if lines and lines[0].startswith("Alias for field number"):  # which Python says of what has a comment in the source
        lines.clear()


def name_users(app, what, name, thing, options, lines: list[str]) -> None:
    """Adds to an entry the chapters that use it, and gives the colons back that `plain` hid."""
    lines[:] = [line.replace(NO_TYPE, ":") for line in lines]
    if chapters := users(name):
        links = ", ".join(f":doc:`{int(page[:2])} </notebooks/{page}>`" for page in chapters)
        lines += ["", f"*Used in chapter{'s' if len(chapters) > 1 else ''}* {links}.", ""]


def name_used(app, doctree) -> None:
    """Adds to the end of a chapter the entries that its code uses."""
    room, _, page = app.env.docname.partition("/")
    names = used(page) if room == "notebooks" else []
    names = [name for name in names if not name.startswith("alexnet_lib.book.")]  # which is every chapter's scaffold
    if not names:
        return
    line = nodes.paragraph("", "", nodes.strong("", "From the library: "), classes=["from-the-library"])
    for number, name in enumerate(names):
        line += nodes.Text(", " if number else "")
        link = addnodes.pending_xref("", refdomain="py", reftype="obj", reftarget=name, refexplicit=True, refdoc=app.env.docname)
        line += link
        link += nodes.literal("", name.rpartition(".")[2])
    line += nodes.Text(".")
    next(iter(doctree.findall(nodes.section))).append(line)


def without_modules(app, doctree) -> None:
    """The index has the library's names, and not every file as two lines of its own."""
    for node in doctree.findall(addnodes.index):
        node["entries"] = [entry for entry in node["entries"] if not entry[1].startswith("module; ")]


def short(app, what, name, thing, options, signature: str | None, returns: str | None) -> tuple:
    """In signatures a field's bounds are left out: what is asked of a value is said by the error. A default that is made
    anew for each is written as dots, since Sphinx makes links of what it can read as Python only."""
    if not signature:
        return signature, returns
    signature = re.sub(r"(~?typing\.)?Annotated\[([\w.]+), [^\]]*\]", r"\2", signature)
    return re.sub(r"~?\b(typing|alexnet_lib(\.\w+)+)\.(?=[A-Z])", "", signature.replace("<factory>", "...")).replace(
        "~", ""
    ), returns


def setup(app) -> dict:
    app.add_directive("reference", Reference)
    app.connect("autodoc-process-docstring", plain, priority=400)  # before the sections of a docstring are set
    app.connect("autodoc-process-docstring", name_users, priority=600)  # and after
    app.connect("autodoc-process-signature", short)
    app.connect("doctree-read", name_used)
    app.connect("doctree-read", without_modules)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
