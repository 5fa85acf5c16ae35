"""What is in the result folders: cached queries, and reviewers' decisions. Nothing here knows Streamlit."""
