"""Images with one class each: folders and tar shards, read, augmented and prepared."""
