"""Text made comparable before it is compared."""
