"""Charts to files: a PNG each, and one page that needs no network."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from curate.plot.histograms import histograms
from curate.recipe import CurateRecipe, all_rules
from curate.report.plots import Chart, funnel, histogram
from curate.rules.decide import check_rules
from curate.workspace import Workspace
from winnow.files import atomic_path, write_text
from winnow.progress import Bar
from winnow.recipe import parse_recipe
from winnow.run import read_manifest

FOLDER, PAGE = "plots", "index.html"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.5 Inter, "Helvetica Neue", Arial, sans-serif; color: #23272e; background: #f5f6f8; margin: 0; }}
header {{ padding: 28px 32px 8px; }}
h1 {{ font-size: 24px; margin: 0 0 4px; }}
p {{ margin: 0; color: #5b626d; }}
main {{ display: flex; flex-wrap: wrap; gap: 18px; padding: 20px 32px 40px; align-items: flex-start; }}
figure {{ margin: 0; background: white; border-radius: 8px; padding: 4px;
         box-shadow: 0 1px 3px rgba(20, 25, 35, .12); }}
</style>
<script>{library}</script></head>
<body><header><h1>{title}</h1><p>{summary}</p></header><main>{figures}</main>
<script>
for (const [id, specification] of Object.entries({charts})) {{
  vegaEmbed("#" + id, specification, {{actions: false, renderer: "svg"}});
}}
</script></body></html>
"""


def plot(folder: Path) -> list[Path]:
    """Write ``plots/`` of a finished curation: ``funnel.png``, ``<signal>.png`` and ``index.html``.

    Returns:
        The files, the page first.

    Raises:
        UserError: the folder is not a finished curation.
    """
    manifest = read_manifest(folder, finish_with="curate run RECIPE")
    recipe = parse_recipe(manifest.get("recipe", {}), CurateRecipe, where=f"{folder}/manifest.json")
    counts = manifest["counts"]
    charts: dict[str, Chart] = {"funnel": funnel(counts)}
    scores = recipe.signals.scores
    for found in histograms(Workspace(folder), check_rules(all_rules(recipe), scores), recipe.losses, scores):
        charts[found.column] = histogram(found)
    target = folder / FOLDER
    for stale in target.glob("*.png"):
        if stale.stem not in charts:
            stale.unlink()
    files = []
    with Bar("plot", len(charts)) as bar:
        for name, chart in charts.items():
            files.append(_png(chart, target / f"{name}.png"))
            bar.advance()
    write_text(target / PAGE, _page(recipe.name, counts, charts))
    return [target / PAGE, *files]


def _png(chart: Chart, path: Path) -> Path:
    import vl_convert

    with atomic_path(path) as temporary:
        temporary.write_bytes(vl_convert.vegalite_to_png(chart, scale=2))
    return path


def _page(name: str, counts: dict[str, Any], charts: dict[str, Chart]) -> str:
    import vl_convert

    kept = f"{counts['keep'] + counts['flag']:,} of {counts['rows']:,} rows kept, {counts['flag']:,} of them flagged"
    specifications = {f"chart-{number}": chart for number, chart in enumerate(charts.values())}
    return _PAGE.format(
        title=f"{html.escape(name)}: what curation did",
        summary=f"{kept}; {counts['images']:,} different images.",
        library=vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script"),
        figures="".join(f'<figure id="{identifier}"></figure>' for identifier in specifications),
        # Text of the dataset cannot end the script.
        charts=json.dumps(specifications).replace("<", "\\u003c"),
    )
