"""Names of the library in a chapter's code lead to their entries in the reference.

Only what a chapter imports counts, and no name that the chapter gives to something of its own.
"""

import ast
import re

import reference

PAGE = "book/api"
CODE = re.compile(r'<div class="highlight-(?:ipython3|python)[^"]*"[^>]*><div class="highlight"><pre>.*?</pre>', re.S)
DOT, NAME = r'<span class="o">\.</span>', r'<span class="n[cfe]?">(\w+)</span>'
# As Pygments writes a name that is no attribute of another, and the attribute that follows.
WRITTEN = re.compile(f"(?<!{DOT})(?P<whole>{NAME})(?P<rest>{DOT}{NAME})?")


def leads(page: str) -> tuple[dict[str, str], dict[str, str]]:
    """(entries, modules) that a chapter's code imports and whose names it gives to nothing else: full names by short ones."""
    nodes = [node for tree in reference.trees(page) for node in ast.walk(tree)]
    own = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    own |= {n.arg for n in nodes if isinstance(n, ast.arg | ast.keyword) and n.arg}
    own |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    entries, modules = reference.imported(page)
    there = {whole for module in reference.modules() for whole in reference.public(module).values()}
    return (
        {name: whole for name, whole in entries.items() if name not in own and whole in there},
        {name: whole for name, whole in modules.items() if name not in own},
    )


def linked(code: str, entries: dict[str, str], modules: dict[str, str], to: str) -> str:
    """A block of highlighted code, each name of the library as a link to the page `to` where it stands first."""
    before = set()

    def link(found: re.Match) -> str:
        first, rest = found["whole"], found["rest"] or ""
        name, *of = re.findall(r">(\w+)<", first + rest)
        if of and name in modules and of[0] in reference.public(modules[name]):
            first, rest, whole = first + rest, "", reference.public(modules[name])[of[0]]
        else:
            whole = entries.get(name)
        if not whole or whole in before:
            return first + rest
        before.add(whole)
        return f'<a class="to-entry" href="{to}#{whole}">{first}</a>{rest}'

    return WRITTEN.sub(link, code)


def link_code(app, page, template, context, doctree) -> None:
    room, _, name = page.partition("/")
    if room != "notebooks" or "body" not in context:
        return
    entries, modules = leads(name)
    to = app.builder.get_relative_uri(page, PAGE)
    context["body"] = CODE.sub(lambda found: linked(found[0], entries, modules, to), context["body"])


def setup(app) -> dict:
    app.connect("html-page-context", link_code)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
