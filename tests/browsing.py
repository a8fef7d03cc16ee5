"""A page of the book opened in a real browser, for the tests that look at pages."""

import os
from pathlib import Path

import axe_playwright_python
import pdf
import pytest

needs_browser = pytest.mark.skipif(
    not pdf.browser() and "REQUIRE_BROWSER" not in os.environ, reason="chromium is not installed; .ci/run requires it"
)
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
# Thousands of drawn formulas and of words of highlighted code and signatures look alike: they become plain text first, except on one page.
MAKE_PLAIN = """document.querySelectorAll("mjx-container").forEach(e => e.remove());
    document.querySelectorAll(".highlight pre, .sig-param").forEach(e => { e.textContent = e.textContent; });"""
RUN_AXE = f"""async code => {{
    if (!code) {{ {MAKE_PLAIN} }}
    return await axe.run({{preload: false, resultTypes: ["violations"], rules: {{"label-content-name-mismatch": {{enabled: true}}}}}});
}}"""
# The colours alone, such as those of the dark theme on a page whose structure was looked at in the light one.
RUN_CONTRAST = f"""async () => {{
    {MAKE_PLAIN}
    return (await axe.run({{preload: false, resultTypes: ["violations"], runOnly: ["color-contrast"]}})).violations;
}}"""


class Opened:
    """A page with what it asked for outside this machine, and what the console and its scripts complained of."""

    def __init__(self, chromium, page: Path, width: int = 1300, dark: bool = False, touch: bool = False):
        screen = {"viewport": {"width": width, "height": 900}, "has_touch": touch}
        self.context = chromium.new_context(**screen, color_scheme="dark" if dark else "light")
        self.asked, self.complaints = [], []
        self.context.route("**/*", self._local)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(180_000)
        self.tab.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.goto(page.resolve().as_uri())
        self.tab.evaluate("async () => { if (window.MathJax) await MathJax.startup.promise; }")

    def _local(self, route) -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            self.asked.append(route.request.url)
            route.abort()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()
