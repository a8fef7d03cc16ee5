"""The directives {network} PRESET, {kernels} EXPERIMENT/ARM-seedN, {race} and {cost}: figures to explore, made as the book is
built.

Their content is the caption, and :name: the label to refer to them by.
"""

import sys
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from alexnet_lib import ModelConfig
from alexnet_lib.book import explore, kernel_browser, race

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
import cost_explorer


class Interactive(SphinxDirective):
    required_arguments = 1
    has_content = True
    option_spec = {"name": directives.unchanged}  # noqa: RUF012
    script = ""  # of book/_static, for the pages that have such a figure

    def html(self) -> str:
        raise NotImplementedError

    def run(self) -> list:
        self.env.note_reread()  # Sphinx watches neither the library nor results/
        figure = nodes.figure("", nodes.raw("", self.html(), format="html"))
        if self.script:
            figure["script"] = self.script
        figure += nodes.caption("", "", *self.parse_inline(" ".join(self.content))[0])
        self.add_name(figure)
        return [figure]


class Network(Interactive):
    script = "network.js"

    def html(self) -> str:
        return explore.explorable(ModelConfig.preset(self.arguments[0]))


class Kernels(Interactive):
    script = "kernels.js"

    def html(self) -> str:
        return kernel_browser.browser(self.arguments[0])


class Race(Interactive):
    required_arguments = 0
    script = "race.js"

    def html(self) -> str:
        return race.explorable()


class Cost(Interactive):
    required_arguments = 0
    script = "cost.js"

    def html(self) -> str:
        return cost_explorer.explorable()


def add_scripts(app, page, template, context, doctree) -> None:
    """A page loads the scripts of its own figures only; the book as one page, which is printed, needs none."""
    for name in sorted({each["script"] for each in doctree.findall(nodes.figure) if "script" in each} if doctree else ()):
        app.add_js_file(name)


def setup(app) -> dict:
    app.add_directive("network", Network)
    app.add_directive("kernels", Kernels)
    app.add_directive("race", Race)
    app.add_directive("cost", Cost)
    app.connect("html-page-context", add_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
