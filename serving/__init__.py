"""Serving of a trained model: starting an engine, comparing what it serves with what was trained, guarding it."""
