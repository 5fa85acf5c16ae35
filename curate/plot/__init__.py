"""``curate plot``: what a curation did, as pictures. The funnel, and one histogram for each signal."""
