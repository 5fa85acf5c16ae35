"""Does curation pay? Models trained for the same number of steps on dirty, curated and clean data, compared."""
