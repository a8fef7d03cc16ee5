"""In what presets differ, field by field: the command `presets` and the directive of that name in the book's pages."""

from dataclasses import asdict

from tabulate import tabulate

from ..config import preset


def differences(*names: str) -> str:
    """The fields in which presets differ, as a table in Markdown, one column a preset; a single one is compared with "paper".

    Fields are named as in `--set`. Raises InputError for a name that does not exist.
    """
    names = names if len(names) > 1 else ("paper", *names)
    columns = [_flat({"model": asdict(model), "train": asdict(train)}) for model, train in map(preset, names)]
    shared = [field for field in columns[0] if all(field in column for column in columns) and not field.endswith(".name")]
    rows = [(field, *(column[field] for column in columns)) for field in shared]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    return tabulate(rows, ("field", *names), tablefmt="github", disable_numparse=True)


def _flat(values: dict, path: str = "") -> dict[str, str]:
    """Every field below a dict of fields by its path, in words; a layer that is there says "yes" itself."""
    fields: dict[str, str] = {}
    for name, value in values.items():
        here = f"{path}.{name}" if path else name
        fields |= {here: "yes"} | _flat(value, here) if isinstance(value, dict) else {here: _in_words(value)}
    return fields


def _in_words(value) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return {True: "yes", False: "no", None: "none"}[value] if value is None or isinstance(value, bool) else str(value)
