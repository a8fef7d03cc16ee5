"""Whether the committed outputs of a chapter are those of the records as they are now."""

import hashlib
import json
import re
from pathlib import Path

from ..evidence import records
from ..evidence.claims import LEDGER, ledger
from ..evidence.plans import plans
from ..system.strict import InputError

NOTEBOOKS = records.REPOSITORY / "notebooks"
KEY = "records"  # in a notebook's metadata: what its outputs were made from


def _quoted(code: str) -> set[str]:
    """The words that stand in quotes by themselves: a chapter's code names claims and experiments so."""
    return set(re.findall(r"""["'](\w[\w-]*)["']""", code))


def experiments(code: str) -> set[str]:
    """The experiments whose records a chapter's code reads: those of its claims, and those that it names."""
    words = _quoted(code)
    there = {path.name for path in records.results_root().iterdir()} if records.results_root().is_dir() else set()
    named = words & (set(plans()) | there)
    for name in words & set(ledger()):
        claim = ledger()[name]
        named |= {claim.experiment} if claim.experiment else set(claim.rule.get("runs", ()))
    return named


def digest(notebook: dict) -> str:
    """SHA-256 of all that a notebook's outputs owe to the evidence: the records it reads, and the claims and plans that it
    names, or all of them where its code asks for the ledger or for every verdict."""
    code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    read, claims, planned = experiments(code), json.loads(LEDGER.read_text(encoding="utf-8")), plans()
    if not re.search(r"\b(ledger|verdicts)\b", code):
        claims = [claim for claim in claims if claim["id"] in _quoted(code)]
        planned = {name: plan for name, plan in planned.items() if name in read}
    total = hashlib.sha256(json.dumps([claims, planned]).encode())
    for name in sorted(read):
        for path in sorted((records.results_root() / name).glob("*.json")):
            total.update(f"{name}/{path.name}".encode() + path.read_bytes())
    return total.hexdigest()


def stale() -> list[Path]:
    """The notebooks whose outputs were made from other records than there are now."""
    return [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if not _is_current(path)]


def _is_current(path: Path) -> bool:
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        return notebook["metadata"].get(KEY) == digest(notebook)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is no notebook ({error}): take it from version control again") from error
