"""Strict settings: bad input is refused in one line, unknown names and wrong types never pass."""

import dataclasses
import difflib
import math
import re
import types
import typing
from dataclasses import fields, is_dataclass, replace


class InputError(ValueError):
    """Bad input from outside: its text is one line that says what is wrong and what to do about it."""


def one_of(what: str, value, allowed) -> None:
    """Raises InputError, with the nearest allowed names, where value is none of them."""
    allowed = list(allowed)
    if value not in allowed:
        near = difflib.get_close_matches(str(value), [str(a) for a in allowed], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"unknown {what} {value!r}.{hint} There is: {', '.join(map(str, allowed))}")


def positive(obj, *names: str, where: str = "") -> None:
    """Raises InputError where a numeric field is given and not above zero."""
    for name in names:
        if getattr(obj, name) is not None and getattr(obj, name) <= 0:
            raise InputError(f"{where + '.' if where else ''}{name} must be above 0, not {getattr(obj, name)}")


def not_negative(obj, *names: str, where: str = "") -> None:
    """Raises InputError where a numeric field is given and below zero."""
    for name in names:
        if getattr(obj, name) is not None and getattr(obj, name) < 0:
            raise InputError(f"{where + '.' if where else ''}{name} must not be negative, not {getattr(obj, name)}")


def merge(config, overrides: dict, where: str = ""):
    """config with fields replaced, nested parts by dicts of their fields. Raises InputError for unknown fields."""
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
    kinds = [t for t in (typing.get_args(hint) or (hint,)) if is_dataclass(t)]
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
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if isinstance(value, list) and any(typing.get_origin(k) is tuple for k in kinds):
        return tuple(value)
    exponent = isinstance(value, str) and re.fullmatch(r"[-+]?\d+\.?\d*[eE][-+]?\d+", value)  # 1e-3 is text in YAML 1.1
    if float in kinds and (exponent or (type(value) is int and int not in kinds)):
        return float(value)
    return value


def check_types(config) -> None:
    """Every field holds a value of its declared type; bool is not taken for a number."""
    for name, hint in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        if not _is_a(value, hint):
            kind = (
                getattr(hint, "__name__", None)
                if not typing.get_args(hint)
                else str(hint).replace(f"{type(config).__module__}.", "")
            )
            raise InputError(f"{name} must be {kind}, not {value!r} ({type(value).__name__})")
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{name} must be a finite number, not {value}")
        for part in value if isinstance(value, tuple) else (value,):
            if is_dataclass(part):
                check_types(part)


def _is_a(value, hint) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_is_a(value, h) for h in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_is_a(v, typing.get_args(hint)[0]) for v in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)
