"""Post-process one image of 2048 x 2048 pixels with 5,000 objects, and print what it took as JSON.

Run as a program of its own, so that the peak memory is that of post-processing alone.
"""

import json
import resource
import time

import torch

from axial_deeplab.panoptic.postprocess import PostprocessConfig, postprocess_probabilities

SIZE, PITCH, SIDE, OBJECTS = 2048, 28, 25, 5000


def main() -> None:
    """Make exact heads of squares in a grid, post-process them, compare."""
    torch.set_num_threads(1)
    cell, within = torch.arange(SIZE) // PITCH, torch.arange(SIZE) % PITCH
    per_row = SIZE // PITCH
    cells = torch.where(cell < per_row, cell, OBJECTS)
    number = cells[:, None] * per_row + cells  # of the object at each pixel
    square = (within < SIDE)[:, None] & (within < SIDE) & (number < OBJECTS)
    semantic = torch.where(square, 1 + number % 3, 0).to(torch.uint8)
    probs = torch.stack([semantic == category for category in range(4)]).float()
    heatmap = (square & (within == SIDE // 2)[:, None] & (within == SIDE // 2)).float()
    step = (SIDE // 2 - within).float()
    offset = torch.stack((step[:, None].expand(SIZE, SIZE), step.expand(SIZE, SIZE)))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    prediction = postprocess_probabilities(
        probs, heatmap, offset, is_thing=[False, True, True, True], config=PostprocessConfig(nms_kernel=13)
    )
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    panoptic_map = prediction.panoptic_map
    found = panoptic_map[(heatmap == 1).nonzero(as_tuple=True)]  # the segment at each center, in the order of numbers
    things = [segment for segment in prediction.segments if segment.is_thing]
    report = {
        "seconds": seconds,
        "peak_mib": peak / 1024,
        "things": len(things),
        "different_at_centers": len(found.unique()),
        "wrong_pixels": int((found[number[square]] != panoptic_map[square]).sum()),
        "areas": sorted({segment.area for segment in things}),
        "classes": [sum(segment.category_id == category for segment in things) for category in range(4)],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
