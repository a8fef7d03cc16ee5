"""What the first page shows and nobody types: the recorded training, the chapters, the map of the paper (opening.py has its top)."""

import base64
import io
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from alexnet_lib.evidence import records, verdicts

CHAPTERS = Path(__file__).parents[1] / "chapters.yml"
WORDS_A_MINUTE = 200
RUN = "small_cifar10/laptop-seed0.json"
PARAGRAPHS = (nodes.paragraph, nodes.title, nodes.caption, nodes.term)


def in_words() -> str:
    """How many claims have which verdict, as a line of Markdown."""
    counted = verdicts.tally()
    return f"**{sum(counted.values())} claims**: " + ", ".join(f"**{count}** {word}" for word, count in counted.items())


class Training(SphinxDirective):
    """The curve of a recorded run with its final errors, drawn from the record as the book is built."""

    def run(self) -> list:
        from alexnet_lib.book import figures

        self.env.note_reread()
        record = records.read(records.results_root() / RUN)
        metrics, curve = record["metrics"], record["curve"]
        figures.use_style()
        figure, axes = figures.plt.subplots(figsize=(8.5, 3.2))
        epochs = [e["epoch"] for e in curve]
        axes.plot(epochs, [e["train_error"] for e in curve], color=figures.COLOURS[0], label="training, dropout and crops on")
        for key, text, colour, below in (
            ("test_centre_top1_error", "test, one view", figures.COLOURS[2], False),
            ("test_top1_error", "test, ten views", figures.COLOURS[1], True),
        ):
            axes.axhline(metrics[key], color=colour, linewidth=1.5, linestyle="--")
            axes.annotate(f"{text}: {metrics[key]:.1f} %", (epochs[0], metrics[key]), (0, -4 if below else 4), color=colour,
                          textcoords="offset points", va="top" if below else "bottom")  # fmt: skip
        axes.set(xlabel="epoch", ylabel="top-1 error (%)", ylim=(0, None), xlim=(0, epochs[-1] + 1))
        axes.legend()
        figures.done(figure)
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=200, metadata={"Software": None})
        uri = f"data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}"
        error = f"{metrics['test_top1_error']:.1f} % of the test images wrong"
        alt = f"Training error by epoch, falling; two dashed lines for the test error, the lower with ten views: {error}."
        data, minutes = record["data"]["test"]["name"], record["training_seconds"] / 60
        picture = nodes.figure("", nodes.image(uri=uri, alt=alt), names=["training"])
        self.state.document.note_explicit_target(picture)
        environment = record["environment"]
        picture += nodes.caption("", "", *self.parse_inline(
            f"The small network on CIFAR-10 (`{data}`), seed {record['seed']}: {error} after {minutes:.0f} minutes on "
            f"{environment['threads']} cores of one processor. Drawn from `results/{RUN}`.")[0])  # fmt: skip
        return [picture]


class Minutes(nodes.General, nodes.Element):
    """Stands where the minutes of a page will be until all pages are read."""


class Chapters(SphinxDirective):
    """The chapters with their questions, what they need, and the minutes that their words take."""

    def run(self) -> list:
        self.env.note_reread()
        lines = ["| chapter | asks | minutes | needs |", "| --- | --- | --- | --- |"]
        for name, of in yaml.safe_load(CHAPTERS.read_text(encoding="utf-8"))["chapters"].items():
            lines.append(
                f"| {int(name[:2])}. {{doc}}`/notebooks/{name}` | {of['asks']} | {{minutes}}`notebooks/{name}` | {of['needs']} |"
            )
        return self.parse_text_to_nodes("\n".join(lines))


class Sections(SphinxDirective):
    """The paper's sections, the chapters that build and measure them, and the modules."""

    def run(self) -> list:
        self.env.note_reread()
        lines = ["| section of the paper | chapter | code |", "| --- | --- | --- |"]
        for of in yaml.safe_load(CHAPTERS.read_text(encoding="utf-8"))["sections"]:
            pages = ", ".join(f"{{doc}}`/{page}`" for page in of["pages"])
            code = ", ".join(f"{{py:mod}}`{m.removeprefix('alexnet_lib.').replace('.', '/')}.py <{m}>`" for m in of["code"])
            lines.append(f"| {of['section']} {of['title']} | {pages} | {code} |")
        return self.parse_text_to_nodes("\n".join(lines))


def minutes_role(name, rawtext, text, lineno, inliner, options=None, content=None):
    return [Minutes(page=text)], []


def fill(app, doctree, docname: str) -> None:
    """Counts the words of a page's prose, code and tables left out."""
    for place in list(doctree.findall(Minutes)):
        paragraphs = app.env.get_doctree(place["page"]).findall(lambda node: isinstance(node, PARAGRAPHS))
        words = sum(len(paragraph.astext().split()) for paragraph in paragraphs)
        place.replace_self(nodes.Text(str(max(1, round(words / WORDS_A_MINUTE)))))


def setup(app) -> dict:
    app.add_node(Minutes)
    app.add_directive("training", Training)
    app.add_directive("chapters", Chapters)
    app.add_directive("sections", Sections)
    app.add_role("minutes", minutes_role)
    app.connect("doctree-resolved", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
