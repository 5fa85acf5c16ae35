"""One file a layout, found by its name; see ``curate.readers.base.Layout``."""
