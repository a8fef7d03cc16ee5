"""The book: it builds without a warning, is complete, and asks nothing of the network."""

import re
from html.parser import HTMLParser

import draw_network
from helpers import ROOT, listed

from alexnet_lib import ModelConfig, presets
from alexnet_lib.book.diagram import overview
from alexnet_lib.evidence import claims

# Elements that a browser loads by itself; a link that a reader may follow is not one.
LOADED = {"src", "srcset", "poster"}
LOADED_LINKS = {"stylesheet", "icon", "shortcut icon", "preload", "modulepreload", "preconnect", "dns-prefetch"}
ADDRESS = re.compile(r"(https?:)?//")


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
        values = {name: value or "" for name, value in attributes}
        self.addresses += [values[name] for name in LOADED & set(values)]
        self.addresses += re.findall(r"url\([\"']?([^\"')]+)", values.get("style", ""))
        if tag == "link" and values.get("rel") in LOADED_LINKS:
            self.addresses.append(values.get("href", ""))
        if tag == "object":
            self.addresses.append(values.get("data", ""))
        if tag == "img":
            self.pictures.append(values)


def loads(text: str) -> Loads:
    found = Loads()
    found.feed(text)
    return found


def test_no_page_loads_anything_from_the_network(book):
    for page in book.rglob("*.html"):
        assert not [a for a in loads(page.read_text()).addresses if ADDRESS.match(a)], page.name
    for sheet in book.rglob("*.css"):
        named = re.findall(r"(?:@import\s+|url\(\s*)[\"']?([^\"')\s;]+)", sheet.read_text())
        assert not [a for a in named if ADDRESS.match(a)], sheet.name


def test_what_would_be_loaded_is_found():
    page = '<link rel="stylesheet" href="//a/b.css"><script src="https://a/b.js"></script><a href="https://a"></a>'
    assert [a for a in loads(page).addresses if ADDRESS.match(a)] == ["//a/b.css", "https://a/b.js"]


def test_every_picture_of_the_book_has_words_in_its_place(book):
    for name in listed():
        for picture in loads((book / f"{name}.html").read_text()).pictures:
            words = picture.get("alt", "")  # Sphinx puts the file's name where there is none
            assert len(words.split()) >= 3 or "_images" not in picture["src"], f"{name}: {picture['src']} has alt {words!r}"


def test_the_first_picture_is_drawn_from_the_preset():
    assert draw_network.FILE.read_text() == overview(ModelConfig.preset("paper"))


def test_the_claims_page_has_every_claim_and_its_rule(book):
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", (book / "book" / "claims.html").read_text()))
    shown = shown.replace("’", "'")  # quotation marks are set as a printer would
    for claim in claims.ledger().values():
        assert claim.claim in shown and claims.judge(claim).word in shown
        assert claim.rule["text"][:40] in shown


def test_the_table_of_trainings_is_made_from_the_presets(book):
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (book / "book" / "many_machines.html").read_text()))
    for line in presets.differences("paper", "code_2012", "fast").splitlines()[2:]:
        assert " ".join(line.replace("|", " ").split()) in shown
