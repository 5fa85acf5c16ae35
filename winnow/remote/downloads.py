"""Checkpoints and data sets of the Hugging Face hub or ModelScope, as folders on this machine.

They are named ``owner/name``, ``hub:owner/name`` or ``modelscope:owner/name``; ``@revision`` behind it pins a commit,
branch or tag. Downloads are continued after a break, tried again a few times, and compared with the site's digests.
No code is downloaded, and no weights in pickle files.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from winnow.errors import UserError, disk_problem
from winnow.files import sha256_file, write_json
from winnow.remote import hub, modelscope
from winnow.remote.hub import Kind, RemoteFile
from winnow.remote.retry import TRANSIENT, backoff, retry_after

ATTEMPTS = 4  # in a row; each of them makes several tries of its own
_GIB = 1 << 30
_REFERENCE = re.compile(
    r"((?P<site>hub|modelscope):)?(?P<name>\w[\w.-]*(/\w[\w.-]*)?)(@(?P<revision>[\w.-]+(/[\w.-]+)*))?(:(?P<file>.+))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
Site = Literal["hub", "modelscope"]
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Repository:
    """A repository of a hub.

    Attributes:
        name: ``owner/name``.
        revision: commit, branch or tag; None: the site's main branch.
        file: path of a file in it; empty: all of it.
    """

    site: Site
    kind: Kind
    name: str
    revision: str | None = None
    file: str = ""

    def __str__(self) -> str:
        site = "" if self.site == "hub" and self.kind == "model" else f"{self.site}:"
        pin = f"@{self.revision}" if self.revision else ""
        return f"{site}{self.name}{pin}" + (f":{self.file}" if self.file else "")


@dataclass(frozen=True)
class Snapshot:
    """A repository's files on this machine.

    Attributes:
        commit: what they are of; None where the site does not say.
    """

    folder: Path
    commit: str | None


def parse(reference: str, kind: Kind) -> Repository:
    """The repository that a name stands for.

    Raises:
        UserError: it is no such name.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None or (found["file"] and kind == "model"):
        forms = "owner/name, hub:owner/name or modelscope:owner/name" if kind == "model" else "hub:owner/name[:FILE]"
        raise UserError(f"{kind} {reference}: no such folder, and no name of a hub ({forms}, with @revision to pin it)")
    site: Site = "modelscope" if found["site"] == "modelscope" else "hub"
    return Repository(site, kind, found["name"], found["revision"], found["file"] or "")


def is_remote(reference: str) -> bool:
    """Whether a path of a recipe names a repository: it begins with ``hub:`` or ``modelscope:``."""
    return reference.startswith(("hub:", "modelscope:"))


def pinned(reference: str, kind: Kind) -> str:
    """The name with the commit that its branch or tag stands for now; of ModelScope as it is, which tells none."""
    repository = parse(reference, kind)
    commit = fetch(repository, weights=False).commit
    return str(replace(repository, revision=commit or repository.revision))


def plain_name(model: str) -> str:
    """A checkpoint's folder, or its ``owner/name`` without site and revision, as cards and adapters name it."""
    return model if Path(model).is_dir() else parse(model, "model").name


def local_model(model: str, *, revision: str | None = None, weights: bool = True) -> Path:
    """A checkpoint's folder; that of a hub is downloaded.

    Args:
        revision: takes the place of the name's.
        weights: without, only configuration, tokenizer and processor are downloaded.

    Raises:
        UserError: see ``fetch``.
    """
    if Path(model).is_dir():
        return Path(model)
    repository = parse(model, "model")
    return fetch(replace(repository, revision=revision or repository.revision), weights=weights).folder


def local_data(reference: str) -> tuple[Path, Path]:
    """The folder or file of rows that ``hub:owner/name`` or ``modelscope:owner/name`` stands for, and its image root.

    Raises:
        UserError: it holds no file of rows, or several; see also ``fetch``.
    """
    repository = parse(reference, "dataset")
    folder = fetch(repository).folder
    if repository.file:
        path = Path(repository.file)
        if path.is_absolute() or ".." in path.parts or not (folder / path).is_file():
            raise UserError(f"data {reference}: holds no file {repository.file}")
        return folder / path, folder
    if (folder / "manifest.json").is_file() and (folder / "samples.jsonl").is_file():
        return folder, folder
    found = sorted(path for path in folder.glob("*") if path.suffix in (".jsonl", ".json"))
    if len(found) == 1:
        return found[0], folder
    if found:
        names = ", ".join(path.name for path in found[:5])
        raise UserError(f"data {reference}: name one of its files, as in {reference}:{found[0].name} ({names})")
    raise UserError(
        f"data {reference}: has no file of conversations in JSON; other tables are read by `curate run` with a source "
        f"{{location: 'hub:{repository.name}'}}"
    )


@functools.cache
def fetch(repository: Repository, *, weights: bool = True) -> Snapshot:
    """Download what is missing of a repository.

    Args:
        weights: of a model; without, only its configuration, tokenizer and processor.

    Raises:
        UserError: there is no such repository, it holds no safe weights, the disk is too full, nothing of it is here
            and the site cannot be reached, or the download breaks off again and again.
    """
    return _from_hub(repository, weights) if repository.site == "hub" else _from_modelscope(repository, weights)


def _from_hub(repository: Repository, weights: bool) -> Snapshot:
    name, kind, branch = repository.name, repository.kind, repository.revision or "main"
    pinned = bool(_COMMIT.fullmatch(branch))
    if offline := hub.why_offline():
        commit = branch if pinned else hub.remembered(name, kind, branch)
        if commit is None:
            raise _not_here(repository, f"is not in the cache ({hub.cache_folder()})", offline)
        return Snapshot(_complete(repository, hub.snapshot_of(name, kind, commit), offline, weights), commit)
    commit = branch if pinned else _patiently(repository, lambda: hub.commit_of(name, kind, repository.revision))
    files = _patiently(repository, lambda: hub.list_files(name, kind, commit))
    chosen = choose(repository, files, weights)
    folder = hub.snapshot_of(name, kind, commit)
    if not pinned:
        hub.remember(name, kind, branch, commit)
    from filelock import FileLock

    place = hub.place_of(name, kind)
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / ".winnow.lock"):  # of several training processes one downloads and compares
        _check_space(repository, folder, chosen)
        for _ in range(2):
            if any(not (folder / file.path).is_file() for file in chosen):
                _patiently(repository, lambda: hub.download(name, kind, commit, *_patterns(repository, chosen)))
            damaged = _remove_damaged(folder, chosen, place / ".winnow-compared.json")
            if not damaged:
                return Snapshot(folder, commit)
    raise UserError(
        f"{kind} {repository}: {damaged[0]} arrived damaged twice from {hub.endpoint()} (its digest is not the one "
        "that the site lists); nothing of it was kept, try another mirror (HF_ENDPOINT)"
    )


def _from_modelscope(repository: Repository, weights: bool) -> Snapshot:
    name, kind, revision = repository.name, repository.kind, repository.revision or "master"
    folder = modelscope.snapshot_of(name, kind, revision)
    offline = "HF_HUB_OFFLINE is set" if _told_offline() else hub.unreachable(modelscope.endpoint())
    if offline:
        return Snapshot(_complete(repository, folder, offline, weights), None)
    files = _patiently(repository, lambda: modelscope.list_files(name, kind, revision))
    chosen = choose(repository, files, weights)
    _check_space(repository, folder, chosen)
    _patiently(repository, lambda: modelscope.download(name, kind, revision, *_patterns(repository, chosen)))
    return Snapshot(folder, None)


def _told_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


_SMALL = (".json", ".jinja", ".txt", ".model", ".tiktoken")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_CODE = (".py", ".pyc", ".so", ".sh")


def choose(repository: Repository, files: Iterable[RemoteFile], weights: bool) -> list[RemoteFile]:
    """The files of a repository that are worth a download.

    Raises:
        UserError: the model's weights are pickles only, or there are none; or a path leads out of the folder.
    """
    files = list(files)
    for file in files:
        if file.path.startswith("/") or "\\" in file.path or ".." in Path(file.path).parts:
            raise UserError(f"{repository.kind} {repository}: lists {file.path!r}, a path that leads out of it")
    if repository.kind == "dataset":
        return [file for file in files if not file.path.endswith((*_PICKLES, *_CODE))]
    top = [file for file in files if "/" not in file.path]
    chosen = [file for file in top if file.path.endswith(_SMALL)]
    chosen += [file for file in files if file.path.startswith("additional_chat_templates/")]
    # `consolidated` is the same weights again, in Mistral's layout.
    tensors = [f for f in top if f.path.endswith(".safetensors") and not f.path.startswith("consolidated")]
    if weights and not tensors:
        pickles = [file.path for file in top if file.path.endswith(_PICKLES)]
        if pickles:
            raise UserError(
                f"model {repository}: its weights are pickles only ({pickles[0]}), which can run code when they are "
                "loaded; use a repository or revision with safetensors, or convert them (huggingface.co/spaces/"
                "safetensors/convert)"
            )
        raise UserError(f"model {repository}: holds no .safetensors weights")
    return chosen + tensors if weights else chosen


def _patterns(repository: Repository, chosen: Sequence[RemoteFile]) -> tuple[list[str] | None, list[str]]:
    """Patterns of wanted and unwanted paths: a data set's files are too many to compare each with each."""
    if repository.kind == "dataset":
        return None, [f"*{suffix}" for suffix in (*_PICKLES, *_CODE)]
    return [glob.escape(file.path) for file in chosen], []


def _complete(repository: Repository, folder: Path, offline: str, weights: bool) -> Path:
    """The folder if it holds all that is needed without a connection."""
    found = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    names = {path.relative_to(folder).as_posix() for path in found}
    index = folder / "model.safetensors.index.json"
    needed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) if index.is_file() else set()
    if not names or (repository.kind == "model" and weights and needed - names):
        how = f"is not wholly in {folder}" if names else f"is not in {folder}"
        raise _not_here(repository, how, offline)
    if repository.kind == "model" and weights:
        choose(repository, [RemoteFile(name, 0, "") for name in names], weights)
    return folder


def _not_here(repository: Repository, how: str, offline: str) -> UserError:
    variable = "HF_ENDPOINT" if repository.site == "hub" else "MODELSCOPE_ENDPOINT"
    return UserError(
        f"{repository.kind} {repository}: {how}, and {offline}: give a local folder, set {variable} to a mirror, or "
        "copy another machine's cache and set HF_HUB_OFFLINE=1"
    )


def _check_space(repository: Repository, folder: Path, files: Sequence[RemoteFile]) -> None:
    missing = sum(file.size for file in files if not (folder / file.path).is_file())
    place = folder.parents[1]  # with what an earlier attempt left
    missing -= sum(path.stat().st_size for path in place.rglob("*.incomplete"))
    disk = next(path for path in [place, *place.parents] if path.is_dir())
    free = shutil.disk_usage(disk).free
    if missing > free:
        variable = "HF_HOME" if repository.site == "hub" else "MODELSCOPE_CACHE"
        raise UserError(
            f"{repository.kind} {repository}: {missing / _GIB:,.1f} GiB are to be downloaded, {free / _GIB:,.1f} GiB "
            f"are free at {disk}; make room there, or set {variable} to a folder on another disk"
        )


def _remove_damaged(folder: Path, files: Sequence[RemoteFile], compared: Path) -> list[str]:
    """Compare files with their digests, remove those that differ and give their names.

    Args:
        compared: JSON file of the digests that were found right before, which are not computed again.
    """
    right = set(json.loads(compared.read_text(encoding="utf-8"))) if compared.is_file() else set()
    before, damaged = len(right), []
    for file in files:
        path = folder / file.path
        if not file.digest or file.digest in right:
            continue
        if file.digest == (sha256_file(path) if len(file.digest) == 64 else _git_sha1(path)):
            right.add(file.digest)
        else:
            damaged.append(file.path)
            path.resolve().unlink()
            path.unlink(missing_ok=True)
    if len(right) > before:
        write_json(compared, sorted(right))
    return damaged


def _git_sha1(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _patiently(repository: Repository, action: Callable[[], _Result]) -> _Result:
    """Do something that needs the network, again after failures that may pass.

    Raises:
        UserError: it fails for good, or too often.
    """
    for failures in range(1, ATTEMPTS + 1):
        try:
            return action()
        except UserError:
            raise
        except Exception as error:  # each site's client has its own, and those of its HTTP library
            response = _response(error)
            final = _final(repository, error, response)
            if final is not None:
                raise final from error
            if failures == ATTEMPTS:
                raise _gave_up(repository, error, response) from error
            asked = retry_after(response.headers) if response is not None else None
            time.sleep(backoff(failures, base=2.0, longest=60.0, asked=asked))
    raise AssertionError("unreachable")


def _response(error: BaseException) -> Any:
    """The HTTP response behind an error; None if there was none."""
    causes: list[BaseException | None] = [error, error.__cause__, error.__context__]
    return next((r for cause in causes if (r := getattr(cause, "response", None)) is not None), None)


def _final(repository: Repository, error: Exception, response: Any) -> Exception | None:
    """The error to raise if another attempt cannot help."""
    if isinstance(error, OSError) and disk_problem(error) is not None:
        return error
    status = getattr(response, "status_code", None)
    if status is None or status in TRANSIENT:
        return None
    site = hub if repository.site == "hub" else modelscope
    login = "HF_TOKEN or `hf auth login`" if repository.site == "hub" else "MODELSCOPE_API_TOKEN"
    where = f"{repository.kind} {repository}"
    if status in (401, 403):
        return UserError(
            f"{where}: {site.endpoint()} gives no access to it (HTTP {status}): check the name; if it is private or "
            f"gated, accept its terms on its page and set {login}"
        )
    if status == 404:
        return UserError(f"{where}: {site.endpoint()} has no such repository or revision, and there is no such folder")
    return UserError(f"{where}: {site.endpoint()} refuses (HTTP {status}: {_sentence(error)})")


def _gave_up(repository: Repository, error: Exception, response: Any) -> UserError:
    site = hub if repository.site == "hub" else modelscope
    reason = _sentence(error) if response is None else f"HTTP {response.status_code}"
    variable = "HF_ENDPOINT" if repository.site == "hub" else "MODELSCOPE_ENDPOINT"
    return UserError(
        f"{repository.kind} {repository}: the download from {site.endpoint()} broke off {ATTEMPTS} times, last with "
        f"{reason}; what has arrived is kept: run the same command again to continue, or set {variable} to a mirror"
    )


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
