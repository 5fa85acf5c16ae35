"""A finished curation in the form that another tool loads; one module a format, ``write(rows, target)``."""
