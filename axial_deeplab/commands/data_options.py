"""The options that name one split of a labeled dataset, alike in all commands that score one."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from axial_deeplab.data.coco_panoptic import CocoPanopticDataset


def add_data_options(parser: Any) -> None:
    """Add `--data.root`, its layout, and the split to score."""
    parser.add_argument("--data.root", required=True, help="dataset, in one of the layouts of docs/datasets.md")
    parser.add_argument("--data.layout", default="auto", help="coco, cityscapes or mapillary (default: find out)")
    parser.add_argument("--data.version", help="version of Mapillary Vistas, 1.2 or 2.0")
    parser.add_argument("--data.split", default="val", help="split to score (default: val)")
    within = "relative to the root, in an unknown layout; {split} stands for the split"
    parser.add_argument("--data.images", help=f"folder of the images, {within}")
    parser.add_argument("--data.annotations", help=f"JSON file, {within}")


def open_split(options: Any) -> "CocoPanopticDataset":
    """Open what the options name."""
    from axial_deeplab.data.coco_panoptic import CocoPanopticDataset

    data = options.data
    return CocoPanopticDataset(
        data.root,
        data.split,
        images=data.images,
        annotations=data.annotations,
        layout=data.layout,
        version=data.version,
    )
