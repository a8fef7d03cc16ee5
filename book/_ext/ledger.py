"""The directive {ledger}: every claim with its verdict, as a picture, as a table and as files, made as the book is built."""

import csv
import io
import json
from collections import Counter
from dataclasses import asdict
from html import escape
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

from alexnet_lib.book import cards, figures
from alexnet_lib.evidence import claims, verdicts

FILTER = """
document.querySelectorAll('[data-ledger]').forEach(box => box.addEventListener('input', () => {
  const word = document.getElementById('ledger-word').value, text = document.getElementById('ledger-text').value.toLowerCase();
  const rows = document.querySelectorAll('table.claims tbody tr');
  let shown = 0;
  rows.forEach(row => {
    row.hidden = (word && row.dataset.verdict !== word) || !row.textContent.toLowerCase().includes(text);
    shown += !row.hidden;
  });
  document.getElementById('ledger-count').textContent = `${shown} of ${rows.length} claims`;
}));
"""


class Ledger(SphinxDirective):
    """Names no claim: whatever the ledger holds goes into the page, so that none can be left out."""

    def run(self) -> list:
        self.env.note_reread()  # the verdicts follow results/, which Sphinx does not watch
        judged, ledger = verdicts.verdicts(), claims.ledger()
        holds, by_chance = verdicts.corrected(judged)
        write_files(Path(self.env.app.outdir) / "_static", judged, holds)
        table = cards.Card(list(ledger), judged, holds)._repr_html_()
        page = [
            f"**{cards.tally_text(judged)}.** {shared_runs(judged, holds, by_chance)}",
            raw(picture(judged)),
            raw(controls(judged) + table + f"<script>{FILTER}</script>"),
        ]
        return self.parse_text_to_nodes("\n\n".join(part for part in page if part))


def raw(html: str) -> str:
    """HTML as it is; "" where there is none."""
    return f"```{{raw}} html\n{html}\n```" if html else ""


def shared_runs(judged: dict, holds: dict[str, bool], by_chance: float) -> str:
    """What a reader of many intervals has to know: how many share a baseline, and what chance alone would bring."""
    ledger = claims.ledger()
    baselines = Counter(c.control or c.arm for c in ledger.values() if c.experiment == "ablations")
    baselines += Counter(c.arm for c in ledger.values() if c.experiment == "ablations" and c.control and c.arm == "whole")
    text = f"{baselines['whole']} claims rest on the same runs of one baseline, so their verdicts are not independent."
    if not holds:
        return f"{text} No effect has been tested with all its seeds yet."
    return (
        f"{text} {len(holds)} effects were tested at 5 %: chance alone would bring {by_chance:.1f}. "
        f"{sum(holds.values())} hold after Holm's correction, which keeps the chance that any of them is an accident at 5 %."
    )


def controls(judged: dict) -> str:
    words = [word for word in verdicts.WORDS if any(v.word == word for v in judged.values())]
    options = "".join(f"<option>{word}</option>" for word in words)
    return (
        '<p class="ledger-controls" data-ledger>'
        f'<label>Verdict <select id="ledger-word"><option value="">all</option>{options}</select></label> '
        '<label>Words <input id="ledger-text" type="search"></label> '
        f'<span id="ledger-count" role="status">{len(judged)} claims</span>. As files: '
        '<a href="../_static/claims.csv">CSV</a>, <a href="../_static/claims.json">JSON</a>.</p>'
    )


def picture(judged: dict) -> str:
    """Every effect with its interval in units of the paper's effect; "" where no such claim was measured."""
    ledger = claims.ledger()
    measured = [
        (ledger[name], verdict)
        for name, verdict in judged.items()
        if verdict.interval and ledger[name].effect and ledger[name].rule["kind"] == "difference"
    ]
    if not measured:
        return ""
    figures.use_style()
    words = "; ".join(f"{claim.id}: {verdict.word}, {verdict.value} {claim.unit}" for claim, verdict in measured)
    svg = figures.svg(figures.ledger_figure(measured))
    note = (
        "Bars are 95 % intervals; pale ones are not complete yet. The line at 1 is the paper's effect, the band half to twice it."
    )
    return f'<figure role="img" aria-label="{escape(words)}">{svg}<figcaption>{note}</figcaption></figure>'


def write_files(folder: Path, judged: dict, holds: dict[str, bool]) -> None:
    """claims.csv and claims.json: every figure of the page, one click away."""
    folder.mkdir(parents=True, exist_ok=True)
    ledger, text = claims.ledger(), io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(
        ("claim", "section", "verdict", "mean", "low", "high", "unit", "relative", "p", "holm", "seeds", "paper", "source")
    )
    for name, v in judged.items():
        relative = "" if v.relative is None else round(v.relative[0], 3)
        interval = v.interval or ("", "", "")
        rows.writerow(
            (name, ledger[name].section, v.word, *interval, ledger[name].unit, relative, v.p, holds.get(name, ""), v.seeds, ledger[name].paper, v.source)
        )  # fmt: skip
    (folder / "claims.csv").write_text(text.getvalue())
    (folder / "claims.json").write_text(
        json.dumps({name: asdict(ledger[name]) | asdict(v) for name, v in judged.items()}, indent=1)
    )


def setup(app) -> dict:
    app.add_directive("ledger", Ledger)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
