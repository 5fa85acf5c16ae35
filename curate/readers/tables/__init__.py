"""Rows of named columns as samples: which column is what, what a row asks and answers."""
