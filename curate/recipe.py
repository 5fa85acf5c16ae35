"""What ``curate run`` reads: one strict YAML file.

One model for each section, in the order of the work: sources, remote images, signals, rules, duplicates,
contamination, splits, exports; then the whole recipe.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from curate.kinds import KINDS, Kind
from curate.signals.clip import SHIPPED
from winnow.errors import UserError
from winnow.images import DEFAULT_MAX_BYTES, DEFAULT_MAX_PIXELS
from winnow.recipe import Place, StrictModel, load_recipe, parse_recipe
from winnow.run import MANIFEST, read_manifest
from winnow.storage import address, local

# Pillow itself refuses above this; a higher cap of ours would not help.
_PILLOW_PIXEL_LIMIT = 178_956_970
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,62}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class SourceSettings(StrictModel):
    """One entry of ``sources:`` in a recipe.

    Attributes:
        location: a file, a folder, a pattern of files (``shards-{000..041}.tar``, ``data/train-*.parquet``),
            ``hub:<repo>[:<config>][:<split>]``, or the name of an installed data package (``easy_vqa``).
        layout: a key of ``curate.readers.LAYOUTS``; null recognises it by content.
        source: name of the dataset, first part of every id; default: the file's or folder's name.
            A record that names its own source keeps it.
        split: second part of every id, e.g. ``train``; a record that names its own keeps it.
        image_root: folder that image paths are relative to; null: see the layout's module.
        columns: for tables, role (a key of ``curate.readers.tables.columns.COLUMN_NAMES``: ``id image question answer
            answers options caption label`` …) to column name, where it is not recognised; ``none`` for no column. The
            image may be in several: ``image: [left, right]``.
        caption_prompt: the question for captions that come without one; null is ``Describe the image.``, and
            captions of videos or sounds are bad rows.
        answer_base: for multiple choice, the number of the first option, 0 or 1; null tells it from all rows.
        annotations: for VQA and OK-VQA, the file of annotations, or ``none``; null looks for the
            published name beside the questions.
        ocr: for TextVQA, the file of OCR tokens, or ``none``; null looks beside the questions.
        streaming: for ``hub:`` locations, read while downloading instead of downloading first.
        ids: ``own`` keeps the dataset's ids; ``position`` appends ``#<row>`` to each, for
            datasets that repeat ids.
        follow_links: also read images behind links that leave ``image_root``. Links of a Hugging Face cache into its
            own ``blobs``, and a link at ``image_root`` itself, are followed in any case.
        license: of the dataset, e.g. ``cc-by-4.0``; goes to the card and the manifest.
    """

    location: str
    layout: str | None = None
    source: str | None = None
    split: str = ""
    image_root: str | None = None
    columns: dict[str, str | list[str]] = Field(default_factory=dict)
    caption_prompt: str | None = Field(default=None, min_length=1)
    answer_base: Literal[0, 1] | None = None
    annotations: str | None = None
    ocr: str | None = None
    streaming: bool = False
    ids: Literal["own", "position"] = "own"
    follow_links: bool = False
    license: str | None = None

    @field_validator("columns")
    @classmethod
    def _one_column_for_a_role(cls, columns: dict[str, str | list[str]]) -> dict[str, str | list[str]]:
        for role, names in columns.items():
            if role != "image" and not isinstance(names, str):
                raise ValueError(f"{role!r} needs one column; only the image may be in several")
        return columns


class RemoteSettings(StrictModel):
    """``remote:`` in a recipe: images behind URLs are fetched. Without it none are; ``remote: {}`` takes the defaults.

    Attributes:
        buckets: places on object storage whose images rows may name, e.g. ``[s3://bucket, gs://other/photos]``, beside
            those of ``sources:``. What a row alone names is not read: it would be with your credentials.
        mirror: prefix of URLs to what replaces it, e.g. ``{"http://images.cocodataset.org/": "http://mirror/coco/"}``.
        concurrency, per_host: connections at a time, in all and to one host.
        timeout: seconds without a byte before a connection counts as broken.
        deadline: seconds for one attempt, even while bytes still arrive.
        attempts: per image, in one run. Only transient failures are tried again: 408, 425, 429, 5xx, broken connections
            and timeouts.
        backoff: seconds before the second attempt; doubles with each, with jitter.
        max_wait: longest pause in seconds; a server that asks for a longer one is left for the next run.
        max_redirects: followed for one image.
        allow_private: also connect to private, loopback and link-local addresses.
        max_bytes, max_pixels: caps of fetched images; null takes those of ``signals:``.
    """

    buckets: tuple[str, ...] = ()
    mirror: dict[str, str] = Field(default_factory=dict)
    concurrency: int = Field(default=32, ge=1, le=1024)
    per_host: int = Field(default=8, ge=1)
    timeout: float = Field(default=30, gt=0)
    deadline: float = Field(default=300, gt=0)
    attempts: int = Field(default=5, ge=1, le=100)
    backoff: float = Field(default=1, ge=0)
    max_wait: float = Field(default=60, ge=0)
    max_redirects: int = Field(default=5, ge=0, le=50)
    allow_private: bool = False
    max_bytes: int | None = Field(default=None, gt=0)
    max_pixels: int | None = Field(default=None, gt=0)

    @field_validator("buckets")
    @classmethod
    def _addresses(cls, buckets: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(map(address, buckets))
        except UserError as error:
            raise ValueError(str(error)) from error


class ClipSettings(StrictModel):
    """Which CLIP embeds images and text.

    Attributes:
        model: an open_clip architecture (``ViT-B-32``), ``hf-hub:<repo>``, or a local folder with
            ``open_clip_config.json`` and ``open_clip_model.safetensors``.
        pretrained: open_clip's tag (``laion2b_s34b_b79k``) for an architecture; null for the others.
    """

    model: str
    pretrained: str | None = None


class PromptSet(StrictModel):
    """Texts that make CLIP score every image: the share of ``positive`` in the softmax over all of them.

    Attributes:
        positive: captions of what is sought (``a photo of …``).
        negative: captions of what else an image may show; more of them mean fewer false alarms.
        scale: factor of the cosines before the softmax; CLIP models are trained towards 100.
    """

    positive: tuple[str, ...] = Field(min_length=1)
    negative: tuple[str, ...] = Field(min_length=1)
    scale: float = Field(default=100.0, gt=0)


class HeadSettings(StrictModel):
    """A trained head on CLIP's embedding; a file alone stands for one with the defaults.

    Attributes:
        file: ``.safetensors``, a PyTorch state dict (``.pth``, ``.pt``, ``.bin``; read with ``weights_only``), or
            ``.npz``, with the weights and biases of one or more linear layers.
        activation: what stands between two layers.
        output: ``sigmoid`` for a probability, ``raw`` for what the last layer gives, such as an aesthetic score.
    """

    file: Path
    activation: Literal["none", "relu"] = "none"
    output: Literal["sigmoid", "raw"] = "sigmoid"

    @model_validator(mode="before")
    @classmethod
    def _file_alone(cls, values: Any) -> Any:
        return {"file": values} if isinstance(values, str | Path) else values


class MeasureSettings(StrictModel):
    """``signals:`` in a recipe: what is measured, and the caps of decoding.

    Attributes:
        clip: the CLIP model; null leaves embeddings and alignment null.
        language: detect the language of questions and answers; needs the extra ``language-id``.
        embedding: ``efficientnet-lite0``, a small network that a package ships, embeds every image: for near-duplicates
            by meaning, selections and neighbours where no CLIP can be had; null computes none.
        nsfw: ``opennsfw`` scores every image; null leaves the column null.
        itm: a BLIP, SigLIP or CLIP of transformers that scores every image with its row's question and answer, by its
            name on the hub or as a local folder; null leaves the column null.
        faces: ``mtcnn`` counts the faces of every image (``curate.signals.faces``), a few tenths of a second each.
        ocr: ``rapidocr`` reads the text of every image, in seconds an image; needs the extra ``ocr``.
        cleanvision: whether to compute CleanVision's scores, which cost as much as all other signals; false leaves
            them null.
        prompts: column name → prompt set, or ``shipped`` for Winnow's own ``nsfw_clip`` and ``violence``. Computed
            from stored embeddings: changing them opens no image. Needs ``clip``.
        heads: column name → a trained head on the embedding, or its file: an aesthetic or NSFW predictor. Needs
            ``clip``.
        max_bytes, max_pixels: larger files and images get an error class and are not decoded.
        workers: processes that decode; null is one for each CPU, and at least two. Does not change the result. With
            one, the command itself decodes, so that a decoder that crashes ends it.
        engine: ``local``, or ``ray`` for a cluster (``RAY_ADDRESS``) that sees the images at the same path; needs
            the extra ``ray``. Changes no result.
        shard_size: images per Parquet part, and the most that a killed run loses.
        batch_size: images or texts in one forward pass of a model.
    """

    clip: ClipSettings | None = None
    language: bool = False
    embedding: Literal["efficientnet-lite0"] | None = None
    nsfw: Literal["opennsfw"] | None = None
    itm: str | None = Field(default=None, min_length=1)
    faces: Literal["mtcnn"] | None = None
    ocr: Literal["rapidocr"] | None = None
    cleanvision: bool = False
    prompts: dict[str, PromptSet | Literal["shipped"]] = Field(default_factory=dict)
    heads: dict[str, HeadSettings] = Field(default_factory=dict)
    max_bytes: int = Field(default=DEFAULT_MAX_BYTES, gt=0)
    max_pixels: int = Field(default=DEFAULT_MAX_PIXELS, gt=0, le=_PILLOW_PIXEL_LIMIT)
    workers: int | None = Field(default=None, ge=1)
    engine: Literal["local", "ray"] = "local"
    shard_size: int = Field(default=2048, ge=1)
    batch_size: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _scores_can_be_computed(self) -> MeasureSettings:
        for name in self.scores:
            if not _COLUMN.fullmatch(name) or self.scores.count(name) > 1:
                raise ValueError(f"{name!r}: a score needs a unique name in small letters, digits and '_'")
        for name, prompts in self.prompts.items():
            if prompts == "shipped" and name not in SHIPPED:
                raise ValueError(f"prompts {name!r}: shipped are {' and '.join(SHIPPED)}; write positive and negative")
        if self.scores and self.clip is None:
            raise ValueError(f"{self.scores[0]!r} is read off CLIP's embeddings: set `clip:` too")
        return self

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the columns that ``prompts`` and ``heads`` add."""
        return (*self.prompts, *self.heads)

    @property
    def prompt_sets(self) -> dict[str, PromptSet]:
        """``prompts`` with the shipped ones in full."""
        return {
            name: one if isinstance(one, PromptSet) else PromptSet(positive=SHIPPED[name][0], negative=SHIPPED[name][1])
            for name, one in self.prompts.items()
        }


class Rule(StrictModel):
    """One rule of the policy.

    Attributes:
        when: boolean SQL expression over the columns that ``curate signals`` lists; it takes the rows for which it
            is true.
        keep: in place of ``when``, the rows to keep; it takes the others: ``top 30% BY column``, ``top 1000 BY
            column``, ``at most 3 BY column, …`` (of each group; which ones is decided by a digest of the id, or by
            ``ORDER BY column DESC``).
        action: ``drop`` removes the row; ``flag`` keeps and marks it.
        validated: on which labelled rows you have tried the rule, and with what result: goes to the card. Without it,
            `curate run` and the card say so where a row is dropped by one score that nobody has validated.
    """

    when: str | None = None
    keep: str | None = None
    action: Literal["drop", "flag"]
    validated: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_condition(self) -> Rule:
        if (self.when is None) == (self.keep is None):
            raise ValueError("a rule needs one of 'when' and 'keep'")
        return self

    @property
    def condition(self) -> str:
        """In words: ``when sharpness < 35`` or ``keep top 30% BY sharpness``."""
        kind, text = ("keep", self.keep) if self.when is None else ("when", self.when)
        return f"{kind} {' '.join((text or '').split())}"


class MatchSettings(StrictModel):
    """When two images count as the same one.

    Attributes:
        hash: which perceptual hash proposes pairs; ``both`` proposes what either finds.
        radius: largest Hamming distance of a proposed pair, in bits of 64.
        max_mean_diff: largest mean absolute difference of the 16×16 colour thumbnails (0-255).
        max_cell_diff: largest difference of any one of the 256 cells (mean of its three channels,
            0-255). A shape that moved changes few cells a lot, a re-encoded file all cells a little.
            It holds for images of 64 pixels and less, and falls with 1 / side for larger ones, whose
            compression moves a cell less, down to what ``max_contrast_diff`` allows.
        max_contrast_diff: the same in units of the image's contrast (standard deviation of its
            thumbnail): two pages or forms differ in few words only, and their thumbnails are pale.
    """

    RENAMED: ClassVar[dict[str, str]] = {
        "confirm": "max_mean_diff",
        "confirm_cell": "max_cell_diff",
        "confirm_contrast": "max_contrast_diff",
    }

    hash: Literal["phash", "dhash", "both"] = "both"
    radius: int = Field(default=8, ge=0, le=16)
    max_mean_diff: float = Field(default=4.0, ge=0, le=255)
    max_cell_diff: float = Field(default=36.0, ge=0, le=255)
    max_contrast_diff: float = Field(default=0.5, ge=0)


Action = Literal["drop", "flag", "ignore"]
Actions = dict[Kind, Action]
# What is done about a copy of each kind. Those that flag are seen less surely, or are often kept on purpose.
DUPLICATE_ACTIONS: Mapping[Kind, Action] = {
    "exact": "drop", "re-encoded": "drop", "resized": "drop", "toned": "flag", "brighter": "flag", "cropped": "flag",
    "framed": "flag", "overlaid": "flag", "mirrored": "flag", "turned": "flag",
}  # fmt: skip
CONTAMINATION_ACTIONS: Mapping[Kind, Action] = {
    "exact": "drop", "re-encoded": "drop", "resized": "drop", "toned": "drop", "brighter": "drop", "cropped": "drop",
    "framed": "flag", "overlaid": "flag", "mirrored": "drop", "turned": "flag",
}  # fmt: skip


def _over(defaults: Mapping[Kind, Action]) -> BeforeValidator:
    """Kinds that a recipe does not name have the default action."""
    return BeforeValidator(lambda given: {**defaults, **given} if isinstance(given, dict) else given)


def _without_semantic(kinds: Actions) -> Actions:
    if "semantic" in kinds:
        raise ValueError("semantic copies are not found by their pixels; `kinds` has exact to turned")
    return {kind: kinds[kind] for kind in KINDS if kind in kinds}


def sought(kinds: Actions) -> tuple[Kind, ...]:
    """The kinds that are not ignored, in the order of ``KINDS``."""
    return tuple(kind for kind, action in kinds.items() if action != "ignore")


class DuplicateSettings(MatchSettings):
    """``duplicates:`` in a recipe; adds the rules ``duplicate``, ``edited_copy`` and ``conflicting``.

    Attributes:
        kinds: kind of copy (``curate.kinds``) → ``drop``: a row that repeats another one about such a copy
            of its image is a ``duplicate``; ``flag``: it is an ``edited_copy``; ``ignore``: the kind is not looked for.
        scope: ``question`` drops a row when a near-identical image carries the same question and
            answer; ``image`` keeps the rows of one image per group.
        keep: what makes a row the one to keep, in order of importance: ``pixels`` (more),
            ``votes`` (more answers), ``id`` (smaller).
    """

    kinds: Annotated[Actions, _over(DUPLICATE_ACTIONS), AfterValidator(_without_semantic)] = Field(
        default_factory=lambda: dict(DUPLICATE_ACTIONS)
    )
    scope: Literal["question", "image"] = "question"
    keep: tuple[Literal["pixels", "votes", "id"], ...] = ("pixels", "votes", "id")


class SemanticSettings(StrictModel):
    """``semantic:`` in a recipe: pictures of the same thing, by their embeddings; adds the rule ``semantic_repeat``.

    Attributes:
        cosine: smallest cosine of two embeddings to count as the same thing. Scales differ between models: see
            docs/explanation/duplicates.md.
        keep: pictures of a cluster that are not flagged: those of most pixels.
    """

    cosine: float = Field(default=0.95, gt=0, le=1)
    keep: int = Field(default=1, ge=1)


def benchmark_name(settings: SourceSettings) -> str:
    """Name of an evaluation set in reports: ``source/split``, or the file's name."""
    named = "/".join(part for part in (settings.source, settings.split) if part)
    return named or Path(settings.location).stem


class TextLeakSettings(StrictModel):
    """``texts:`` of ``contamination:``: when a row repeats a question and answer of an evaluation set.

    Attributes:
        threshold: smallest Jaccard index of the two questions (``curate.duplicates.texts.shingles``); 1 takes
            equal ones only. The answers are equal when normalised.
        min_words: shorter questions are no evidence.
        most_rows: a question that more rows of either set ask is no evidence.
    """

    threshold: float = Field(default=0.8, ge=0.5, le=1)
    min_words: int = Field(default=6, ge=1)
    most_rows: int = Field(default=10, ge=1)


class ContaminationSettings(MatchSettings):
    """``contamination:`` in a recipe; adds the rules ``contaminated``, ``leak_suspected`` and ``contaminated_text``.

    Attributes:
        against: evaluation sets, written like entries of ``sources:``.
        kinds: kind of copy (``curate.kinds``) → ``drop``: a row whose image is such a copy of an evaluation
            image is ``contaminated``; ``flag``: it is ``leak_suspected``; ``ignore``: the kind is not looked for.
        questions: also record whether the evaluation set asks the same question about the image
            (column ``contaminated_question``), and match rows without images by their question.
            For rows with images the rule itself fires on the image.
        texts: when a row on any image counts as a leaked question and answer (column ``contaminated_text``, which its
            rule flags); null compares none.
    """

    against: list[SourceSettings] = Field(min_length=1)
    kinds: Annotated[Actions, _over(CONTAMINATION_ACTIONS), AfterValidator(_without_semantic)] = Field(
        default_factory=lambda: dict(CONTAMINATION_ACTIONS)
    )
    questions: bool = True
    texts: TextLeakSettings | None = TextLeakSettings()

    @field_validator("against")
    @classmethod
    def _different_names(cls, against: list[SourceSettings]) -> list[SourceSettings]:
        names = [benchmark_name(settings) for settings in against]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"two evaluation sets are called {name!r}; give one of them another 'source' or 'split'"
                )
        return against


TextField = Literal["question", "answer", "row"]


class TextSettings(StrictModel):
    """``similar_texts:`` in a recipe: rows with nearly the same text; adds the rule ``similar_text``, which flags.

    Attributes:
        of: which texts are compared: all questions of a row; all answers (a caption is one); ``row`` is both together.
        threshold: smallest Jaccard index of two texts' words and pairs of neighbouring words that makes them alike
            (``curate.duplicates.texts.shingles``).
        keep: rows of each group that the rule leaves unmarked, the first in input order.
        min_words: texts of fewer words are left out.
    """

    of: tuple[TextField, ...] = Field(default=("row",), min_length=1)
    threshold: float = Field(default=0.8, ge=0.5, le=1)
    keep: int = Field(default=1, ge=1)
    min_words: int = Field(default=5, ge=1)

    @field_validator("of")
    @classmethod
    def _each_once(cls, of: tuple[TextField, ...]) -> tuple[TextField, ...]:
        if len(set(of)) < len(of):
            raise ValueError("name each text once")
        return of


class AnswerSettings(StrictModel):
    """``answers:`` in a recipe: looks for wrong answers; drops and flags nothing. ``{}`` takes the defaults.

    Attributes:
        neighbours: how many of the nearest pictures vote for ``neighbour_confidence``.
        gains: files of ``finetune score``, for ``picture_gain``; of several the mean counts.
    """

    neighbours: int = Field(default=20, ge=1, le=1000)
    gains: list[Path] = Field(default_factory=list)


class SplitSettings(StrictModel):
    """``splits:`` in a recipe, e.g. ``{train: 0.9, val: 0.1, seed: 0}``.

    Attributes:
        shares: name → share of the groups of rows that belong together; they add up to 1.
        seed: decides which groups go to which split.
    """

    shares: dict[str, float]
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _shares_beside_the_seed(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "shares" in values:
            return values
        shares = {name: share for name, share in values.items() if name != "seed"}
        return {"shares": shares, **{key: values[key] for key in values.keys() & {"seed"}}}

    @field_validator("shares")
    @classmethod
    def _add_up(cls, shares: dict[str, float]) -> dict[str, float]:
        for name, share in shares.items():
            if not _NAME.fullmatch(name) or not 0 < share <= 1:
                raise ValueError(f"split {name!r}: needs a plain name and a share above 0")
        if len(shares) < 2 or abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError("the shares of at least two splits must add up to 1, as in {train: 0.9, val: 0.1}")
        return shares


FormatName = Literal[
    "jsonl", "parquet", "webdataset", "imagefolder", "ms-swift", "llama-factory", "trl", "trl-dpo", "llava",
    "openai-messages", "evalscope", "original",
]  # fmt: skip
# Formats that hold the images themselves; the others can name them where they lie.
SELF_CONTAINED = ("parquet", "webdataset", "imagefolder")


class ExportSettings(StrictModel):
    """One export.

    Attributes:
        to: the format.
        out: the folder to write, here or on object storage; null is ``exports/<format>`` in the curated folder.
        images: ``path`` leaves images where they lie and names them there, ``copy`` copies them into
            the export (``openai-messages`` and ``evalscope``: into the rows, as data URIs); null is the format's
            default: ``copy`` for ``parquet``, ``webdataset`` and ``imagefolder``, which always hold them, else
            ``path``.
        shard_megabytes: largest size of one shard of ``parquet`` or ``webdataset``.
        mistakes: for ``trl-dpo``: an evaluation folder whose model was asked questions of these rows; its wrong replies
            are rejected answers.
    """

    to: FormatName
    out: Place | None = None
    images: Literal["path", "copy"] | None = None
    shard_megabytes: int = Field(default=500, ge=1, le=8000)
    mistakes: Path | None = None

    @model_validator(mode="after")
    def _images_fit_the_format(self) -> ExportSettings:
        if self.mistakes and self.to != "trl-dpo":
            raise ValueError("mistakes: only trl-dpo has a place for wrong replies")
        if self.to in SELF_CONTAINED and self.images == "path":
            raise ValueError(f"{self.to} holds the images; leave out 'images: path'")
        if self.to == "original" and self.images == "copy":
            raise ValueError("original leaves every row as it is, image paths too; leave out 'images: copy'")
        return self

    @property
    def copies(self) -> bool:
        """Whether the export holds copies of the images."""
        return self.to in SELF_CONTAINED or self.images == "copy"


class CurateRecipe(StrictModel):
    """A whole recipe.

    Attributes:
        name: names the result.
        out: the folder of the result, here or on object storage; null is ``data/curated/<name>``.
        seed: picks the card's examples.
        sources: datasets, read in this order.
        remote: how images behind URLs are fetched; null (the default) fetches none.
        signals: what is measured.
        rules: name → rule; the order decides which dropping rule is a row's reason. A rule named ``duplicate``,
            ``edited_copy``, ``conflicting``, ``contaminated`` or ``leak_suspected`` replaces the one its section adds.
        duplicates: when images and rows count as duplicates; null looks for none.
        contamination: evaluation sets whose images must not be in the set; null compares with none.
        similar_texts: when texts of rows count as alike; null compares none.
        semantic: when pictures count as showing the same thing; null looks for none.
        corrections: folder with reviewers' ``*.jsonl`` files; need not exist.
        losses: ``losses.parquet`` of earlier training runs, for ``train_loss``, ``train_loss_first``,
            ``train_loss_mean``, ``epoch_learned`` and ``forgotten``.
        answers: how wrong answers are looked for, for ``suspect`` and what it is made from; null does not.
        splits: parts of the curated set that share no image.
        exports: formats in which the curated set is also written, by name or with settings.
    """

    name: str
    out: Place | None = None
    seed: int = 0
    sources: list[SourceSettings] = Field(min_length=1)
    remote: RemoteSettings | None = None
    signals: MeasureSettings = MeasureSettings()
    rules: dict[str, Rule] = Field(default_factory=dict)
    duplicates: DuplicateSettings | None = None
    contamination: ContaminationSettings | None = None
    similar_texts: TextSettings | None = None
    semantic: SemanticSettings | None = None
    corrections: Path | None = None
    losses: list[Path] = Field(default_factory=list)
    answers: AnswerSettings | None = None
    splits: SplitSettings | None = None
    exports: list[ExportSettings] = Field(default_factory=list)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
            raise ValueError("a name has letters, digits, '.', '_' and '-' only and starts with a letter or a digit")
        return name

    @model_validator(mode="after")
    def _embeddings_for_semantic(self) -> CurateRecipe:
        if self.semantic and self.signals.clip is None and self.signals.embedding is None:
            raise ValueError(
                "semantic: compares embeddings; set `embedding: efficientnet-lite0` or `clip:` in `signals:`"
            )
        return self

    @field_validator("rules", mode="before")
    @classmethod
    def _from_list(cls, rules: Any) -> Any:
        """A manifest, whose keys are sorted, holds rules as a list: ``[{name: …, when: …, action: …}]``."""
        if not isinstance(rules, list):
            return rules
        named = {rule.get("name"): rule for rule in rules if isinstance(rule, dict)}
        if len(named) < len(rules) or not all(isinstance(name, str) for name in named):
            raise ValueError("a list of rules needs a different 'name' in each")
        return {name: {key: value for key, value in rule.items() if key != "name"} for name, rule in named.items()}

    @field_validator("rules")
    @classmethod
    def _plain_rule_names(cls, rules: dict[str, Rule]) -> dict[str, Rule]:
        for name in rules:
            if not _NAME.fullmatch(name):
                raise ValueError(f"rule {name!r}: a name has letters, digits, '.', '_' and '-' only")
        return rules

    @field_validator("exports", mode="before")
    @classmethod
    def _by_name(cls, exports: Any) -> Any:
        """``trl`` is short for ``{to: trl}``."""
        if not isinstance(exports, list):
            return exports
        return [{"to": export} if isinstance(export, str) else export for export in exports]

    @field_validator("exports")
    @classmethod
    def _different_folders(cls, exports: list[ExportSettings]) -> list[ExportSettings]:
        places = [str(export.out or export.to) for export in exports]
        if len(set(places)) < len(places):
            raise ValueError("two exports go to the same folder; give one of them another 'out'")
        return exports

    @property
    def folder(self) -> Path:
        """Where the result lies."""
        return local(self.out) if self.out else Path("data/curated") / self.name


# Built-in rules; the ones of a section are added when the recipe has that section.
BAD_ROW = Rule(when="bad_row IS NOT NULL", action="drop")
CONTAMINATED = Rule(when="contaminated", action="drop")
LEAK_SUSPECTED = Rule(when="leak_suspected", action="flag")
CONFLICTING = Rule(when="conflicting AND answer_words <= 3", action="flag")
DUPLICATE = Rule(when="duplicate", action="drop")
CONTAMINATED_TEXT = Rule(when="contaminated_text", action="flag")
EDITED_COPY = Rule(when="edited_copy", action="flag")


def all_rules(recipe: CurateRecipe) -> dict[str, Rule]:
    """The recipe's rules with the built-in ones; the first dropping rule that fires is a row's reason."""
    rules = {"bad_row": BAD_ROW, **recipe.rules}
    if recipe.contamination:
        rules.setdefault("contaminated", CONTAMINATED)
        if "flag" in recipe.contamination.kinds.values():
            rules.setdefault("leak_suspected", LEAK_SUSPECTED)
        if recipe.contamination.texts:
            rules.setdefault("contaminated_text", CONTAMINATED_TEXT)
    if recipe.duplicates:
        rules.setdefault("conflicting", CONFLICTING)
        rules.setdefault("duplicate", DUPLICATE)
        if "flag" in recipe.duplicates.kinds.values():
            rules.setdefault("edited_copy", EDITED_COPY)
    if recipe.semantic:
        repeat = Rule(when=f"semantic_place > {recipe.semantic.keep}", action="flag")
        rules.setdefault("semantic_repeat", repeat)
    if texts := recipe.similar_texts:
        repeated = " OR ".join(f"{field}_cluster_place > {texts.keep}" for field in texts.of)
        rules.setdefault("similar_text", Rule(when=repeated, action="flag"))
    return rules


def read_recipe(path: Path) -> CurateRecipe:
    """Load and check a recipe.

    Raises:
        UserError: the file cannot be read, a key is unknown or a value does not fit.
    """
    return load_recipe(path, CurateRecipe)


def read_finished(folder: Path) -> tuple[CurateRecipe, dict[str, Any]]:
    """The recipe and the whole manifest of a finished curation.

    Raises:
        UserError: the folder is not a finished curation, or its recipe is of another version of Winnow.
    """
    manifest = read_manifest(folder, finish_with="curate run RECIPE")
    return parse_recipe(manifest.get("recipe", {}), CurateRecipe, where=f"{folder}/{MANIFEST}"), manifest
