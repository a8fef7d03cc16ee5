"""Claims beside what was measured: the card of a chapter, the ledger's table, a verdict in one sentence."""

from collections.abc import Sequence
from html import escape
from textwrap import fill

from tabulate import tabulate

from ..config import one_of
from ..evidence import claims, verdicts
from ..evidence.claims import Claim
from ..evidence.language import ENGLISH, Language
from ..evidence.verdicts import Verdict


class Card:
    """Claims beside what was measured: three columns, with the rule and the command behind a fold.

    Args:
        ids: of the ledger. Raises InputError for one that it does not have.
        judged: their verdicts; by default from results/.
        holds: which effects hold after Holm's correction, where that is to be said.
        say: the language of the page.
    """

    HEAD = ("Claim", "The paper", "Ours")

    def __init__(
        self,
        ids: Sequence[str],
        judged: dict[str, Verdict] | None = None,
        holds: dict[str, bool] | None = None,
        say: Language = ENGLISH,
    ):
        self.holds, self.say = holds or {}, say
        self.head = [say(name) for name in self.HEAD]
        ledger = claims.ledger()
        for name in ids:
            one_of("claim", name, ledger)
        self.pairs = [(say.claim(ledger[name]), (judged or {}).get(name) or verdicts.judge(ledger[name])) for name in ids]

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{name}</th>' for name in self.head)
        rows = "".join(self._row(*pair) for pair in self.pairs)
        return f'<table class="claims"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'

    def _row(self, claim: Claim, verdict: Verdict) -> str:
        say = self.say
        lines = details(claim, verdict, say)
        if claim.id in self.holds and verdict.word in (verdicts.REPRODUCED, verdicts.SAME_DIRECTION, verdicts.CONTRADICTED):
            lines.append(
                say("holds after Holm's correction" if self.holds[claim.id] else "does not hold after Holm's correction")
            )
        fold = f"<summary>{say('rule and command')}</summary>{escape(say(claims.rule_in_words(claim)))}"
        log = f"<br><small>{escape(say('their log: {value} ({file})', **claim.recorded))}</small>" if claim.recorded else ""
        cells = (
            f"{escape(claim.claim)}<br><small>{self._origin(claim)}</small>",
            escape(claim.paper) + log,
            f"<strong>{say(verdict.word)}</strong><br>{'<br>'.join(map(escape, lines))}"
            f"<details>{fold}<br><code>{_words(claim.command)}</code></details>",
        )
        marked = zip(self.head, cells, strict=True)
        return (
            f'<tr id="claim-{claim.id}" data-verdict="{verdict.word}">'
            + "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in marked)
            + "</tr>"
        )

    def _origin(self, claim: Claim) -> str:
        """Where a claim stands in the paper, and which arms are compared here."""
        section, arm, control = where(claim, self.say), f"<code>{claim.arm}</code>", f"<code>{claim.control}</code>"
        if claim.control:
            return self.say("{section}. Here: {arm} against {control}", section=section, arm=arm, control=control)
        return self.say("{section}. Here: {arm}" if claim.arm else "{section}.", section=section, arm=arm)

    def __repr__(self) -> str:
        return "\n\n".join(self._text(*pair) for pair in self.pairs)

    @staticmethod
    def _text(claim: Claim, verdict: Verdict) -> str:
        recorded = [f"Their log: {claim.recorded['value']} ({claim.recorded['file']})"] if claim.recorded else []
        lines = [f"{where(claim)}: {claim.claim}", says(claim), *recorded, f"Verdict: {verdict.word}"]
        return "\n".join(
            [*lines, *details(claim, verdict), f"Rule: {claims.rule_in_words(claim)}", f"Measured by: {claim.command}"]
        )


def _words(command: str) -> str:
    """HTML of a command that breaks between its words alone, as code in running text does."""
    return " ".join(f'<span class="pre">{escape(word)}</span>' for word in command.split())


def where(claim: Claim, say: Language = ENGLISH) -> str:
    """The section of the paper that a claim comes from, in words."""
    if not claim.section[0].isdigit():
        return say(claim.section.capitalize())
    return say("Sections {section}" if "," in claim.section else "Section {section}", section=claim.section)


def says(claim: Claim, say: Language = ENGLISH) -> str:
    """What the paper says of a claim, in words, or that it does not."""
    return (
        say("Not in the paper") if claim.paper == "not in the paper" else say("The paper: {paper}", paper=say.claim(claim).paper)
    )


def details(claim: Claim, verdict: Verdict, say: Language = ENGLISH) -> list[str]:
    """What was measured, in lines: the effect, the same in relative terms, what it rests on, what is missing."""
    lines = [measured(claim, verdict, say)] if verdict.value else []
    if verdict.relative:
        mean, low, high = verdict.relative
        lines.append(say("{mean:+.1f} % [{low:+.1f}, {high:+.1f}] of the control's error", mean=mean, low=low, high=high))
    if verdict.seeds:
        lines.append(say("{seeds}; {source}", seeds=rests_on(verdict, say), source=say(verdict.source)))
    if verdict.reason:
        lines.append(say(verdict.reason))
    if verdict.word == verdicts.UNDECIDED and verdict.more:
        seeds = "were the effect as measured, about {each} seeds an arm would settle it"
        lines.append(say(seeds, each=verdict.seeds + verdict.more))
    return [*lines, claim.remark] if claim.remark and verdict.word != verdicts.NOT_YET else lines


def rests_on(verdict: Verdict, say: Language = ENGLISH) -> str:
    """How many seeds: of how many where some are missing, and of both arms where they have not as many."""
    if not verdict.runs:  # of no arm in particular: a statement about every run
        return say("{seeds} of {planned} runs" if verdict.seeds < verdict.planned else "{seeds} runs", **vars(verdict))
    if verdict.seeds < verdict.planned:
        return say("{seeds} of {planned} seeds", **vars(verdict))
    if len(set(verdict.runs)) > 1:
        return say("{arm} seeds against {control}", arm=verdict.runs[0], control=verdict.runs[1])
    return say("{seeds} seeds", seeds=verdict.seeds)


def measured(claim: Claim, verdict: Verdict, say: Language = ENGLISH) -> str:
    """What came out, with its unit; where nothing can be said, why."""
    if not verdict.value:
        return say(verdict.reason)
    return f"{say(verdict.value)} {say(claim.unit)}" if verdict.seeds else say(verdict.value)


def sentence(claim: Claim, verdict: Verdict | None = None, say: Language = ENGLISH, command: bool = True) -> str:
    """The verdict in one sentence of Markdown, for the end of a chapter; where it is missing, with the command that measures it."""
    verdict, its = verdict or verdicts.judge(claim), say.claim(claim)
    word = say(verdict.word)
    word = word[:1].upper() + word[1:]
    if verdict.word in (verdicts.NOT_YET, verdicts.NEEDS_IMAGENET, verdicts.NEEDS_HARDWARE):
        count = say(" ({seeds} of {planned} seeds)", **vars(verdict)) if verdict.planned else ""
        said = say("*{word}*{count}: {claim}", word=word, count=count, **vars(its))
        return said + (say(" Measured by: `{command}`.", **vars(its)) if command else "")
    ours = measured(its, verdict, say)
    if verdict.seeds:
        ours = say("{value}; {seeds}, {source}", value=ours, seeds=rests_on(verdict, say), source=say(verdict.source))
    return say("*{word}*: {claim} {paper}. Here: {ours}.", word=word, claim=its.claim, paper=says(claim, say), ours=ours)


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
    cells = [[fill(cell, 32) for cell in row] for row in rows]
    table = tabulate(cells, ("verdict", "claim", "ours", "unit", "the paper", "after Holm"), disable_numparse=True)
    return f"{table}\n\n{tally_text(judged)}. Of {len(holds)} tested effects chance alone would bring {by_chance:.1f}."


def _mark(holds: dict[str, bool], name: str) -> str:
    return {True: "holds", False: "does not"}[holds[name]] if name in holds else ""


def tally_text(judged: dict[str, Verdict] | None = None, say: Language = ENGLISH) -> str:
    """How many claims have which verdict, as words."""
    counts = verdicts.tally(judged)
    each = say(", ").join(say("{count} {word}", count=count, word=say(word)) for word, count in counts.items())
    return say("{count} claims: {each}", count=sum(counts.values()), each=each)
