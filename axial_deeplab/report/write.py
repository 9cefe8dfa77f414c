"""Write a report as one HTML file."""

from collections.abc import Callable
from pathlib import Path

from axial_deeplab.data.files import write_atomic
from axial_deeplab.metrics.error_counts import ErrorCounts, ScoredImage
from axial_deeplab.metrics.task_scores import TaskReport
from axial_deeplab.report.html import format_page
from axial_deeplab.report.pictures import Pictured
from axial_deeplab.report.sections import describe_classes, describe_objects, describe_scores, describe_worst


def write_report(
    path: Path, report: TaskReport, counts: ErrorCounts, read: Callable[[ScoredImage], Pictured] | None = None
) -> None:
    """Write scores, classes, objects and the worst images.

    The pictures are inside the file, as JPEG: it can be moved and sent alone, and stays small, since their number and their
    size have a limit. Images are read one after the other.

    Args:
        path: The file to write or to replace.
        report: The scores.
        counts: What became of the objects, over the same images and classes.
        read: Returns the maps of one of the worst images; without it these are only named.

    Raises:
        InputError: The file cannot be written; what `read` raises.
    """
    title = f"{counts.images} image{'' if counts.images == 1 else 's'}, {len(counts.categories)} classes"
    parts = [
        f"<h1>Where it goes wrong</h1><p>{title}. Scores are in percent; a dash is where there was nothing to score.</p>",
        describe_scores(report),
        describe_classes(report, counts.categories),
        describe_objects(counts),
        describe_worst(counts.list_worst(), counts.categories, read),
    ]
    text = format_page("Where it goes wrong", parts)
    write_atomic(path, lambda file: file.write(text.encode()))
