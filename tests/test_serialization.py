"""Dataclasses and named tuples round-trip through JSON; everything else is refused by name."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from axial_deeplab.errors import InputError
from axial_deeplab.records import Category
from axial_deeplab.serialization import from_plain, suggest, to_plain


@dataclass(frozen=True)
class Inner:
    kind: Literal["a", "b"] = "a"
    size: tuple[int, int] = (1, 2)


@dataclass(frozen=True)
class Outer:
    rate: float
    inner: Inner = Inner()
    classes: tuple[Category, ...] = ()
    limit: int | None = None
    flag: bool = False
    notes: dict[str, Any] = field(default_factory=dict)


FULL = Outer(
    0.5, Inner("b", (3, 4)), (Category(7, "sky", False, (1, 2, 3)), Category(9, "car", True)), 5, True, {"x": [1]}
)


@pytest.mark.parametrize("value", [FULL, Outer(1.0)])
def test_round_trip_through_json_is_exact(value: Outer) -> None:
    assert from_plain(Outer, json.loads(json.dumps(to_plain(value))), where="test") == value


def test_absent_fields_take_their_defaults() -> None:
    assert from_plain(Outer, {"rate": "1e-3"}, where="test") == Outer(0.001)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "lacks the field 'rate'"),
        ({"rate": 1, "limits": 3}, "no field 'limits'; did you mean 'limit'"),
        ({"rate": 1, "zzz": 3}, "known are rate, inner"),
        ({"rate": True}, "rate must be a number"),
        ({"rate": None}, "rate must be a number"),
        ({"rate": 1, "limit": 1.5}, "limit must be a whole number"),
        ({"rate": 1, "limit": True}, "limit must be a whole number"),
        ({"rate": 1, "flag": "yes"}, "flag must be true or false"),
        ({"rate": 1, "notes": []}, "notes must be a table"),
        ({"rate": 1, "inner": 3}, "inner must be a table of fields"),
        ({"rate": 1, "inner": {"kind": "c"}}, "inner: kind must be one of a, b"),
        ({"rate": 1, "inner": {"size": [1, 2, 3]}}, "size must be a list of 2 values"),
        ({"rate": 1, "inner": {"size": 3}}, "size must be a list"),
        ({"rate": 1, "classes": [{"id": 1}]}, "classes lacks the field 'name'"),
    ],
)
def test_wrong_values_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_plain(Outer, values, where="test")


def test_suggestion_is_the_nearest_name_or_all() -> None:
    assert suggest("trian", ["train", "predict"]) == "; did you mean 'train'?"
    assert suggest("xyz", ["train", "predict"]) == "; known are train, predict"
