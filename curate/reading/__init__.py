"""Rows and images of any source, made into one table of rows and files below one folder."""
