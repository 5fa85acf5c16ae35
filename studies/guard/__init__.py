"""A small text classifier beside the guard's rules: its data, its training, and what both find and mistake."""
