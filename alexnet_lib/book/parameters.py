"""The parameters of a notebook that trains: checked by name and type before anything runs, since papermill only warns."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType

from ..config import InputError, ModelConfig, TrainConfig, merge, one_of, preset
from ..evidence import records
from ..system.memory import keep_pages
from ..system.processes import rank_and_world
from ..system.strict import path_of, shown

# What the parameters cell of 14_reproduction holds. Fields of the two configurations may be given beside them by name.
KNOWN = {"profile": str, "seed": int, "data": str, "run_dir": str, "record": bool, "devices": int}
KNOWN |= {"model": dict, "train": dict}


@dataclass(frozen=True)
class Settings:
    """What a notebook does: the configurations in force, the fields that differ from the preset, the run's folder, the
    processes that share each batch."""

    profile: str
    model: ModelConfig
    train: TrainConfig
    changed: dict
    run_dir: Path
    record: bool
    devices: int


def settle(namespace: dict, experiment: str) -> Settings:
    """Settings from the names that a notebook has defined so far; from here on the memory of large tensors is kept.

    A session that runs the cell again holds names of later cells too; then unknown names pass, types are still checked.
    A seed or data set inside `train` goes before the one beside it.

    Args:
        namespace: `globals()` in the cell below the parameters.
        experiment: the notebook's name; runs lie where records.run_dir says, unless run_dir names another folder.

    Raises:
        InputError: a name that is neither a parameter nor a field of ModelConfig or TrainConfig, a wrong type, or no device.
    """
    model_fields, train_fields = ({f.name for f in fields(c)} for c in (ModelConfig, TrainConfig))
    keep_pages()
    rank_and_world()
    given = check(namespace, KNOWN, Settings, sorted(train_fields | model_fields))
    model, train = preset(given["profile"])
    usual = train.data
    changes = {"model": dict(given["model"]), "train": dict(given["train"])}
    for name in set(given) - set(KNOWN):
        changes["train" if name in train_fields else "model"][name] = given[name]
    beside = {"seed": given["seed"]} | ({"data": given["data"]} if given["data"] else {})
    model, train = merge(model, changes["model"]), merge(train, beside | changes["train"])
    if not 1 <= given["devices"] <= train.batch_size:
        share = f"at most the {train.batch_size} images of a batch"
        raise InputError(f"devices must be 1 or more, and {share}, not {given['devices']}")
    run_dir = path_of(given["run_dir"]) if given["run_dir"] else records.run_dir(experiment, given["profile"], train, usual)
    return Settings(given["profile"], model, train, changes, run_dir, given["record"], given["devices"])


def check(namespace: dict, known: dict[str, type], settled: type, more: Sequence[str] = ()) -> dict:
    """The parameters in a notebook's namespace, by name.

    Names from before the parameters cell, such as a startup file's, are no parameters. A session that runs the cell again
    holds names of later cells too, which a value of type `settled` betrays; then unknown names pass, types are still checked.

    Args:
        namespace: `globals()` in the cell below the parameters.
        known: the type of each parameter that the parameters cell defines.
        more: names of any type that may be given beside them.

    Raises:
        InputError: an unknown name, a wrong type, or a parameter that is no longer there.
    """
    since = _names_since_the_parameters(namespace.get("In", ()), known)
    given = {name: value for name, value in namespace.items() if not _of_the_shell(name, value)}
    given = {name: value for name, value in given.items() if since is None or name in since}
    names = [*known, *more]
    if any(isinstance(value, settled) for value in given.values()):
        given = {name: value for name, value in given.items() if name in names}
    for name, value in given.items():
        one_of("parameter", name, names)
        kind = known.get(name)
        if kind and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise InputError(f"parameter {name} must be {kind.__name__}, not {shown(value)} ({type(value).__name__})")
    if absent := [name for name in known if name not in given]:
        raise InputError(f"the parameters cell no longer defines {', '.join(absent)}")
    return given


def _names_since_the_parameters(cells: Sequence[str], known: dict[str, type]) -> set[str] | None:
    """The names that were given a value from the parameters cell on; None where no cell that ran is one.

    Args:
        cells: the source of each cell that ran, as IPython keeps it in `In`.
    """
    names: list[set[str]] = []
    for cell in cells:
        try:
            nodes = list(ast.walk(ast.parse(cell)))
        except (SyntaxError, ValueError):
            nodes = []
        names.append({node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)})
    first = next((place for place, given in enumerate(names) if known.keys() <= given), None)
    return None if first is None else set().union(*names[first:])


def _of_the_shell(name: str, value) -> bool:
    """Whether IPython or an import, and not a parameter, defined the name."""
    return name.startswith("_") or name in {"In", "Out", "exit", "quit"} or callable(value) or isinstance(value, ModuleType)
