"""The layouts in which data sets lie on disk, each brought to one index of a split."""
