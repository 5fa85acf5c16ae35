"""The pages, one file each: ``PAGE`` says how the menu lists it, ``show`` draws it."""
