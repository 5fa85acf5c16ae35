"""Clients of a served model: Python, curl and a web page."""
