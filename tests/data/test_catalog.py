"""Class tables equal those of the datasets; ids translate both ways."""

import json
from pathlib import Path

import pytest

from axial_deeplab.data.catalog import CategoryMap, load_catalog, parse_categories
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category


def test_coco_equals_the_official_list(shared_data: Path) -> None:
    file = shared_data / "coco-sample" / "panoptic_coco_categories.json"
    assert load_catalog("coco") == parse_categories(json.loads(file.read_text()), file)


def test_coco_has_80_things_before_53_stuff_classes() -> None:
    categories = load_catalog("coco")
    assert [category.is_thing for category in categories] == [True] * 80 + [False] * 53
    assert len({category.name for category in categories}) == 133
    category_map = CategoryMap(categories)
    assert [category_map.to_contiguous(number) for number in (1, 13, 90, 92, 200)] == [0, 11, 79, 80, 132]


def test_cityscapes_equals_the_official_list(shared_data: Path) -> None:
    file = shared_data / "deeplab2-sample" / "panoptic_cityscapes_categories.json"
    assert load_catalog("cityscapes") == parse_categories(json.loads(file.read_text()), file)


def test_cityscapes_is_in_the_order_of_train_ids() -> None:
    categories = load_catalog("cityscapes")
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert [category.id for category in categories] == ids
    assert [category.is_thing for category in categories] == [False] * 11 + [True] * 8
    assert categories[0] == Category(7, "road", False, (128, 64, 128))


def test_unknown_table() -> None:
    with pytest.raises(InputError, match="'kitti': choose one of coco, cityscapes"):
        load_catalog("kitti")


def test_ids_translate_both_ways() -> None:
    category_map = CategoryMap((Category(9, "a", True), Category(2, "b", False)))
    assert len(category_map) == 2
    assert category_map.is_thing == (True, False)
    assert category_map.names == ("a", "b")
    assert [category_map.to_contiguous(category_map.to_dataset(i)) for i in (0, 1)] == [0, 1]
    for unknown in (0, -9, "9", [9]):
        with pytest.raises(InputError, match="not in the class list"):
            category_map.to_contiguous(unknown)  # type: ignore[arg-type]
    for unknown in (-1, 2):
        with pytest.raises(InputError, match=r"not one of 0 \.\. 1"):
            category_map.to_dataset(unknown)
    with pytest.raises(InputError, match="id 9 repeats"):
        CategoryMap((Category(9, "a", True), Category(9, "b", False)))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "at least one class"),
        ([3], "class 0 must be an object"),
        (
            [{"id": 1, "name": "a", "isthing": 1}, {"id": "2", "name": "b", "isthing": 0}],
            "class 1 must have the key 'id'",
        ),
        ([{"id": 1, "name": "a", "isthing": 1, "color": [0, 0, 256]}], "'color'"),
        ([{"id": 1, "name": "a", "isthing": 1}] * 2, "set.json: the category id 1 repeats"),
    ],
)
def test_broken_lists(entries: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_categories(entries, "set.json")
