"""The book in a real browser, opened from disk and cut off from the network: what is asked for, seen, heard and printed."""

import pytest
from browsing import AXE, RUN_AXE, RUN_CONTRAST, Opened, needs_browser
from helpers import listed

from alexnet_lib.evidence import verdicts

pytestmark = needs_browser


@pytest.mark.parametrize("name", [*listed(), "search", "genindex"])
def test_a_page_asks_for_nothing_complains_of_nothing_and_can_be_used_by_all(chromium, book, name):
    with Opened(chromium, book / f"{name}.html") as page:
        formulas, drawn, wrong = page.tab.evaluate(
            "['.math', 'mjx-container', 'mjx-merror'].map(s => document.querySelectorAll('.bd-article ' + s).length)"
        )
        assert drawn == formulas and not wrong
        page.tab.evaluate(AXE)
        found = page.tab.evaluate(RUN_AXE, name == "book/reproduce")["violations"]
        found = {v["id"]: [n["html"][:200] for n in v["nodes"]] for v in found if v["impact"] in ("serious", "critical")}
        assert not found
        assert not page.asked and not page.complaints


@pytest.mark.parametrize("name", listed())
def test_a_phone_needs_no_scrolling_sideways_and_the_dark_theme_keeps_the_pictures_card(chromium, book, name):
    with Opened(chromium, book / f"{name}.html", width=360, dark=True) as page:
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= 360
        styles = page.tab.evaluate(
            """[...document.querySelectorAll(".cell_output img, figure img")].map(p => getComputedStyle(p))
            .map(s => s.backgroundColor + " " + s.filter)"""
        )
        assert set(styles) <= {"rgb(251, 250, 247) none"}
        unreached = page.tab.evaluate(
            """[...document.querySelectorAll(".bd-article *")].filter(e => e.scrollWidth > e.clientWidth + 1
            && getComputedStyle(e).overflowX == "auto" && e.tabIndex < 0 && !e.querySelector("a, button, input"))
            .map(e => e.outerHTML.slice(0, 100))"""
        )
        assert not unreached
        page.tab.evaluate(AXE)
        assert not [node["html"][:200] for found in page.tab.evaluate(RUN_CONTRAST) for node in found["nodes"]]


@pytest.mark.parametrize("name", [page for page in listed() if page.startswith("book/")])
def test_no_table_of_words_is_cut_off_on_a_phone(chromium, book, name):
    """Each row is a card there, which says the names of its columns."""
    with Opened(chromium, book / f"{name}.html", width=360) as page:
        cut = page.tab.evaluate(
            """[...document.querySelectorAll(".bd-article table.table")].filter(t => t.scrollWidth > t.parentElement.clientWidth + 1
            && [...t.querySelectorAll("tbody td")].some(td => td.textContent.length > 30)).map(t => t.textContent.slice(0, 60))"""
        )
        assert not cut
        labels = page.tab.evaluate("[...document.querySelectorAll('table.cards td')].map(td => td.dataset.label || '')")
        assert all(labels) and (labels or name != "book/intro")


def test_a_count_of_the_first_page_leads_to_its_claims(chromium, book):
    counted = verdicts.tally()
    with Opened(chromium, book / "book" / "intro.html") as page:
        page.tab.locator("ul.verdicts a", has_text="contradicted").focus()
        page.tab.keyboard.press("Enter")
        page.tab.wait_for_url("**/claims.html*")
        shown = page.tab.locator("table.claims tbody tr:visible")
        assert shown.count() == counted["contradicted"] == int(page.tab.locator("#ledger-count").inner_text().split()[0])


def test_what_is_wrong_with_a_page_would_be_seen(chromium, tmp_path):
    (tmp_path / "page.html").write_text(
        """<img src="https://example.org/a.png"> <script src="http://example.org/b.js"></script>
        <script>fetch("https://example.org/c").catch(() => 0); console.error("said"); undefined.thrown</script>
        <style>@font-face {font-family: x; src: url(https://example.org/d)} p {font-family: x}</style><p>text</p>"""
    )
    with Opened(chromium, tmp_path / "page.html") as page:
        page.tab.wait_for_timeout(500)
        page.tab.evaluate(AXE)
        assert "image-alt" in {v["id"] for v in page.tab.evaluate(RUN_AXE, True)["violations"]}
    assert {url.rpartition("/")[2] for url in page.asked} == {"a.png", "b.js", "c", "d"}
    assert "said" in page.complaints and any("thrown" in text for text in page.complaints)


def test_mathematics_is_drawn_with_the_book_s_own_fonts(chromium, book):
    with Opened(chromium, book / "book" / "glossary.html") as page:
        page.tab.evaluate("document.fonts.ready.then(() => 0)")
        states = page.tab.evaluate("[...document.fonts].filter(f => f.family.startsWith('MJX')).map(f => f.status)")
        assert "loaded" in states and "error" not in states


def test_no_line_begins_with_the_full_stop_after_a_formula(chromium, book):
    with Opened(chromium, book / "notebooks" / "04_overlapping_pooling.html") as page:
        loose = page.tab.evaluate(
            "[...document.querySelectorAll('span.math')].filter(f => /^[.,;:)]/.test(f.nextSibling?.data ?? '') && "
            "getComputedStyle(f.parentElement).whiteSpace != 'nowrap').length"
        )
        assert loose == 0 and page.tab.locator(".unbroken").count() > 10


def test_both_themes_follow_the_reader_s_system(chromium, book):
    for dark in (False, True):
        with Opened(chromium, book / "book" / "intro.html", dark=dark) as page:
            colour = page.tab.evaluate("getComputedStyle(document.body).backgroundColor")
            red = int(colour.partition("(")[2].split(",")[0])
            assert red < 90 if dark else red > 180


def test_a_picture_is_enlarged_and_closed_by_keyboard(chromium, book):
    with Opened(chromium, book / "book" / "intro.html", width=360) as page:
        page.tab.locator("button.enlarge").first.focus()
        page.tab.keyboard.press("Enter")
        shown = page.tab.locator("dialog.enlarged[open] img")
        assert shown.bounding_box()["width"] > 700 and shown.get_attribute("alt")
        page.tab.keyboard.press("Escape")
        assert page.tab.locator("dialog.enlarged[open]").count() == 0
        assert page.tab.evaluate("document.activeElement.className") == "enlarge"


def test_a_slider_says_its_value(chromium, book, tmp_path):
    from alexnet_lib.book import figures

    def draw(value):
        figure, axes = figures.plt.subplots(figsize=(2, 1))
        axes.plot([0, value])
        return figures.done(figure)

    slider = figures.Slider(draw, [1, 2, 5], "gain", "a line")._repr_html_()
    (tmp_path / "page.html").write_text(f"<!doctype html><html lang=en><title>t</title><main><h1>t</h1>{slider}</main>")
    with Opened(chromium, tmp_path / "page.html") as page:
        knob = page.tab.locator("input")
        knob.focus()
        page.tab.keyboard.press("ArrowRight")
        page.tab.keyboard.press("ArrowRight")
        assert knob.get_attribute("aria-valuetext") == "gain = 5" and page.tab.locator("output").inner_text() == "5"
        assert page.tab.locator("img:visible").get_attribute("alt") == "a line; gain = 5"
        page.tab.evaluate(AXE)
        assert not page.tab.evaluate(RUN_AXE, True)["violations"]


def test_on_paper_a_slider_is_several_pictures_and_a_handout_has_no_solutions(chromium, book):
    chapter = book / "notebooks" / "04_overlapping_pooling.html"
    with Opened(chromium, chapter, width=700) as page:
        frames = page.tab.locator(".slider-frames")
        sliders = page.tab.locator(".slider").count()
        assert frames.count() == sliders > 1 and not frames.first.is_visible()
        page.tab.emulate_media(media="print")
        for number in range(sliders):
            knob = page.tab.locator(".slider").nth(number)
            assert frames.nth(number).is_visible() and not knob.is_visible()
            pictures = knob.locator("img").evaluate_all("all => all.map(picture => picture.alt)")
            shown = frames.nth(number).locator("figure")
            alts = shown.locator("img").evaluate_all("all => all.map(picture => picture.alt)")
            assert 2 <= len(alts) <= 4 and alts[0] == pictures[0] and alts[-1] == pictures[-1]
            assert shown.locator("figcaption").all_inner_texts() == [alt.split("; ")[-1] for alt in alts]
        assert page.tab.locator("div.solution").first.is_visible()
        assert page.tab.locator(".bd-article h1, #jb-print-docs-body h1").first.inner_text().startswith("4. ")
        page.tab.goto(chapter.as_uri() + "?handout")
        assert page.tab.locator("div.exercise").first.is_visible() and not page.tab.locator("div.solution").first.is_visible()


def test_search_from_disk_finds_pages_and_says_what_it_can_do(chromium, book):
    with Opened(chromium, book / "search.html") as page:
        page.tab.goto((book / "search.html").as_uri() + "?q=saturation")
        page.tab.locator("#search-results li a").first.wait_for()
        assert "01_relu" in " ".join(page.tab.locator("#search-results li a").evaluate_all("all => all.map(a => a.href)"))
        assert "Opened from disk" in page.tab.locator(".search-note").inner_text()
        page.tab.wait_for_timeout(500)
        assert not page.complaints and not page.asked


def test_nothing_is_cut_off_on_paper(chromium, book):
    """Chapter 12 has the longest lines."""
    with Opened(chromium, book / "notebooks" / "12_the_2012_code.html", width=700) as page:
        page.tab.emulate_media(media="print")
        cut = page.tab.evaluate(
            "[...document.querySelectorAll('.bd-article pre, .bd-article table, .bd-article .pst-scrollable-table-container')]"
            ".filter(e => e.getClientRects().length && e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 80))"
        )
        assert not cut
        shadows = page.tab.evaluate(
            "[...document.querySelectorAll('*')].filter(e => getComputedStyle(e).boxShadow != 'none').length"
        )
        assert not shadows  # each would be a picture in the PDF
        fading = page.tab.evaluate(
            "[...document.querySelectorAll('*')].filter(e => getComputedStyle(e).animationName != 'none').length"
        )
        assert not fading  # or a fold that opens is printed empty
        kept = page.tab.evaluate(
            "[...document.querySelectorAll('.bd-article pre, .bd-article .cell, .bd-article div.highlight, .bd-article div[class*=highlight-]')].filter(e => !e.closest('.output.short') && getComputedStyle(e).breakInside != 'auto').length"
        )
        assert not kept  # or half of a page stays white above a long block of code
