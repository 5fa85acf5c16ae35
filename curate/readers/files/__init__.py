"""Files of rows: each kind to raw rows, whatever its encoding."""
