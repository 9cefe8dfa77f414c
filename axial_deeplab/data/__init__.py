"""Images and panoptic annotations: reading, writing, augmenting, and procedural scenes."""
