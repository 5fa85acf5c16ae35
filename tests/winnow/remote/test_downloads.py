"""Downloads of models and data sets, against a server that breaks off, stalls, is busy and damages files."""

import pytest

from tests.winnow.hub_server import COMMIT, mirror
from winnow.errors import UserError
from winnow.remote import downloads, hub
from winnow.remote.downloads import fetch, local_data, local_model, parse, pinned

WEIGHTS = bytes(range(256)) * 16_000  # 4 MB; the library keeps whole chunks, here of 1 MB
MODEL = {
    "config.json": b'{"model_type": "toy"}', "tokenizer.json": b"{}", "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"pickle", "modeling_toy.py": b"raise SystemExit", "onnx/model.onnx": b"x",
    "consolidated.safetensors": b"again",
}  # fmt: skip
ROWS = b'{"id": "1", "image": "images/1.png", "conversations": []}\n'


@pytest.fixture
def server(tmp_path, monkeypatch):
    with mirror(tmp_path, monkeypatch) as made:
        made.repos["model", "toy/vlm"] = dict(MODEL)
        yield made


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("written", "site", "name", "revision"),
    [
        ("a/b", "hub", "a/b", None), ("hub:a/b@v1", "hub", "a/b", "v1"), ("gpt2", "hub", "gpt2", None),
        ("modelscope:a/b.c@refs/pr/1", "modelscope", "a/b.c", "refs/pr/1"),
    ],
)  # fmt: skip
def test_names_of_models(written, site, name, revision):
    found = parse(written, "model")
    assert (found.site, found.name, found.revision) == (site, name, revision)


@pytest.mark.parametrize("written", ["./a", "/a/b", "a/b/c", "~/a", "hub:", "a/b:file", "http://a/b", "a/../b"])
def test_what_is_no_name_of_a_model(written):
    with pytest.raises(UserError, match="no such folder, and no name of a hub"):
        parse(written, "model")


def test_configuration_first_weights_later_and_nothing_that_runs(server):
    small = local_model("toy/vlm", weights=False)
    assert names(small) == {"config.json", "tokenizer.json"}
    assert local_model("toy/vlm") == small and small.name == COMMIT
    assert names(small) == {"config.json", "tokenizer.json", "model.safetensors"}
    assert (small / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("fault", ["break", "stall", 503, 429, 500])
def test_a_failure_costs_no_byte_that_has_arrived(server, fault):
    server.faults["model.safetensors"] = [fault, fault]
    folder = local_model("toy/vlm")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    asked = server.ranges_of("model.safetensors")
    assert len(asked) == 3 and (fault not in ("break", "stall") or all(asked[1:])), asked


def test_a_busy_api_is_asked_again(server):
    server.faults["*"] = [503, 429, 503]
    assert local_model("toy/vlm", weights=False).name == COMMIT


def test_it_gives_up_with_a_sentence_and_resumes(server):
    server.faults["model.safetensors"] = [500] * 1000
    with pytest.raises(UserError, match=r"model toy/vlm: .*127.0.0.1.* broke off 4 times, last with HTTP 500; .*again"):
        local_model("toy/vlm")
    server.faults.clear()
    assert (local_model("toy/vlm") / "model.safetensors").read_bytes() == WEIGHTS


def test_a_damaged_file_is_downloaded_again(server):
    server.faults["model.safetensors"] = ["damage"]
    assert (local_model("toy/vlm") / "model.safetensors").read_bytes() == WEIGHTS


def test_a_file_that_is_always_damaged_is_refused_and_not_kept(server):
    server.faults["tokenizer.json"] = ["damage"] * 5
    with pytest.raises(UserError, match=r"tokenizer.json arrived damaged twice from http"):
        local_model("toy/vlm")
    assert not list(hub.place_of("toy/vlm", "model").rglob("tokenizer.json"))


def test_digests_are_computed_once(server, monkeypatch):
    local_model("toy/vlm")
    fetch.cache_clear()
    monkeypatch.setattr(downloads, "sha256_file", lambda path: pytest.fail(f"{path} was read again"))
    local_model("toy/vlm")


def test_pickles_are_refused(server):
    server.repos["model", "toy/vlm"] = {name: MODEL[name] for name in ("config.json", "pytorch_model.bin")}
    with pytest.raises(UserError, match=r"model toy/vlm: its weights are pickles only \(pytorch_model.bin\)"):
        local_model("toy/vlm")


def test_a_path_that_leads_out_is_refused(server):
    server.repos["dataset", "toy/rows"] = {"../../outside.jsonl": ROWS}
    with pytest.raises(UserError, match=r"dataset hub:toy/rows: lists '../../outside.jsonl'"):
        local_data("hub:toy/rows")


def test_a_full_disk_is_found_before(server, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1 << 20}))
    with pytest.raises(UserError, match=r"0.0 GiB are to be downloaded, 0.0 GiB are free at .*HF_HOME"):
        local_model("toy/vlm")
    assert not server.ranges_of("model.safetensors")


def test_offline_takes_what_is_here(server, monkeypatch):
    folder = local_model("toy/vlm")
    hub.go_offline()
    fetch.cache_clear()
    hub.why_offline.cache_clear()
    asked = len(server.requests)
    assert local_model("toy/vlm") == folder and pinned("toy/vlm", "model") == f"toy/vlm@{COMMIT}"
    with pytest.raises(UserError, match=r"model other/vlm: is not in the cache .*HF_HUB_OFFLINE is set"):
        local_model("other/vlm")
    (folder / "model.safetensors").unlink()
    fetch.cache_clear()
    with pytest.raises(UserError, match="toy/vlm"):
        local_model("toy/vlm")
    assert len(server.requests) == asked


def test_a_pin_holds_when_the_branch_moves(server):
    assert pinned("toy/vlm", "model") == f"toy/vlm@{COMMIT}"
    server.commit = "f" * 40
    fetch.cache_clear()
    assert local_model(f"toy/vlm@{COMMIT}", weights=False).name == COMMIT
    assert local_model("toy/vlm", weights=False).name == "f" * 40


def test_what_is_not_there_or_not_allowed(server):
    with pytest.raises(UserError, match=r"model no/such: http.* has no such repository or revision"):
        local_model("no/such")
    server.faults["*"] = [403] * 9
    with pytest.raises(UserError, match=r"model toy/vlm: http.* gives no access to it \(HTTP 403\).*HF_TOKEN"):
        local_model("toy/vlm")


def test_data_sets(server):
    files = {"rows.jsonl": ROWS, "images/1.png": b"png", "README.md": b"card", "read.py": b"raise SystemExit"}
    server.repos["dataset", "toy/rows"] = files
    rows, root = local_data("hub:toy/rows")
    assert rows.read_bytes() == ROWS and rows == root / "rows.jsonl" and not (root / "read.py").exists()
    assert not (root / "images/1.png").is_symlink()  # links out of an image root are refused
    files["more.jsonl"] = ROWS
    server.commit = "e" * 40
    fetch.cache_clear()
    with pytest.raises(UserError, match=r"name one of its files, as in hub:toy/rows:more.jsonl"):
        local_data("hub:toy/rows")
    assert local_data("hub:toy/rows:more.jsonl")[0].name == "more.jsonl"
    for name in ("none.jsonl", __file__, "../rows.jsonl"):  # missing, or a file outside the repository
        with pytest.raises(UserError, match=f"holds no file {name}"):
            local_data(f"hub:toy/rows:{name}")


@pytest.mark.parametrize("fault", [None, "break", "damage", 503])
def test_modelscope(server, fault):
    server.faults["model.safetensors"] = [fault] if fault else []
    folder = local_model("modelscope:toy/vlm")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert names(folder) == {"config.json", "tokenizer.json", "model.safetensors"}


def test_modelscope_out_of_reach(server, monkeypatch):
    folder = local_model("modelscope:toy/vlm")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    fetch.cache_clear()
    assert local_model("modelscope:toy/vlm") == folder
    with pytest.raises(UserError, match=r"model modelscope:other/vlm: is not in .*127.0.0.1:9 cannot be reached"):
        local_model("modelscope:other/vlm")


def test_modelscope_without_it(server):
    with pytest.raises(UserError, match=r"model modelscope:no/such: .* has no such repository"):
        local_model("modelscope:no/such")
