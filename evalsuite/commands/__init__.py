"""The commands of ``evalsuite``, by what they work on."""
