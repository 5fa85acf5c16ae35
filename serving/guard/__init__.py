"""A proxy before an OpenAI-compatible server that checks images, prompts and answers."""
