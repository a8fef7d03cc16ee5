"""Strict settings: bad input is refused in one line, unknown names and wrong types never pass.

A configuration is a frozen dataclass whose annotations say what each field may be: a type, `Literal` names, or a number
with its range, such as Annotated[int, Between(1, 64)]. `check` holds an instance to them, `merge` and `build` make one.
"""

import dataclasses
import difflib
import errno
import functools
import math
import os
import re
import shutil
import sys
import types
import typing
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path


class InputError(ValueError):
    """Bad input from outside: its text is one line that says what is wrong and what to do about it."""


@dataclass(frozen=True)
class Between:
    """The range of a number, both ends in it; with `below` the upper end is out."""

    low: float
    high: float
    below: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and not (self.below and value == self.high)

    def __str__(self) -> str:
        low, high = (f"{end:,}" if isinstance(end, int) else f"{end:g}" for end in (self.low, self.high))
        return f"at least {low} and {'below' if self.below else 'at most'} {high}"


def one_of(what: str, value, allowed) -> None:
    """Raises InputError, with the nearest allowed names, where value is none of them."""
    allowed = list(allowed)
    if value not in allowed:
        near = difflib.get_close_matches(value if isinstance(value, str) else shown(value), [str(a) for a in allowed], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"unknown {what} {shown(value)}.{hint} There is: {', '.join(map(str, allowed))}")


def file_name(what: str, text: str) -> str:
    """The text, which is to be part of a path. Raises InputError where it could lead elsewhere or is no name everywhere."""
    if not re.fullmatch(r"\w[\w.+=-]{0,99}", text):
        raise InputError(f"{what} names files: up to 100 letters, digits and . _ + = -, a letter or digit first, not {text!r}")
    return text


def path_of(text: str | os.PathLike) -> Path:
    """The path that a user names, ~ and ~user read as a shell would. Raises InputError where there is no such home, it is no
    path, or a name in it is longer than the file system has them."""
    if not str(text).strip() or "\0" in str(text):
        raise InputError(f"{str(text)!r} is no path: name a folder")
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise InputError(f"{text}: there is no such home folder here. Write the path in full") from None
    try:
        path.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(f"{str(text)[:40]}... is no path: it or a name in it is too long") from None
    return path


def whole_path(text: str | os.PathLike) -> Path:
    """`path_of`, from the root on and with links followed; one that leads to itself stays, and leads nowhere."""
    return Path(os.path.realpath(path_of(text)))


def merge(config, overrides: dict, where: str = ""):
    """config with fields replaced, nested parts by dicts of their fields. Raises InputError for what does not fit."""
    hints = typing.get_type_hints(type(config))
    changes = {}
    for key, value in overrides.items():
        one_of(f"field of {where or type(config).__name__}", key, hints)
        current, path = getattr(config, key), f"{where}.{key}" if where else key
        if isinstance(value, dict):
            part = current if is_dataclass(current) else _part_type(hints[key], path)
            value = merge(part, value, path) if is_dataclass(current) else build(part, value, path)
        changes[key] = _convert(hints[key], value)
    return replace(config, **changes)


def _part_type(hint, path: str):
    kinds = [t for t in _options(hint) if is_dataclass(t)]
    if not kinds:
        raise InputError(f"{path} is a plain value, not a group of settings")
    return kinds[0]


def build(cls, values: dict, where: str = ""):
    """An instance of a dataclass from a dict of its fields, nested parts as dicts. Raises InputError as merge does."""
    hints = typing.get_type_hints(cls)
    for key in values:
        one_of(f"field of {where or cls.__name__}", key, hints)
    required = [f.name for f in fields(cls) if f.default is f.default_factory is dataclasses.MISSING]
    if absent := [name for name in required if name not in values]:
        raise InputError(f"{where or cls.__name__} needs {', '.join(absent)} as well")
    built = {k: build(_part_type(hints[k], k), v, k) if isinstance(v, dict) else _convert(hints[k], v) for k, v in values.items()}
    return cls(**built)


def _convert(hint, value):
    """Lists become tuples and whole numbers floats where the field wants them: YAML and JSON know no better."""
    kinds = _options(hint)
    if isinstance(value, list) and any(typing.get_origin(k) is tuple for k in kinds):
        return tuple(value)
    exponent = isinstance(value, str) and re.fullmatch(r"[-+]?\d+\.?\d*[eE][-+]?\d+", value)  # text in papermill's YAML 1.1
    if float in kinds and (exponent or (type(value) is int and int not in kinds and abs(value) < 10**300)):
        return float(value)
    return value


def setting_of(setting: str) -> tuple[str, dict]:
    """("model" or "train", the fields to change) of one setting, whose value is read as YAML 1.2.

    Raises InputError where it is of another form.
    """
    from ruamel.yaml import YAML  # here: a machine with a card has torch and its like, and needs no settings
    from ruamel.yaml.error import YAMLError

    path, given, text = setting.partition("=")
    which, _, names = path.partition(".")
    if not (given and names) or which not in ("model", "train"):
        raise InputError(f"--set wants model.FIELD=VALUE or train.FIELD=VALUE, not {setting!r}")
    if not text.strip():
        raise InputError(f"--set {path}= has no value; for none at all write {path}=null")
    try:
        if len(text) > 1000:
            raise ValueError
        value = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError):
        raise InputError(f"--set {path}: {text[:80]!r} is not a value") from None
    for name in reversed(names.split(".")):
        value = {name: value}
    return which, value


_hints = functools.cache(functools.partial(typing.get_type_hints, include_extras=True))


def check(config, where: str = "") -> None:
    """Raises InputError where a field does not hold what its annotation says; bool is not taken for a number."""
    for name, hint in _hints(config.__class__).items():
        _check(f"{where}{name}", getattr(config, name), hint)


def _check(path: str, value, hint) -> None:
    kinds = _options(hint)
    if value is None and types.NoneType in kinds:
        return
    kind, bounds = kinds[0], None
    if typing.get_origin(kind) is typing.Annotated:
        kind, bounds = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        one_of(path, value, typing.get_args(kind))
    elif typing.get_origin(kind) is tuple and isinstance(value, tuple):
        for part in value:
            _check(path, part, typing.get_args(kind)[0])
    elif not _is_a(value, typing.get_origin(kind) or kind):
        wanted = (typing.get_origin(kind) or kind).__name__ + (" or None" if types.NoneType in kinds else "")
        raise InputError(f"{path} must be {wanted}, not {shown(value)} ({type(value).__name__})")
    elif is_dataclass(value):
        check(value, f"{path}.")
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{path} must be a finite number, not {value}")
    elif bounds is not None and value not in bounds:
        raise InputError(f"{path} must be {bounds}, not {shown(value)}")


def _options(hint) -> tuple:
    """The types that are allowed, None last."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _is_a(value, kind: type) -> bool:
    return isinstance(value, int | float if kind is float else kind) and (kind is bool or not isinstance(value, bool))


def shown(value) -> str:
    """A value as an error names it, never long."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return f"a number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write numbers of thousands of digits, in a list or a dict too
        return f"a {type(value).__name__} with a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_compiler() -> None:
    """Raises InputError where there is no C++ compiler, which torch.compile calls at the first step."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "cl" if os.name == "nt" else "g++")
    if not shutil.which(compiler):
        raise InputError(
            f"compile=true needs a C++ compiler, and there is no {compiler}: install one, name it in CXX, or do without"
        )
