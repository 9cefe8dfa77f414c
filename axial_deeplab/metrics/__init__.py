"""Accumulators with `update`, `merge` and `compute` that equal the official evaluators."""
