"""The commands of the command line that print what the book shows: presets, claims."""

from typing import Annotated

import typer

from ..system.strict import InputError

COMPARED = ["paper", "code_2012", "fast"]


def presets(names: Annotated[list[str], typer.Argument(help="presets to compare")] = COMPARED):
    """Print in what presets differ, field by field."""
    from .differences import differences

    print(differences(*names))


def claims(
    check: Annotated[
        bool, typer.Option("--check", help="fail where a record is damaged or a chapter is older than the records")
    ] = False,
):
    """Print the ledger of claims with the verdicts that the records in results/ give."""
    from ..evidence import records
    from . import cards, current

    if check:
        count = len([records.read(path) for path in sorted(records.results_root().rglob("*.json"))])
        if old := current.stale():
            raise InputError(
                f"made from other records than there are now: {', '.join(path.stem for path in old)}. Run make chapters"
            )
        print(f"{count} records are whole, and all chapters were made from them")
    else:
        print(cards.ledger_text())
