"""Prints the whole book, built as one page, to a PDF: with an outline, links that lead, and drawn mathematics.

python tools/pdf.py _build/singlehtml/book/intro.html book.pdf

SOURCE_DATE_EPOCH is the date that the file bears.
"""

import os
import re
import shutil
import sys
import time
from pathlib import Path

from ending import ended
from playwright.sync_api import sync_playwright

from alexnet_lib.system.files import whole

SEARCH = "searchindex.js"  # of a book on one page there is none
# One page after another: every picture loaded, every fold open, mathematics drawn.
READY = """async () => {
    for (const each of document.querySelectorAll("details")) each.open = true;
    for (const each of document.querySelectorAll(".toggle-hidden")) each.classList.remove("toggle-hidden");
    if (window.MathJax) await MathJax.startup.promise;
    await document.fonts.ready;
    await Promise.all([...document.images].map(i => i.decode().catch(() => i.src)));
}"""


def browser() -> str | None:
    """The browser's command, None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def beside_its_files(page: Path) -> Path:
    """The page in the folder that holds _static: Sphinx writes the links of its one page as if it lay there, wherever it lies."""
    root = next((folder for folder in page.parents if (folder / "_static").is_dir()), page.parent)
    if root == page.parent:
        return page
    moved = root / f"{page.stem}-whole.html"
    moved.write_text(page.read_text(encoding="utf-8").replace('"../_static/', '"_static/'), encoding="utf-8")
    return moved


def dated(pdf: bytes, epoch: int) -> bytes:
    """The file with its dates set, so that the same book gives the same bytes."""
    date = time.strftime("D:%Y%m%d%H%M%S+00'00'", time.gmtime(epoch)).encode()
    return re.sub(rb"D:\d{14}\+00'00'", date, pdf)


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    page, to = Path(sys.argv[1]), Path(sys.argv[2])
    if not page.is_file() or not browser():
        print(f"error: {'no page ' + str(page) if not page.is_file() else 'chromium is not installed'}", file=sys.stderr)
        return 1
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox", "--font-render-hinting=none"])
        context = chromium.new_context(offline=True, color_scheme="light", reduced_motion="reduce")
        tab = context.new_page()
        tab.set_default_timeout(1_200_000)
        tab.emulate_media(media="print")
        failed: list[str] = []
        tab.on("requestfailed", lambda request: failed.append(request.url))
        tab.goto(beside_its_files(page.resolve()).as_uri())
        if absent := [url for url in failed if SEARCH not in url]:
            print(f"error: the page lacks {len(absent)} of its files, such as {absent[0]}", file=sys.stderr)
            return 1
        tab.evaluate(READY)
        pdf = tab.pdf(prefer_css_page_size=True, print_background=True, outline=True, tagged=True)
        chromium.close()
    with whole(to) as partial:
        partial.write_bytes(dated(pdf, int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())))
    print(to)
    return 0


if __name__ == "__main__":
    sys.exit(ended(main))
