"""The directive {listing} figures | exercises: every numbered figure, or every exercise, of the book, as links."""

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

KINDS = {"figures": "figure", "exercises": "exercise"}


class listing(nodes.General, nodes.Element):
    """Stands where the list will be until all pages are read."""


class Listing(SphinxDirective):
    required_arguments = 1

    def run(self) -> list:
        self.env.note_reread()
        return [listing(kind=KINDS[self.arguments[0]])]


def entries(env, kind: str, page: str):
    """(label, number, words) of a page's figures with a caption, or exercises."""
    numbers = env.toc_fignumbers.get(page, {}).get(kind, {})
    for node in env.get_doctree(page).findall(nodes.Element):
        if kind == "figure" and isinstance(node, nodes.figure):
            caption = next((child for child in node.children if isinstance(child, nodes.caption)), None)
            label = next((each for each in node["ids"] if each in numbers), None)
            if caption and label:
                yield label, numbers[label], caption.astext().split(". ")[0].rstrip(".")
        elif kind == "exercise" and type(node).__name__ == "exercise_enumerable_node":
            label = node["ids"][0] if node["ids"] else node.get("label", "")
            title = next((child for child in node.children if type(child).__name__ == "exercise_title"), None)
            words = next((child.astext() for child in title.children if type(child).__name__ == "exercise_subtitle"), "")
            yield label, numbers.get(label), words.strip()


def fill(app, doctree, docname: str) -> None:
    """Puts the lists in place of their stand-ins, grouped by page in the book's order."""
    env = app.env
    for place in list(doctree.findall(listing)):
        terms = nodes.definition_list()
        for page in pages(env):
            found = list(entries(env, place["kind"], page))
            if not found:
                continue
            items = nodes.bullet_list()
            for label, number, words in found:
                text = ".".join(map(str, number or ())) + (": " if number and words else "") + words
                link = nodes.reference("", text, internal=True, refuri=app.builder.get_relative_uri(docname, page) + f"#{label}")
                items += nodes.list_item("", nodes.paragraph("", "", link))
            title = nodes.term("", env.titles[page].astext())
            terms += nodes.definition_list_item("", title, nodes.definition("", items))
        place.replace_self(terms if len(terms) else nodes.paragraph("", "None yet."))


def pages(env) -> list[str]:
    """All pages in the order of the table of contents."""
    found, queue = [], [env.config.root_doc]
    while queue:
        page = queue.pop(0)
        found.append(page)
        queue = env.toctree_includes.get(page, []) + queue
    return found


def setup(app) -> dict:
    app.add_node(listing)
    app.add_directive("listing", Listing)
    app.connect("doctree-resolved", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
