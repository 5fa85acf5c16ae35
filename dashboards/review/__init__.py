"""Review: any list of rows, judged row by row in the browser with single keys."""
