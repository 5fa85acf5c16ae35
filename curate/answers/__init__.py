"""Wrong answers: signals that need no CLIP of the domain, and one score that combines them."""
