"""Commands are killed at random moments, and end with the bytes of undisturbed ones."""
