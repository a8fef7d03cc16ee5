"""Claims beside what was measured: the card of a chapter, the ledger's table, a verdict in one sentence."""

from collections.abc import Sequence
from html import escape
from textwrap import fill

from tabulate import tabulate

from ..config import one_of
from ..evidence import claims, verdicts
from ..evidence.claims import Claim
from ..evidence.verdicts import Verdict


class Card:
    """Claims beside what was measured: three columns, with the rule and the command behind a fold.

    Args:
        ids: of the ledger. Raises InputError for one that it does not have.
        judged: their verdicts; by default from results/.
        holds: which effects hold after Holm's correction, where that is to be said.
    """

    HEAD = ("Claim", "The paper", "Ours")

    def __init__(self, ids: Sequence[str], judged: dict[str, Verdict] | None = None, holds: dict[str, bool] | None = None):
        self.holds = holds or {}
        ledger = claims.ledger()
        for name in ids:
            one_of("claim", name, ledger)
        self.pairs = [(ledger[name], (judged or {}).get(name) or verdicts.judge(ledger[name])) for name in ids]

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{name}</th>' for name in self.HEAD)
        rows = "".join(self._row(*pair) for pair in self.pairs)
        return f'<table class="claims"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'

    def _row(self, claim: Claim, verdict: Verdict) -> str:
        arms = f" Here: <code>{claim.arm}</code>" if claim.arm else ""
        arms += f" against <code>{claim.control}</code>" if claim.control else ""
        log = (
            f"<br><small>their log: {escape(claim.recorded['value'])} ({escape(claim.recorded['file'])})</small>"
            if claim.recorded
            else ""
        )
        lines = details(claim, verdict)
        if claim.id in self.holds:
            lines.append("holds after Holm's correction" if self.holds[claim.id] else "does not hold after Holm's correction")
        said, measured = escape(claim.claim), "<br>".join(map(escape, lines))
        fold = f"<details><summary>rule and command</summary>{escape(claims.rule_in_words(claim))}<br><code>{escape(claim.command)}</code></details>"
        cells = (
            f"{said}<br><small>{where(claim)}.{arms}</small>",
            f"{escape(claim.paper)}{log}",
            f"<strong>{verdict.word}</strong><br>{measured}{fold}",
        )
        marked = zip(self.HEAD, cells, strict=True)
        return (
            f'<tr id="claim-{claim.id}" data-verdict="{verdict.word}">'
            + "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in marked)
            + "</tr>"
        )

    def __repr__(self) -> str:
        return "\n\n".join(self._text(*pair) for pair in self.pairs)

    @staticmethod
    def _text(claim: Claim, verdict: Verdict) -> str:
        recorded = [f"Their log: {claim.recorded['value']} ({claim.recorded['file']})"] if claim.recorded else []
        lines = [f"{where(claim)}: {claim.claim}", f"The paper: {claim.paper}", *recorded, f"Verdict: {verdict.word}"]
        return "\n".join(
            [*lines, *details(claim, verdict), f"Rule: {claims.rule_in_words(claim)}", f"Measured by: {claim.command}"]
        )


def where(claim: Claim) -> str:
    """The section of the paper that a claim comes from, in words."""
    return f"Section {claim.section}" if claim.section[0].isdigit() else claim.section.capitalize()


def details(claim: Claim, verdict: Verdict) -> list[str]:
    """What was measured, in lines: the effect, the same in relative terms, what it rests on, what is missing."""
    unit = f" {claim.unit}" if verdict.seeds and verdict.value else ""
    lines = [f"{verdict.value}{unit}"] if verdict.value else []
    if verdict.relative:
        mean, low, high = verdict.relative
        lines.append(f"{mean:+.1f} % [{low:+.1f}, {high:+.1f}] of the control's error")
    if verdict.seeds:
        of = f" of {verdict.planned}" if verdict.seeds < verdict.planned else ""
        lines.append(f"{verdict.seeds}{of} seeds; {verdict.source}")
    if verdict.reason:
        lines.append(verdict.reason)
    if verdict.word == verdicts.UNDECIDED and verdict.more:
        lines.append(f"about {verdict.more} more seeds an arm would settle it")
    return lines


def sentence(claim: Claim, verdict: Verdict | None = None) -> str:
    """The verdict in one sentence of Markdown, for the end of a chapter."""
    verdict = verdict or verdicts.judge(claim)
    if verdict.word in (verdicts.NOT_YET, verdicts.NEEDS_IMAGENET, verdicts.NEEDS_HARDWARE):
        count = f" ({verdict.seeds} of {verdict.planned} seeds)" if verdict.planned else ""
        return f"*{verdict.word.capitalize()}*{count}: {claim.claim} Measured by: `{claim.command}`."
    rests = f" {claim.unit}; {verdict.seeds} seeds, {verdict.source}" if verdict.seeds else ""
    return f"*{verdict.word.capitalize()}*: {claim.claim} The paper: {claim.paper}. Here: {verdict.value}{rests}."


def ledger_text() -> str:
    """The whole ledger as a table for a terminal, grouped by verdict, with the tally and what chance alone would bring."""
    judged, ledger = verdicts.verdicts(), claims.ledger()
    holds, by_chance = verdicts.corrected(judged)
    rows = [
        (word, name, judged[name].value, ledger[name].unit if judged[name].seeds else "", ledger[name].paper, _mark(holds, name))
        for word in verdicts.WORDS
        for name in ledger
        if judged[name].word == word
    ]
    rows = [[fill(cell, 32) for cell in row] for row in rows]
    table = tabulate(rows, ("verdict", "claim", "ours", "unit", "the paper", "after Holm"), disable_numparse=True)
    return f"{table}\n\n{tally_text(judged)}. Of {len(holds)} tested effects chance alone would bring {by_chance:.1f}."


def _mark(holds: dict[str, bool], name: str) -> str:
    return {True: "holds", False: "does not"}[holds[name]] if name in holds else ""


def tally_text(judged: dict[str, Verdict] | None = None) -> str:
    """How many claims have which verdict, as words."""
    counts = verdicts.tally(judged)
    return f"{sum(counts.values())} claims: " + ", ".join(f"{count} {word}" for word, count in counts.items())
