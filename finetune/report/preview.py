"""Shows which tokens of a few conversations would be trained, in the terminal and as HTML."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from finetune.data.chat import TrainingConversation
from finetune.data.collate import Collator, first_of_each_source
from finetune.data.pairs import shown_sides
from finetune.data.preflight import check_rows
from finetune.data.rows import Rows, open_rows
from finetune.data.schedule import schedule_of
from finetune.data.spans import render_with_spans
from finetune.model.load import load_processor, processor_place
from finetune.recipe import TrainRecipe
from winnow.files import write_text

_STYLE = {True: "bold black on green3", False: "dim"}


@dataclass(frozen=True, slots=True)
class TokenPreview:
    """A conversation as tokens.

    Attributes:
        pieces: (text, trained, repetitions); equal tokens in a row, such as image tokens, are a single piece.
        stops: whether every answer ends in a trained stop token.
        reasoning: for each answer, whether its reasoning is trained; None without any.
        calls: calls of tools.
    """

    sample_ids: tuple[str, ...]
    source: str
    pieces: tuple[tuple[str, bool, int], ...]
    stops: bool
    reasoning: tuple[bool | None, ...]
    calls: int

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return sum(count for _, _, count in self.pieces)

    @property
    def trained(self) -> int:
        """Number of trained tokens."""
        return sum(count for _, trained, count in self.pieces if trained)


def preview(recipe: TrainRecipe, *, per_source: int, page: Path | None, rejects: Path) -> None:
    """Print the first conversations of every source and stage.

    Args:
        per_source: conversations of each source.
        page: HTML file that is also written.
        rejects: file for the rows that cannot be trained.

    Raises:
        UserError: the data or the model's processor cannot be used.
    """
    rows = open_rows(recipe)
    processor = load_processor(processor_place(recipe), recipe.chat_template, recipe.input_settings)
    checked = check_rows(
        rows, processor, settings=recipe.input_settings, max_length=recipe.max_length, max_reject=1.0,
        sample_answers=recipe.answers == "sampled", workers=recipe.num_workers, rejects=rejects,
        joined=recipe.joins_questions(), pairs=recipe.method == "dpo",
    )  # fmt: skip
    collator = Collator(processor, rows.image_root, recipe.input_settings)
    console = Console(highlight=False)
    previews: list[TokenPreview] = []
    for number, stage in enumerate(recipe.resolved_stages()):
        schedule = schedule_of(recipe, rows, checked.accepted, number, stage)
        console.rule(f"{stage.name}: trains {' + '.join(stage.train)}", align="left")
        for conversation in shown_sides(recipe, rows, first_of_each_source(rows, [schedule], per_source)):
            previews.append(tokens_of(collator, rows, conversation))
            console.print(_as_text(previews[-1]))
    console.print(_summary(previews))
    for reason, count in checked.rejected.items():
        console.print(f"rejected: {reason} {count:,}, for example {_example(rejects, reason)}", markup=False)
    if page:
        write_text(page, as_html(recipe.name, previews))
        console.print(f"written: {page}")


def _example(rejects: Path, reason: str) -> str:
    """The first row that was rejected for a reason, and why."""
    lines = map(json.loads, rejects.read_text(encoding="utf-8").splitlines())
    line = next(line for line in lines if line["reason"] == reason)
    return f"{line['sample_id'] or 'row {}'.format(line['row'])}: {line['detail']}"


def tokens_of(collator: Collator, rows: Rows, conversation: TrainingConversation) -> TokenPreview:
    """A conversation's tokens, decoded one by one, with their training mask."""
    batch = collator([conversation])
    chat = render_with_spans(collator.processor, conversation, collator.settings)
    tokenizer, ids = collator.processor.tokenizer, batch["input_ids"][0].tolist()
    trained = (batch["owners"][0] >= 0).tolist()
    tokens = ((_decoded(tokenizer, token), learns) for token, learns in zip(ids, trained, strict=True))
    pieces = tuple((text, learns, len(list(equal))) for (text, learns), equal in groupby(tokens))
    samples = [rows[row] for row in dict.fromkeys(conversation.rows)]
    return TokenPreview(
        tuple(sample.id for sample in samples),
        samples[0].source,
        pieces,
        all(chat.stops),
        chat.reasoning,
        sum(chat.calls),
    )


def _decoded(tokenizer: Any, token: int) -> str:
    text: str = tokenizer.decode([token], skip_special_tokens=False)
    return text or tokenizer.convert_ids_to_tokens(token)


def _with_repeats(preview: TokenPreview) -> Iterator[tuple[str, bool]]:
    for text, trained, count in preview.pieces:
        yield (text * count if len(text) * count < 12 else f"{text}×{count}"), trained


def _as_text(preview: TokenPreview) -> Text:
    text = Text(f"{', '.join(preview.sample_ids)}\n", style="bold")
    for piece, trained in _with_repeats(preview):
        text.append(piece.replace("\n", "⏎\n"), style=_STYLE[trained])
    return text.append("\n", style="")


def _summary(previews: Iterable[TokenPreview]) -> Text:
    text = Text("\ntrained tokens\n", style="bold")
    ordered = sorted(previews, key=lambda item: item.source)
    for source, group in groupby(ordered, key=lambda item: item.source):
        items = list(group)
        trained, tokens = sum(item.trained for item in items), sum(item.tokens for item in items)
        stops = "yes" if all(item.stops for item in items) else "NO: the model would not learn to stop"
        text.append(
            f"  {source or '(no source)'}: {trained} of {tokens} ({trained / tokens:.1%}), stop token: {stops}"
            f"{_beside_text(items)}\n"
        )
    return text


def _beside_text(previews: Iterable[TokenPreview]) -> str:
    """What is trained beside the text of answers: reasoning and calls of tools; '' without any."""
    items = list(previews)
    reasoning = [trained for item in items for trained in item.reasoning if trained is not None]
    calls = sum(item.calls for item in items)
    learned = "trained" if all(reasoning) else "not trained"
    parts = [f", reasoning in {len(reasoning)} answers: {learned}"] if reasoning else []
    return "".join([*parts, f", calls of tools trained: {calls}" if calls else ""])


def as_html(title: str, previews: Iterable[TokenPreview]) -> str:
    """A self-contained page; all text of the data is escaped."""
    parts = []
    for item in previews:
        spans = "".join(
            f'<span class="{"t" if trained else "f"}">{html.escape(piece)}</span>'
            for piece, trained in _with_repeats(item)
        )
        stop = "stop token trained" if item.stops else "no stop token"
        parts.append(
            f"<h2>{html.escape(', '.join(item.sample_ids))}</h2><p>{html.escape(item.source)} · {item.trained} of "
            f"{item.tokens} tokens trained · {stop}{html.escape(_beside_text([item]))}</p><pre>{spans}</pre>"
        )
    return _PAGE.replace("TITLE", html.escape(title)).replace("BODY", "\n".join(parts))


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>TITLE: trained tokens</title>
<style>body{font:15px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#111}
pre{white-space:pre-wrap;background:#f6f7f9;padding:1rem;border-radius:6px}h2{font-size:1rem}
.t{background:#bbf7d0;font-weight:600;outline:1px solid #86efac}.f{color:#6b7280}</style>
<h1>TITLE</h1><p><span class="t">trained</span> <span class="f">not trained</span></p>
BODY
</html>
"""
