"""The directive {gpu}: what cards have shown, from the records as they are when the book is built, or the command."""

import sys
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))


class Gpu(SphinxDirective):
    def run(self) -> list:
        from gpu.report import markdown

        self.env.note_reread()  # Sphinx does not watch the records
        return self.parse_text_to_nodes(markdown())


def setup(app) -> dict:
    app.add_directive("gpu", Gpu)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
