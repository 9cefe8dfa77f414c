"""`axial-deeplab dataset shards`: classified images in few large files instead of many small ones."""

from typing import Any

from axial_deeplab.commands.parsing import make_parser, parse
from axial_deeplab.errors import InputError


def run(arguments: list[str]) -> int:
    """Write shards, or the index of shards, and print how many images they hold."""
    options = parse(_make_parser(), arguments)

    from pathlib import Path

    from axial_deeplab.data.classification.shard_index import find_shards, write_index
    from axial_deeplab.data.classification.write_shards import write_shards

    splits, root = tuple(options.splits), Path(options.input)
    if any(find_shards(root, split) for split in splits):
        if options.output is not None:
            raise InputError(f"{root} holds shards already: leave out --output to write their index beside them")
        indexes = {split: write_index(root, split) for split in splits}
    elif options.output is None:
        raise InputError("--output is missing: give the folder to make")
    else:
        indexes = write_shards(root, options.output, splits, images_per_shard=options.images_per_shard)
    for split, index in indexes.items():
        print(f"{split}: {sum(index.counts)} images in {len(index.files)} shards, {sum(index.lengths) / 1e6:.1f} MB")
    return 0


def _make_parser() -> Any:
    parser = make_parser("dataset shards", "Write classified images into tar shards in WebDataset's form, unchanged.")
    parser.add_argument("input", metavar="PATH", help="folder of SPLIT/CLASS/IMAGE, or of SPLIT-*.tar without an index")
    parser.add_argument("--output", help="folder to make for the shards; it must be absent or empty")
    parser.add_argument("--images-per-shard", type=int, default=1000, help="images of each shard")
    parser.add_argument("--splits", nargs="+", default=["train", "val"], help="folders of PATH to write")
    return parser
