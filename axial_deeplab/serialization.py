"""Dataclasses and named tuples to plain JSON or YAML values and back: what is written reads back equal, typos are errors."""

import dataclasses
import difflib
import types
from collections.abc import Sequence
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from axial_deeplab.errors import InputError

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Turn dataclasses and named tuples into dicts and tuples into lists, however they are nested."""
    if not isinstance(value, type) and _is_record(type(value)):
        return {name: to_plain(getattr(value, name)) for name in _list_fields(type(value))}
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    return value


def from_plain(cls: type[T], values: Any, *, where: str) -> T:
    """Build the dataclass or named tuple `cls` from a dict; absent fields take their defaults.

    Args:
        cls: Its fields are scalars, `Literal`s, unions with `None`, tuples, dicts, dataclasses or named tuples.
        values: What `to_plain` returned, or a part of it.
        where: What the values come from, named in messages.

    Raises:
        InputError: If a field is unknown (the nearest name is offered), missing without a default, of another type, or of a
            value that `cls` refuses.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where} must be a table of fields, got {values!r}")
    hints = get_type_hints(cls)
    required = _list_fields(cls)
    for name in values:
        if name not in required:
            raise InputError(f"{where} has no field {name!r}{suggest(str(name), list(required))}")
    for name in required:
        if required[name] and name not in values:
            raise InputError(f"{where} lacks the field {name!r}")
    fields = {name: _convert(hints[name], value, f"{where}: {name}") for name, value in values.items()}
    try:
        return cls(**fields)
    except ValueError as error:  # a dataclass that checks its values
        raise InputError(f"{where}: {error}") from None


def suggest(name: str, known: Sequence[str]) -> str:
    """Return "; did you mean ...?" with the nearest known name, or a list of all names where none is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


def _is_record(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint) or (isinstance(hint, type) and issubclass(hint, tuple) and hint is not tuple)


def _list_fields(cls: Any) -> dict[str, bool]:
    """Return the fields of a dataclass or named tuple, and whether each must be given."""
    if not dataclasses.is_dataclass(cls):
        return {name: name not in cls._field_defaults for name in cls._fields}
    missing = dataclasses.MISSING
    fields = dataclasses.fields(cls)
    return {field.name: field.default is missing and field.default_factory is missing for field in fields}


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is Literal:
        if value not in arguments:
            raise InputError(f"{where} must be one of {', '.join(map(str, arguments))}, got {value!r}")
        return value
    if _is_record(hint):
        return from_plain(hint, value, where=where)
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if origin is dict:
        return dict(value) if isinstance(value, dict) else _refuse("a table", value, where)
    return _convert_scalar(hint, value, where)


def _convert_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    (hint,) = (argument for argument in arguments if argument is not type(None))
    return _convert(hint, value, where)


def _convert_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        _refuse("a list", value, where)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        _refuse(f"a list of {len(arguments)} values", value, where)
    return tuple(_convert(hint, item, where) for hint, item in zip(arguments, value, strict=True))


def _convert_scalar(hint: type, value: Any, where: str) -> Any:
    if hint is float and not isinstance(value, bool):
        try:  # YAML reads 1e-3, without a point, as text
            return float(value)
        except (TypeError, ValueError):
            _refuse("a number", value, where)
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        _refuse(names[hint], value, where)
    return value


def _refuse(wanted: str, value: Any, where: str) -> NoReturn:
    raise InputError(f"{where} must be {wanted}, got {value!r}")
