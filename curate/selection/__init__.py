"""Choosing a part of a curated set: a budget of rows, chosen by a strategy, beside as many random ones."""
