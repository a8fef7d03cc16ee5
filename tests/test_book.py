"""The book: it builds without a warning, is complete, and asks nothing of the network."""

import re
from html.parser import HTMLParser

import yaml
from helpers import ROOT

# Elements that a browser loads by itself; a link that a reader may follow is not one.
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src", "object": "data"}


def listed() -> list[str]:
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    return [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]


def test_every_page_and_notebook_is_there(book):
    for name in listed():
        assert (book / f"{name}.html").is_file()
    notebooks = {f"notebooks/{p.stem}" for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert notebooks <= set(listed())


class Loads(HTMLParser):
    def __init__(self):
        super().__init__()
        self.addresses, self.pictures = [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        loads = tag in LOADED and not (tag == "link" and values.get("rel") in ("canonical", "next", "prev", "search", "author"))
        if loads and values.get(LOADED[tag]):
            self.addresses.append(values[LOADED[tag]])
        if tag == "img":
            self.pictures.append(values)


def test_no_page_loads_anything_from_the_network(book):
    for page in book.rglob("*.html"):
        found = Loads()
        found.feed(page.read_text())
        assert not [a for a in found.addresses if re.match(r"(https?:)?//", a)], page.name
    for sheet in book.rglob("*.css"):
        assert not re.findall(r"(?:@import\s+|url\(\s*)[\"']?(?:https?:)?//[^)\"']+", sheet.read_text()), sheet.name


def test_every_picture_of_the_book_has_a_text_in_its_place(book):
    for name in listed():
        found = Loads()
        found.feed((book / f"{name}.html").read_text())
        without = [p.get("src", "")[:60] for p in found.pictures if not (p.get("alt") or "").strip()]
        assert not [p for p in without if "_images" in p], name
