"""Run lengths against masks of their own, and against those of the evaluator."""

from importlib.util import find_spec

import numpy as np
import pytest

from axial_deeplab.data.run_lengths import (
    compress_runs,
    decode_runs,
    encode_mask,
    encode_segments,
    parse_compressed_runs,
)


def make_map(seed: int) -> np.ndarray:
    """Draw noise (odd seeds) or blocks, with long runs and short ones."""
    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(1, 70, 2))
    if seed % 2:
        return random.integers(0, 4, (height, width)).astype(np.int32)
    return np.kron(random.integers(0, 4, (3, 3)), np.ones((height, width), int)).astype(np.int32)


@pytest.mark.parametrize("seed", range(12))
def test_every_segment_comes_back(seed: int) -> None:
    ids = make_map(seed)
    runs = encode_segments(ids)
    assert runs.keys() == set(np.unique(ids).tolist()) - {0}
    for number, text in runs.items():
        np.testing.assert_array_equal(decode_runs(parse_compressed_runs(text), ids.shape), ids == number)
        assert encode_mask(ids == number) == text
        assert compress_runs(parse_compressed_runs(text)) == text
    assert encode_segments(ids, [2, 99]) == {number: text for number, text in runs.items() if number == 2}


@pytest.mark.skipif(find_spec("faster_coco_eval") is None, reason="needs the extra 'eval'")
@pytest.mark.parametrize("seed", range(12))
def test_text_is_that_of_the_evaluator(seed: int) -> None:
    from faster_coco_eval import mask

    ids = make_map(seed)
    for number, text in encode_segments(ids).items():
        assert mask.encode(np.asfortranarray(ids == number, np.uint8))["counts"] == text.encode()


def test_empty_and_full_masks() -> None:
    assert parse_compressed_runs(encode_mask(np.zeros((3, 4), bool))) == [12]
    assert parse_compressed_runs(encode_mask(np.ones((3, 4), bool))) == [0, 12]
    assert encode_segments(np.zeros((3, 4), np.int32)) == {}


def test_large_numbers() -> None:
    counts = [2**31, 5, 2**40, 0, 1]
    assert parse_compressed_runs(compress_runs(counts)) == counts
    with pytest.raises(ValueError, match="too large"):
        parse_compressed_runs("o" * 12 + "0")
