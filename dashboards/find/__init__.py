"""Pictures that look alike: embeddings, search, the map, clusters. Nothing here knows Streamlit."""
