"""Questions to the folders on disk. No streamlit here: plain functions over files."""
