"""The metrics as Hugging Face ``evaluate`` modules: ``evaluate.load(evalsuite.module_path("cider"))``."""
