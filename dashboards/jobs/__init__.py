"""Runs that are started from the page: recipes as forms, a queue on disk, and the worker that takes from it."""
