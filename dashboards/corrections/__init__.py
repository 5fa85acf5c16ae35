"""Reviewers' decisions on their way to disk, and what becomes of them. Knows no Streamlit."""
