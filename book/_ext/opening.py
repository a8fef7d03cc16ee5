"""What the first page opens with, made from the records: the kernels of both towers, the verdicts counted, some findings.

{first-kernels} EXPERIMENT/ARM-seedN shows the README's picture, made from that run; its content is the caption.
{verdicts} counts the claims by verdict, each count a link to them. {highlights} says what came out of the claims that it names.
{finding}`claim` is what came out of one, with its verdict, inside a sentence.
"""

import base64
import io
from html import escape
from pathlib import Path

from docutils import nodes
from interactive import Interactive
from PIL import Image
from sphinx.util.docutils import SphinxDirective, SphinxRole

from alexnet_lib import InputError
from alexnet_lib.book import cards
from alexnet_lib.config import one_of
from alexnet_lib.evidence import claims, records, verdicts

PAGE = "book/claims"
PICTURE = Path(__file__).parents[1] / "_static" / "kernels.png"  # tools/save_kernels.py draws it


def halves(picture: Image.Image) -> list[str]:
    """A picture of two towers side by side as the addresses of two, which a phone shows one below the other."""
    middle, found = picture.width // 2, []
    for left, right in ((0, middle), (middle, picture.width)):
        drawn = io.BytesIO()
        picture.crop((left, 0, right, picture.height)).save(drawn, "PNG")
        found.append(f"data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}")
    return found


class FirstKernels(Interactive):
    def html(self) -> str:
        self.env.note_dependency(str(PICTURE))
        gap = records.read(records.results_root() / f"{self.arguments[0]}.json")["metrics"]["tower_selectivity_gap"]
        alts = (
            "First-layer kernels of tower 1, sorted from grey to coloured: edges and stripes.",
            f"Those of tower 2: blobs and edges of colour. The mean colour selectivities of the two differ by {gap:.2f}.",
        )
        shown = zip(halves(Image.open(PICTURE)), alts, strict=True)
        pictures = "".join(f'<img alt="{alt}" src="{source}">' for source, alt in shown)
        return f'<div class="first-kernels">{pictures}</div>'


def address(directive, claim: str = "") -> str:
    """Of the page of claims, or of one of them, from the page that is being read."""
    builder, page = directive.env.app.builder, directive.env.docname
    return builder.get_relative_uri(page, PAGE) + (f"#claim-{claim}" if claim else "")


def tiles(counted: dict[str, int], page: str) -> str:
    """A list of the counts, each a link to the claims with that verdict."""
    items = [
        f'<li data-verdict="{word}"><a href="{page}?verdict={word.replace(" ", "+")}#the-ledger"><b>{count}</b> {word}</a></li>'
        for word, count in counted.items()
    ]
    return f'<ul class="verdicts">{"".join(items)}</ul>'


class Verdicts(SphinxDirective):
    def run(self) -> list:
        self.env.note_reread()  # the verdicts follow results/, which Sphinx does not watch
        return [nodes.raw("", tiles(verdicts.tally(), address(self)), format="html")]


class Highlights(SphinxDirective):
    """The claims that are named, each with the paper's figure, ours and the verdict. Raises InputError for one that is not there."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list:
        self.env.note_reread()
        ledger, rows = claims.ledger(), []
        for name in self.arguments[0].split():
            one_of("claim", name, ledger)
            claim, verdict = ledger[name], verdicts.judge(ledger[name])
            ours = cards.measured(claim, verdict) if verdict.value else ""
            rows.append(
                f'<li data-verdict="{verdict.word}"><a href="{address(self, name)}">{verdict.word}</a> {escape(claim.claim)} '
                f"<small>The paper: {escape(claim.paper)}.{f' Here: {escape(ours)}.' if ours else ''}</small></li>"
            )
        return [nodes.raw("", f'<ul class="highlights">{"".join(rows)}</ul>', format="html")]


class Finding(SphinxRole):
    def run(self) -> tuple:
        self.env.note_reread()
        try:
            one_of("claim", self.text, claims.ledger())
        except InputError as error:
            return [nodes.problematic("", self.text)], [self.inliner.reporter.error(str(error), line=self.lineno)]
        claim = claims.ledger()[self.text]
        verdict = verdicts.judge(claim)
        said = f"{verdict.word} ({cards.measured(claim, verdict)})" if verdict.value else verdict.word
        return [nodes.reference("", said, refuri=address(self, self.text), internal=True)], []


def setup(app) -> dict:
    app.add_directive("first-kernels", FirstKernels)
    app.add_directive("verdicts", Verdicts)
    app.add_directive("highlights", Highlights)
    app.add_role("finding", Finding())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
