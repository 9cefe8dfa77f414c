"""Axial-DeepLab."""
