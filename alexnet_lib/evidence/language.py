"""The ledger in other languages: its claims by claims_zh.json, the words around them by words_zh.json."""

import hashlib
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

from ..config import InputError, one_of

LANGUAGES = ("en", "zh")


class Said(str):
    """An English sentence that remembers its template and what fills it, so that another language can say it too.

    Args:
        template: as for str.format; the key of words_zh.json.
        parts: numbers, names that are the same in every language, or further sentences.
    """

    template: str
    parts: dict

    def __new__(cls, template: str, **parts):
        self = super().__new__(cls, template.format(**parts))
        self.template, self.parts = template, parts
        return self

    def __getnewargs_ex__(self):
        return (self.template,), self.parts  # for copies, which asdict makes


class Language:
    """Says the ledger's sentences in one language. English says them as they are.

    Args:
        code: one of LANGUAGES. Raises InputError for another.
    """

    def __init__(self, code: str = "en"):
        one_of("language", code, LANGUAGES)
        self.code = code
        self.words: dict[str, str] = {} if code == "en" else read(f"words_{code}.json")
        self.claims: dict[str, dict] = {} if code == "en" else read(f"claims_{code}.json")

    def __call__(self, text: str, **parts) -> str:
        """A sentence, or a template and its parts, in this language. Raises InputError where it has no translation."""
        said = text if isinstance(text, Said) else Said(text, **parts)
        its = said.template if self.code == "en" else self.words.get(said.template)
        if its is None and re.search("[A-Za-z]", said):  # figures are the same everywhere
            raise InputError(f"words_{self.code}.json has no {said.template!r}")
        parts = {name: self(part) if isinstance(part, Said) else part for name, part in said.parts.items()}
        return str(said) if its is None else its.format(**parts)

    def claim(self, claim):
        """A Claim with its sentences in this language. Raises InputError where it has no translation."""
        if self.code == "en":
            return claim
        if claim.id not in self.claims:
            raise InputError(f"claims_{self.code}.json has no {claim.id!r}")
        its = self.claims[claim.id]
        recorded = claim.recorded and claim.recorded | {"value": its["recorded"]}
        return replace(claim, claim=its["claim"], paper=its["paper"], recorded=recorded, remark=its.get("remark", ""))


ENGLISH = Language()


@cache
def read(name: str) -> dict:
    return json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def checksum(text: str) -> str:
    """Eight digits by which a translation knows the English text that it was made from."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def sentences(claim) -> str:
    """All that a translation of a Claim says in other words."""
    return "\n".join(filter(None, [claim.claim, claim.paper, claim.recorded and claim.recorded["value"], claim.remark]))
