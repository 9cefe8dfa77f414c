"""Recipes and the loop that runs them. Only this package imports Lightning, and only when a run begins."""
