"""Evaluation of vision-language models: tasks, metrics, backends, statistics, reports."""

from evalsuite.hf_modules import module_path

__all__ = ["module_path"]
