"""The recipes that ship with finetune: which there are, and copies of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from winnow.errors import UserError, did_you_mean
from winnow.files import write_text
from winnow.strict_yaml import read_mapping

_HERE = Path(__file__).parent
FOLDER = _HERE / "recipes"


@dataclass(frozen=True, slots=True)
class ShippedRecipe:
    """A recipe that ships.

    Attributes:
        model: its base model.
        gpu: memory of the GPU that it is made for, e.g. ``16 GB``; empty: none is needed.
    """

    name: str
    model: str
    gpu: str


def shipped_recipes() -> list[ShippedRecipe]:
    """All recipes that ship, by name."""
    return [_shipped(path) for path in sorted(FOLDER.glob("*.yaml"))]


def _shipped(path: Path) -> ShippedRecipe:
    gpu = re.search(r"_(\d+)gb$", path.stem)
    return ShippedRecipe(path.stem, str(read_mapping(path)["model"]), f"{gpu[1]} GB" if gpu else "")


def recipe_text(name: str) -> str:
    """A recipe as it ships.

    Raises:
        UserError: no recipe has that name.
    """
    path = FOLDER / f"{name.removesuffix('.yaml')}.yaml"
    if path.parent != FOLDER or not path.is_file():
        known = [recipe.name for recipe in shipped_recipes()]
        raise UserError(f"no recipe is called {name!r}; {did_you_mean(name, known)}")
    return path.read_text(encoding="utf-8")


def copy_recipe(name: str, out: Path) -> None:
    """Write a copy of a recipe, and of the chat template that it names, beside each other.

    Raises:
        UserError: there is no such recipe, or a file is in the way.
    """
    text = recipe_text(name)
    files = {out: text}
    for template in re.findall(r"^chat_template: finetune/recipes/(\S+\.jinja)", text, re.MULTILINE):
        files[out.with_name(template)] = (FOLDER / template).read_text(encoding="utf-8")
        files[out] = files[out].replace(f"finetune/recipes/{template}", str(out.with_name(template)))
    files[out] = files[out].replace("finetune/accelerate/", f"{_HERE}/accelerate/")
    files[out] = files[out].replace(f"finetune/recipes/{name.removesuffix('.yaml')}.yaml", str(out))
    for path in files:
        if path.exists():
            raise UserError(f"{path}: is there already; give another file with --out")
    for path, content in files.items():
        write_text(path, content)
