"""What is true of every page: what the theme brings and this book does without, and its roles."""

import re

UNUSED = ("sphinx_thebe",)  # runs cells on a server elsewhere; it would also declare its constants twice


def leave_out(app, config) -> None:
    """Takes the listeners of extensions that Jupyter Book always loads and this book does not use."""
    for listeners in app.events.listeners.values():
        listeners[:] = [each for each in listeners if each.handler.__module__.split(".")[0] not in UNUSED]
    app.registry.css_files[:] = [sheet for sheet in app.registry.css_files if "thebe" not in sheet[0]]


def one_page_as_many(app) -> None:
    """Lets the book on one page, of which the PDF is made, draw its nodes as the pages do: where an extension says how for
    singlehtml, as that of the exercises does, Sphinx forgets what all others have said for HTML."""
    said = app.registry.translation_handlers
    if "singlehtml" in said:
        said["singlehtml"] = said.get("html", {}) | said["singlehtml"]


def drop_roles(app, page, template, context, doctree) -> None:
    """Takes the roles off a bibliography: docutils gives its entries one that a list may not hold."""
    if "body" in context:
        context["body"] = re.sub(r' role="(list|doc-biblioentry)"', "", context["body"])


def number_title(app, page, template, context, doctree) -> None:
    """Puts a chapter's number before the title that is printed, which the theme takes from elsewhere than the page's own."""
    if (number := app.env.toc_secnumbers.get(page, {}).get("")) and "pagetitle" in context:
        context["pagetitle"] = f"{'.'.join(map(str, number))}. {context['pagetitle']}"


def setup(app) -> dict:
    app.connect("config-inited", leave_out)
    app.connect("builder-inited", one_page_as_many)
    app.connect("html-page-context", drop_roles)
    app.connect("html-page-context", number_title, priority=900)  # after the theme, which sets it
    return {"parallel_read_safe": True, "parallel_write_safe": True}
