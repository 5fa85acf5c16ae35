"""Pieces of pages. They draw; what they draw comes from ``dashboards.data``."""
