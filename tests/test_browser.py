"""The book in a real browser, opened from disk and cut off from the network."""

import os

import browser
import pytest
from helpers import listed
from PIL import Image

pytestmark = pytest.mark.skipif(
    not browser.browser() and "REQUIRE_BROWSER" not in os.environ, reason="chromium is not installed; .ci/run requires it"
)


@pytest.mark.parametrize("name", listed())
def test_a_page_asks_for_nothing_and_shows_everything(book, name):
    document, asked = browser.load(book / f"{name}.html")
    assert not asked
    assert document.count("<h1") >= 1 and "Traceback" not in document
    formulas = document.count('class="math ')
    assert document.count("<mjx-container") == formulas and "<mjx-merror" not in document


def test_a_request_would_be_seen(tmp_path):
    (tmp_path / "page.html").write_text(
        """<img src="https://example.org/a.png"> <script src="http://example.org/b.js"></script>
        <script>fetch("https://example.org/c")</script>
        <style>@font-face {font-family: x; src: url(https://example.org/d)} p {font-family: x}</style><p>text</p>"""
    )
    asked = browser.load(tmp_path / "page.html")[1]
    assert asked == {
        "https://example.org/a.png",
        "http://example.org/b.js",
        *map("https://example.org/{}".format, "cd"),
    }


def test_the_book_has_mathematics_and_it_is_drawn_with_its_own_fonts(book):
    missing = browser.evaluate(
        book / "book" / "glossary.html",
        """async w => { await w.MathJax.startup.promise; await w.document.fonts.ready;
            return [w.document.querySelectorAll("mjx-container").length,
                    [...w.document.fonts].filter(f => f.family.startsWith("MJX") && f.status == "error").length,
                    [...w.document.fonts].filter(f => f.family.startsWith("MJX") && f.status == "loaded").length]; }""",
    )
    formulas, failed, loaded = missing
    assert formulas > 0 and failed == 0 and loaded > 0


@pytest.fixture(scope="module")
def narrow(book) -> dict[str, list]:
    """Of each page on a screen of 390 pixels: the width that it takes, and how it shows its pictures in the dark theme."""
    function = """w => {
        const width = w.document.documentElement.scrollWidth;
        w.document.documentElement.dataset.theme = "dark";
        const pictures = [...w.document.querySelectorAll(".cell_output img, figure img")].map(p => w.getComputedStyle(p));
        return [width, pictures.map(s => s.backgroundColor + " " + s.filter)]; }"""
    return {name: browser.evaluate(book / f"{name}.html", function, width=390) for name in listed()}


def test_a_narrow_screen_needs_no_scrolling_sideways(narrow):
    assert not {name: width for name, (width, _) in narrow.items() if width > 390}


def test_pictures_keep_their_light_card_in_the_dark_theme(narrow):
    assert {style for _, styles in narrow.values() for style in styles} == {"rgb(251, 250, 247) none"}


def test_both_themes_follow_the_reader_s_system(book, tmp_path):
    brightness = {}
    for dark in (False, True):
        browser.screenshot(book / "book" / "intro.html", tmp_path / "page.png", dark, height=1000)
        brightness[dark] = Image.open(tmp_path / "page.png").convert("L").resize((1, 1)).getpixel((0, 0))
    assert brightness[False] > 180 and brightness[True] < 90
