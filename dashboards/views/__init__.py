"""A page's view under a name, as a file, and as a table in Python. Nothing here knows Streamlit."""
