"""The directive {survived}: what `make stress` tried and what survived, from its record as it is when the book is built."""

import sys
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))


class Survived(SphinxDirective):
    def run(self) -> list:
        from stress import markdown

        self.env.note_reread()  # Sphinx does not watch the records
        return self.parse_text_to_nodes(markdown())


def setup(app) -> dict:
    app.add_directive("survived", Survived)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
