"""Images of samples: found by id, never by a path from a URL. No streamlit here."""
