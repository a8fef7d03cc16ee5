"""The PDF: folds open, pages in an outline, links that lead, and the same bytes for the same book."""

import os
import sys
from types import SimpleNamespace

import pdf
import pytest
from helpers import ROOT
from PIL import Image
from playwright.sync_api import sync_playwright

pytestmark = pytest.mark.skipif(
    not pdf.browser() and "REQUIRE_BROWSER" not in os.environ, reason="chromium is not installed; .ci/run requires it"
)
PAGE = """<!doctype html><html lang=en><title>t</title><h1>One</h1><p><a href="#two">to two</a>
<details><summary>s</summary><p>folded</p></details><h1 id=two>Two</h1>"""


def printed(tmp_path, monkeypatch, name: str) -> bytes:
    (tmp_path / "page.html").write_text(PAGE)
    monkeypatch.setattr(sys, "argv", ["pdf.py", str(tmp_path / "page.html"), str(tmp_path / name)])
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert pdf.main() == 0
    return (tmp_path / name).read_bytes()


def test_the_same_page_gives_the_same_bytes_with_outline_and_links(tmp_path, monkeypatch):
    first, again = (printed(tmp_path, monkeypatch, name) for name in ("a.pdf", "b.pdf"))
    assert first == again and first.startswith(b"%PDF")
    assert b"/Outlines" in first and b"/Link" in first and b"D:20231114221320" in first


def test_a_page_below_its_files_is_printed_beside_them(tmp_path, monkeypatch, capsys):
    """As Sphinx leaves the whole book: book/intro.html, whose links are those of a page one folder up."""
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "a.js").write_text("document.title = 'found'")
    (tmp_path / "book").mkdir()
    page = tmp_path / "book" / "intro.html"
    page.write_text('<!doctype html><title>t</title><script src="_static/a.js"></script><script src="../_static/a.js"></script>')
    moved = pdf.beside_its_files(page)
    assert moved.parent == tmp_path and "../_static" not in moved.read_text() and pdf.beside_its_files(moved) == moved
    monkeypatch.setattr(sys, "argv", ["pdf.py", str(page), str(tmp_path / "a.pdf")])
    assert pdf.main() == 0 and b"found" in (tmp_path / "a.pdf").read_bytes()
    (tmp_path / "_static" / "a.js").unlink()
    assert pdf.main() == 1 and "lacks 2 of its files" in capsys.readouterr().err


def test_what_is_missing_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pdf.py", str(tmp_path / "none.html"), str(tmp_path / "a.pdf")])
    assert pdf.main() == 1 and capsys.readouterr().err.count("\n") == 1


def test_the_book_on_one_page_knows_the_nodes_of_every_extension():
    """As Sphinx looks for them: by the builder's name, and by its format only where nothing has that name."""
    sys.path.append(str(ROOT / "book" / "_ext"))
    import page

    said = {"html": {"note": ("a", "b"), "exercise": ("c", "d")}, "singlehtml": {"exercise": ("e", "f")}}
    page.one_page_as_many(SimpleNamespace(registry=SimpleNamespace(translation_handlers=said)))
    assert said["singlehtml"] == {"note": ("a", "b"), "exercise": ("e", "f")} and said["html"]["exercise"] == ("c", "d")


ON_PAPER = """<!doctype html><html lang=en><title>t</title><style>.bd-main table, .admonition { break-inside: avoid }</style>
<link rel=stylesheet href=book.css><link rel=stylesheet href=live.css><link rel=stylesheet href=print.css>
<main class=bd-main><article class=bd-article><details class=hide><summary>s</summary><p id=folded>folded</p></details>
<table class="table long"><tbody>{rows}</tbody></table><table class="table short"><tbody><tr><td>row</td></tr></tbody></table>
<table class=claims><tbody><tr><td>a claim</td></tr></tbody></table><div class="admonition solution">s</div><div class=sd-col>card</div>
<p class=ledger-controls><label>Words <input></label></p>
<div class="live live-top"><div><p class=live-control>choose</p></div><div id=shown>shown</div></div>
<div class=cell_output><img src=tall.png></div></article></main>"""


def test_on_paper_folds_are_open_long_blocks_break_and_tall_plots_can_be_read(tmp_path):
    """Also where a reader prints a page, and no script has opened its folds."""
    for sheet in ("book.css", "live.css", "print.css"):
        (tmp_path / sheet).write_text((ROOT / "book" / "_static" / sheet).read_text())
    Image.new("RGB", (861, 1291)).save(tmp_path / "tall.png")  # the largest plot of the book: ten claims, letters of 14 pixels
    (tmp_path / "page.html").write_text(ON_PAPER.replace("{rows}", 16 * "<tr><td>row</td></tr>"))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=pdf.browser(), args=["--no-sandbox"])
        tab = chromium.new_page(viewport={"width": 673, "height": 900})  # what the margins leave of A4
        tab.set_default_timeout(180_000)
        tab.emulate_media(media="print")
        tab.goto((tmp_path / "page.html").as_uri())
        assert tab.evaluate("document.querySelector('#folded').checkVisibility()")
        kept = "all => all.map(e => getComputedStyle(e).breakInside)"
        assert set(tab.locator(".long, .claims, .solution").evaluate_all(kept)) == {"auto"}
        assert set(tab.locator(".short, .claims tr, .sd-col").evaluate_all(kept)) == {"avoid"}
        assert not tab.locator(".ledger-controls label").is_visible()
        assert tab.locator("#shown").bounding_box()["x"] < 50
        size = tab.locator("img").bounding_box()
        assert 550 < size["width"] <= 673 and size["height"] < 900
        chromium.close()
