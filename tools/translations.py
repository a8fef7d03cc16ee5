"""Says which Chinese texts were made from English that has changed since: pages, definitions of the glossary, claims.

python tools/translations.py            lists them
python tools/translations.py --accept   writes the checksums of the English as it is now, once the Chinese has been read beside it
"""

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "book" / "_ext")]
import chinese  # noqa: E402
import yaml  # noqa: E402
from ending import ended  # noqa: E402

from alexnet_lib.evidence import claims, language  # noqa: E402
from alexnet_lib.system.files import whole  # noqa: E402

SOURCES = {
    "book/zh.md": [f"notebooks/{path.stem}.ipynb" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))],
    "book/zh_claims.md": ["book/claims.md"],
    "book/zh_glossary.md": ["book/glossary.md"],
}
GLOSSARY, CLAIMS = ROOT / "book" / "glossary_zh.yml", ROOT / "alexnet_lib" / "evidence" / "claims_zh.json"


def english(source: str) -> str:
    """What a Chinese page says again: of a chapter its opening and its three lines, of the glossary what stands around its
    entries, which have checksums of their own, of any other page all."""
    text = (ROOT / source).read_text(encoding="utf-8")
    if source.endswith(".ipynb"):
        cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        lines = re.findall(r"\*\*In three lines\.\*\*.*?(?=\n\n|\Z)", "\n\n".join(cells), flags=re.S)
        return "\n".join([cells[0], *lines])
    return re.sub(r"```{glossary}.*?\n```", "", text, flags=re.S)


def front_matter(page: str) -> dict:
    return yaml.safe_load((ROOT / page).read_text(encoding="utf-8").split("---\n")[1])


def pages() -> dict[str, dict[str, str]]:
    """Each Chinese page: the checksums of its English sources as they are now."""
    return {page: {name: language.checksum(english(name)) for name in names} for page, names in SOURCES.items()}


def definitions() -> dict[str, str]:
    return {term: language.checksum(said) for term, (_, said) in chinese.glossary().items()}


def sentences() -> dict[str, str]:
    return {name: language.checksum(language.sentences(claim)) for name, claim in claims.ledger().items()}


def outdated() -> list[str]:
    """One line for each Chinese text that lacks its English, or whose English has changed: which, and what to do."""
    said = {name: its["of"] for name, its in json.loads(CLAIMS.read_text(encoding="utf-8")).items()}
    kept = [(page, front_matter(page)["english"], now) for page, now in pages().items()]
    kept += [("book/glossary_zh.yml", {term: its["of"] for term, its in chinese.definitions().items()}, definitions())]
    kept += [("alexnet_lib/evidence/claims_zh.json", said, sentences())]
    found = []
    for where, had, now in kept:
        for name in sorted(set(had) | set(now)):
            if had.get(name) != now.get(name):
                what = "is gone: take it out" if name not in now else "is new" if name not in had else "has changed"
                found.append(f"{where}: {name} {what}")
    return found


def accept() -> None:
    """Writes the checksums of the English as it is now. What has no Chinese text yet stays missing."""
    for page, now in pages().items():
        _, front, rest = (ROOT / page).read_text(encoding="utf-8").split("---\n", 2)
        front = re.sub(r"english:.*", "", front, flags=re.S) + yaml.safe_dump({"english": now}, width=200)
        _write(ROOT / page, f"---\n{front}---\n{rest}")
    text = GLOSSARY.read_text(encoding="utf-8")
    for term, now in definitions().items():
        text = re.sub(rf'(^{re.escape(term)}:\n  of: )"\w*"', rf'\1"{now}"', text, flags=re.M)
    _write(GLOSSARY, text)
    text = CLAIMS.read_text(encoding="utf-8")
    for name, now in sentences().items():
        text = re.sub(rf'("{re.escape(name)}": {{\s+"of": )"\w*"', rf'\1"{now}"', text)
    _write(CLAIMS, text)


def _write(path: Path, text: str) -> None:
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accept", action="store_true", help="write the checksums of the English as it is now")
    if parser.parse_args().accept:
        accept()
    for line in outdated():
        print(f"{line}. Read the Chinese beside it, change what has to be, then: python tools/translations.py --accept")


if __name__ == "__main__":
    sys.exit(ended(main))
