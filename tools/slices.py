"""Which cells of a notebook depend on the records, or show the library's source, and which cells these need: so that new
records cost seconds, not a training.

Names tell: a cell depends on the last earlier cell that assigned, imported or changed a name that it uses.
"""

import ast
import re

READS = re.compile(r"\bchapter\.show\(|\bhere\.(card|measured|verdict)\b|\brecords\.|\bverdicts?\.|\bclaims\.|\bcards\.")
BEGINS = "chapter.begin("  # names the claims of every cell to come, but what it returns holds no record


def _parsed(code: str) -> ast.Module:
    """A cell without what is for IPython."""
    return ast.parse("\n".join(line for line in code.splitlines() if line[:1] not in "%!"))


def names(code: str) -> tuple[set[str], set[str], set[str]]:
    """(names that a cell takes from before it, names that it makes, names that it only changes)."""
    taken, made, changed = set(), set(), set()

    def read(*nodes: ast.AST | None) -> None:
        for node in filter(None, nodes):
            loaded = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
            own = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}  # comprehensions
            own |= {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
            taken.update(loaded - made - own)

    def write(target: ast.AST) -> None:
        for node in ast.walk(target):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                made.add(node.id)
            elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
                changed.update(_root(node) - made)
                read(node.value)

    def run(statements: list[ast.stmt]) -> None:
        for one in statements:
            if isinstance(one, ast.Import | ast.ImportFrom):
                made.update((alias.asname or alias.name).split(".")[0] for alias in one.names)
            elif isinstance(one, ast.FunctionDef | ast.ClassDef):
                inner = names("\n".join(map(ast.unparse, one.body)))
                arguments = {n.arg for n in ast.walk(one) if isinstance(n, ast.arg)}
                taken.update((inner[0] | inner[2]) - arguments - made - {one.name})
                made.add(one.name)
            elif isinstance(one, ast.Assign | ast.AnnAssign | ast.AugAssign):
                targets = one.targets if isinstance(one, ast.Assign) else [one.target]
                read(one.value)
                if isinstance(one, ast.AugAssign) and isinstance(one.target, ast.Name) and one.target.id not in made:
                    taken.add(one.target.id)
                for target in targets:
                    write(target)
            elif isinstance(one, ast.For):
                read(one.iter)
                write(one.target)
                run(one.body + one.orelse)
            elif isinstance(one, ast.With):
                for item in one.items:
                    read(item.context_expr)
                    if item.optional_vars is not None:
                        write(item.optional_vars)
                run(one.body)
            elif isinstance(one, ast.Try):
                read(*(handler.type for handler in one.handlers))
                made.update(handler.name for handler in one.handlers if handler.name)
                run([*one.body, *(line for handler in one.handlers for line in handler.body), *one.orelse, *one.finalbody])
            elif isinstance(one, ast.If | ast.While):
                read(one.test)
                run(one.body + one.orelse)
            else:
                read(one)
                if isinstance(one, ast.Expr) and isinstance(one.value, ast.Call):  # a method called for its effect
                    changed.update(_root(one.value.func) - made if isinstance(one.value.func, ast.Attribute) else ())

    run(_parsed(code).body)
    return taken, made, changed


def _root(node: ast.AST) -> set[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def dependencies(codes: list[str]) -> list[set[int]]:
    """For each cell the earlier cells that it needs directly. What a cell changes keeps its earlier makers."""
    makers: dict[str, set[int]] = {}
    imported, needs = {"here"}, []  # a method of a module, or of a chapter, changes nothing
    for place, code in enumerate(codes):
        imports = [n for n in ast.walk(_parsed(code)) if isinstance(n, ast.Import | ast.ImportFrom)]
        imported |= {(alias.asname or alias.name).split(".")[0] for node in imports for alias in node.names}
        taken, made, changed = names(code)
        changed -= imported
        needs.append({maker for name in taken | changed for maker in makers.get(name, ())})
        if "globals()" in code:  # who reads the parameters in this way names none of them
            needs[-1] |= set(range(place))
        makers |= {name: {place} for name in made} | {name: makers.get(name, set()) | {place} for name in changed - made}
    return needs


def of_records(codes: list[str]) -> tuple[set[int], set[int]]:
    """(cells whose output depends on the records, these and every cell that they need), by place."""
    needs = dependencies(codes)
    affected: set[int] = set()
    for place, code in enumerate(codes):
        sources = {n for n in needs[place] if n in affected and BEGINS not in codes[n]}
        if READS.search(code) or BEGINS in code or sources:
            affected.add(place)
    wanted, waiting = set(), list(affected)
    while waiting:
        place = waiting.pop()
        if place not in wanted:
            wanted.add(place)
            waiting += needs[place]
    return affected, wanted
