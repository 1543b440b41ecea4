"""Soft filter pruning for Keras."""
