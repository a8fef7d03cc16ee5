"""Directives whose text is Markdown that the project writes as the book is built, so that it follows what it is made from.

{gpu}: what cards have shown, or the command. {survived}: what `make stress` tried and what survived. {presets} NAMES: in what
trainings differ, as a table.
"""

import sys
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

from alexnet_lib.book.differences import differences

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))


class Generated(SphinxDirective):
    def markdown(self) -> str:
        raise NotImplementedError

    def run(self) -> list:
        self.env.note_reread()  # Sphinx watches neither the records nor the presets
        return self.parse_text_to_nodes(self.markdown())


class Gpu(Generated):
    def markdown(self) -> str:
        from gpu.report import markdown

        return markdown()


class Survived(Generated):
    def markdown(self) -> str:
        from stress import markdown

        return markdown()


class Presets(Generated):
    required_arguments = 1
    optional_arguments = 20

    def markdown(self) -> str:
        return differences(*self.arguments)


def setup(app) -> dict:
    for name, directive in {"gpu": Gpu, "survived": Survived, "presets": Presets}.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
