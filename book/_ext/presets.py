"""The directive {presets} NAMES: in what trainings differ, as a table, made from the presets as the book is built."""

from sphinx.util.docutils import SphinxDirective

from alexnet_lib.presets import differences


class Presets(SphinxDirective):
    required_arguments = 1
    optional_arguments = 20

    def run(self) -> list:
        self.env.note_reread()  # Sphinx does not watch the presets
        return self.parse_text_to_nodes(differences(*self.arguments))


def setup(app) -> dict:
    app.add_directive("presets", Presets)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
