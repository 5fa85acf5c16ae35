"""The sections of a curation recipe, each one model that refuses unknown keys."""
