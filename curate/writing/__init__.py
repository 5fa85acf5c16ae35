"""What a curation leaves behind, from decisions to the manifest."""
