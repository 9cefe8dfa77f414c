"""What the paper prints: one record for each row of Axial-DeepLab, ResNet and local attention in its tables of segmentation.

Source: Axial-DeepLab (arXiv 2003.07853), tables 2, 4, 5(a), 5(b), 6 and 7; the row of table 9 stands in the appendix.
"""

from typing import Literal, NamedTuple


class Scores(NamedTuple):
    """Percent; `None` where nothing is printed, or measured."""

    pq: float | None = None
    pq_things: float | None = None
    pq_stuff: float | None = None
    ap: float | None = None
    miou: float | None = None
    top1: float | None = None
    top5: float | None = None


class PaperRow(NamedTuple):
    """One row of a table.

    Attributes:
        table: Its number, with "a" or "b" for the halves of table 5.
        recipe: Which recipe trains that network.
        scales: Whether it is scored at one scale or averaged over several and their mirror images.
        params_m: Parameters in millions.
        multiply_adds_g: Multiply-adds of one image in billions, of all scales together.
        scores: As printed.
        note: What to know about the figures.
    """

    table: str
    recipe: str
    scales: Literal["single", "multi", "unstated"]
    params_m: float | None
    multiply_adds_g: float | None
    scores: Scores
    note: str = ""

    @property
    def split(self) -> Literal["val", "test"]:
        """What the scores are measured on."""
        return "test" if self.table == "5b" else "val"


TITLES = {
    "2": "COCO val",
    "4": "Mapillary Vistas val",
    "5a": "Cityscapes val",
    "5b": "Cityscapes test, scored by the server",
    "6": "Cityscapes val, kinds of attention",
    "7": "Cityscapes val, spans",
    "9": "Cityscapes val, output strides",
}
"""dict: The tables and what they are scored on."""

ANOTHER_RUN = "another run of the model than in tables 5a and 6"
FROM_MEMORY = "the appendix, known second-hand only"

ROWS = (
    PaperRow("2", "coco_axial_deeplab_s", "single", 12.1, 110.4, Scores(41.8, 46.1, 35.2)),
    PaperRow("2", "coco_axial_deeplab_m", "single", 25.9, 209.9, Scores(42.9, 47.6, 35.8)),
    PaperRow("2", "coco_axial_deeplab_l", "single", 44.9, 343.9, Scores(43.4, 48.5, 35.6)),
    PaperRow("2", "coco_axial_deeplab_l", "multi", 44.9, 3867.7, Scores(43.9, 48.6, 36.8)),
    PaperRow("4", "mapillary_axial_deeplab_l", "single", 44.9, 1550, Scores(40.1, 32.7, 49.8, 16.7, 57.6)),
    PaperRow("4", "mapillary_axial_deeplab_l", "multi", 44.9, 39350, Scores(41.1, 33.4, 51.3, 17.2, 58.4)),
    PaperRow("5a", "cityscapes_axial_deeplab_l", "single", None, None, Scores(63.9, ap=35.8, miou=81.0)),
    PaperRow("5a", "cityscapes_axial_deeplab_l", "multi", None, None, Scores(64.7, ap=37.9, miou=81.5)),
    PaperRow("5a", "cityscapes_axial_deeplab_xl", "single", None, None, Scores(64.4, ap=36.7, miou=80.6)),
    PaperRow("5a", "cityscapes_axial_deeplab_xl", "multi", None, None, Scores(65.1, ap=39.0, miou=81.1)),
    PaperRow("5a", "cityscapes_axial_deeplab_l_mapillary", "single", None, None, Scores(66.5, ap=40.2, miou=83.2)),
    PaperRow("5a", "cityscapes_axial_deeplab_l_mapillary", "multi", None, None, Scores(67.7, ap=42.9, miou=83.8)),
    PaperRow("5a", "cityscapes_axial_deeplab_xl_mapillary", "single", None, None, Scores(67.8, ap=41.9, miou=84.2)),
    PaperRow("5a", "cityscapes_axial_deeplab_xl_mapillary", "multi", None, None, Scores(68.5, ap=44.2, miou=84.6)),
    PaperRow("5b", "cityscapes_axial_deeplab_l", "unstated", None, None, Scores(62.7, ap=33.3, miou=79.5)),
    PaperRow("5b", "cityscapes_axial_deeplab_xl", "unstated", None, None, Scores(62.8, ap=34.0, miou=79.9)),
    PaperRow("5b", "cityscapes_axial_deeplab_l_mapillary", "unstated", None, None, Scores(65.6, ap=38.1, miou=83.1)),
    PaperRow("5b", "cityscapes_axial_deeplab_xl_mapillary", "unstated", None, None, Scores(66.6, ap=39.6, miou=84.1)),
    PaperRow("6", "cityscapes_resnet50_deeplab", "single", 24.8, 374.8, Scores(58.1, ap=30.0, miou=73.3)),
    PaperRow("6", "cityscapes_resnet50_deeplab_aspp", "single", 30.0, 390.0, Scores(59.8, ap=32.6, miou=77.8)),
    PaperRow("6", "cityscapes_sasa_deeplab", "single", 17.3, 317.7, Scores(58.7, ap=31.9, miou=75.8)),
    PaperRow("6", "cityscapes_sasa_deeplab_aspp", "single", 22.5, 332.9, Scores(60.9, ap=30.0, miou=78.2)),
    PaperRow("6", "cityscapes_position_sensitive_deeplab", "single", 17.3, 326.7, Scores(59.9, ap=32.2, miou=76.3)),
    PaperRow(
        "6", "cityscapes_position_sensitive_deeplab_aspp", "single", 22.5, 341.9, Scores(61.5, ap=33.1, miou=79.1)
    ),
    PaperRow("6", "cityscapes_axial_deeplab_s", "single", 12.1, 220.8, Scores(62.6, ap=34.9, miou=80.5)),
    PaperRow("6", "cityscapes_axial_deeplab_m", "single", 25.9, 419.6, Scores(63.1, ap=35.6, miou=80.3)),
    PaperRow("6", "cityscapes_axial_deeplab_l", "single", 44.9, 687.4, Scores(63.9, ap=35.8, miou=81.0)),
    PaperRow("6", "cityscapes_axial_deeplab_xl", "single", 173.0, 2446.8, Scores(64.4, ap=36.7, miou=80.6)),
    PaperRow("7", "cityscapes_resnet101_deeplab", "single", 43.8, 530.0, Scores(59.9, ap=31.9, miou=74.6)),
    PaperRow("7", "cityscapes_axial_deeplab_l_span5", "single", 44.9, 617.4, Scores(59.1, ap=31.3, miou=74.5)),
    PaperRow("7", "cityscapes_axial_deeplab_l_span9", "single", 44.9, 622.1, Scores(61.2, ap=31.1, miou=77.6)),
    PaperRow("7", "cityscapes_axial_deeplab_l_span17", "single", 44.9, 631.5, Scores(62.8, ap=34.0, miou=79.5)),
    PaperRow("7", "cityscapes_axial_deeplab_l_span33", "single", 44.9, 650.2, Scores(63.8, ap=35.9, miou=80.2)),
    PaperRow("7", "cityscapes_axial_deeplab_l", "single", 44.9, 687.4, Scores(64.2, ap=36.3, miou=80.6), ANOTHER_RUN),
    PaperRow(
        "9", "cityscapes_axial_deeplab_l_os32", "single", 45.2, 525.2, Scores(63.9, ap=36.3, miou=80.9), FROM_MEMORY
    ),
)
"""tuple: In the order of the paper."""
