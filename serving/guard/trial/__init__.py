"""Attacks on a guard, and what it costs."""
