"""What a location holds, before anything is curated."""
