"""Conditions over stored signals, and what becomes of each row."""
