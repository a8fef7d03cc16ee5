"""The directive {ledger}: the table of the paper's claims and the rules of their verdicts, judged as the book is built."""

from sphinx.util.docutils import SphinxDirective

from alexnet_lib.book.cards import Card
from alexnet_lib.evidence import claims


class Ledger(SphinxDirective):
    """Names no claim: whatever the ledger holds goes into the page, so that none can be left out."""

    def run(self) -> list:
        self.env.note_reread()  # the verdicts follow results/, which Sphinx does not watch
        ledger = claims.ledger()
        rules = [f"- Section {claim.section}. {claim.claim} *{claim.rule['text']}*" for claim in ledger.values()]
        table = Card(list(ledger))._repr_html_()
        return self.parse_text_to_nodes(f"```{{raw}} html\n{table}\n```\n\n**The rules, written before measuring**\n\n" + "\n".join(rules))


def setup(app) -> dict:
    app.add_directive("ledger", Ledger)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
