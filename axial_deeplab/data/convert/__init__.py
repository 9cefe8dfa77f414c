"""Turn annotations as common tools export them into the COCO-panoptic layout that the reader takes."""
