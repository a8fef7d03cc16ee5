"""Claims with their verdicts, made as the book is built: {ledger} has every one, {findings} those of a section of the paper.

Both have the option :language:.
"""

import csv
import io
import json
from collections import Counter
from dataclasses import asdict
from functools import cache
from html import escape
from pathlib import Path

from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from alexnet_lib.book import cards, figures
from alexnet_lib.evidence import claims, verdicts
from alexnet_lib.evidence.language import ENGLISH, LANGUAGES, Language

FILTER = """
document.querySelectorAll('[data-ledger]').forEach(box => box.addEventListener('input', () => {
  const word = document.getElementById('ledger-word').value, text = document.getElementById('ledger-text').value.toLowerCase();
  const rows = document.querySelectorAll('table.claims tbody tr');
  let shown = 0;
  rows.forEach(row => {
    row.hidden = (word && row.dataset.verdict !== word) || !row.textContent.toLowerCase().includes(text);
    shown += !row.hidden;
  });
  const count = document.getElementById('ledger-count');
  count.textContent = count.dataset.text.replace('{shown}', shown).replace('{all}', rows.length);
}));
const asked = new URLSearchParams(location.search).get('verdict');
if (asked) {
  document.getElementById('ledger-word').value = asked;
  document.querySelector('[data-ledger]').dispatchEvent(new Event('input'));
}
"""


verdicts_now = cache(verdicts.verdicts)  # once a build


class InALanguage(SphinxDirective):
    option_spec = {"language": lambda given: directives.choice(given, LANGUAGES)}  # noqa: RUF012

    @property
    def say(self) -> Language:
        self.env.note_reread()  # the verdicts follow results/, which Sphinx does not watch
        return Language(self.options.get("language", "en"))


class Ledger(InALanguage):
    """Names no claim: whatever the ledger holds goes into the page, so that none can be left out."""

    def run(self) -> list:
        say, judged, ledger = self.say, verdicts_now(), claims.ledger()
        holds, by_chance = verdicts.corrected(judged)
        if say.code == "en":  # the files are data, the same for every page
            write_files(Path(self.env.app.outdir) / "_static", judged, holds)
        table = cards.Card(list(ledger), judged, holds, say)._repr_html_()
        page = [
            say("**{tally}.** {rest}", tally=cards.tally_text(judged, say), rest=shared_runs(judged, holds, by_chance, say)),
            raw(picture(judged, say)),
            raw(controls(judged, say) + table + f"<script>{FILTER}</script>"),
        ]
        return self.parse_text_to_nodes("\n\n".join(part for part in page if part))


class Findings(InALanguage):
    """A sentence for every claim of a section of the paper, or of "release only", "later work" or "this book only"."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list:
        say, judged = self.say, verdicts_now()
        found = [claim for claim in claims.ledger().values() if self.arguments[0] in claim.section.split(", ")]
        if not found:
            raise self.error(f"no claim is of section {self.arguments[0]!r}")
        return self.parse_text_to_nodes(
            "\n".join(f"- {cards.sentence(claim, judged[claim.id], say, command=False)}" for claim in found)
        )


def raw(html: str) -> str:
    """HTML as it is; "" where there is none."""
    return f"```{{raw}} html\n{html}\n```" if html else ""


def shared_runs(judged: dict, holds: dict[str, bool], by_chance: float, say: Language = ENGLISH) -> str:
    """What a reader of many intervals has to know: how many share a baseline, and what chance alone would bring."""
    ledger = claims.ledger()
    baselines = Counter(c.control or c.arm for c in ledger.values() if c.experiment == "ablations")
    baselines += Counter(c.arm for c in ledger.values() if c.experiment == "ablations" and c.control and c.arm == "whole")
    text = say(
        "{count} claims rest on the same runs of one baseline, so their verdicts are not independent.", count=baselines["whole"]
    )
    if not holds:
        return text + say(" No effect has been tested with all its seeds yet.")
    return text + say(
        " {tested} effects were tested at 5 %: chance alone would bring {chance:.1f}. {hold} hold after Holm's correction, which "
        "keeps the chance that any of them is an accident at 5 %.",
        tested=len(holds), chance=by_chance, hold=sum(holds.values()),
    )  # fmt: skip


def controls(judged: dict, say: Language = ENGLISH) -> str:
    words = [word for word in verdicts.WORDS if any(v.word == word for v in judged.values())]
    options = "".join(f'<option value="{word}">{say(word)}</option>' for word in words)
    count = say("{shown} of {all} claims", shown="{shown}", all="{all}")
    return (
        '<p class="ledger-controls" data-ledger>'
        f'<label>{say("Verdict")} <select id="ledger-word"><option value="">{say("all")}</option>{options}</select></label> '
        f'<label>{say("Words")} <input id="ledger-text" type="search"></label> '
        f'<span id="ledger-count" role="status" data-text="{count}">{say("{count} claims", count=len(judged))}</span>'
        f'{say(". As files: ")}<a href="../_static/claims.csv">CSV</a>{say(", ")}<a href="../_static/claims.json">JSON</a>'
        f"{say('.')}</p>"
    )


def picture(judged: dict, say: Language = ENGLISH) -> str:
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
    words = say("; ").join(say(", ").join((f"{c.id}: {say(v.word)}", cards.measured(c, v, say))) for c, v in measured)
    svg = figures.svg(figures.ledger_figure(measured))
    for word in verdicts.WORDS:  # its letters are letters, which the reader's browser has fonts for
        svg = svg.replace(f": {word}</text>", f": {say(word)}</text>")
    axis = "effect, in units of the paper's"
    svg = svg.replace(escape(axis, quote=False), say(axis))
    note = say(
        "The claims that have an effect to compare with, by verdict. Bars are 95 % intervals. The line at 1 is the paper's effect, "
        "or that of the authors' log where the paper has none; the band is half to twice it."
    )
    if any(verdict.seeds < verdict.planned for _, verdict in measured):
        note += say(" Pale bars are not complete yet.")
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
    (folder / "claims.csv").write_text(text.getvalue(), encoding="utf-8")
    (folder / "claims.json").write_text(
        json.dumps({name: asdict(ledger[name]) | asdict(v) for name, v in judged.items()}, indent=1), encoding="utf-8"
    )


def setup(app) -> dict:
    verdicts_now.cache_clear()
    app.add_directive("ledger", Ledger)
    app.add_directive("findings", Findings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
