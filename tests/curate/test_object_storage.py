"""Sources and images on a real S3 server: the same bytes as from local files, and nothing fetched that is not named."""

import json
import shutil
from collections import Counter

import pytest
import s3fs

from curate import pipeline
from curate.readers import ranges
from curate.recipe import CurateRecipe
from curate.workspace import Workspace
from tests.curate import sets
from tests.curate.test_pipeline import digests, make
from tests.object_store import object_store
from winnow.errors import UserError
from winnow.remote import addresses, mirror_files
from winnow.rows.lines import read_jsonl
from winnow.run import read_manifest


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with object_store(tmp_path_factory.mktemp("store")) as running:
        running.client.create_bucket(Bucket="bucket")
        running.client.create_bucket(Bucket="other")
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory, store):
    folder = tmp_path_factory.mktemp("set")
    make(folder / "data")
    store.upload(folder / "data", "bucket", "data")
    return folder


def recipe(base, out, **changes) -> CurateRecipe:
    """The recipe of ``tests.curate.test_pipeline`` on the data below ``base``."""
    values = {
        "name": "set", "out": str(out), "signals": {"workers": 1}, "rules": sets.RULES, "duplicates": {},
        "sources": [{"location": f"{base}/rows.jsonl", "image_root": f"{base}/images"}],
        "contamination": {"against": [
            {"location": f"{base}/test.jsonl", "image_root": f"{base}/images", "source": "held", "split": "out"}
        ]},
        **changes,
    }  # fmt: skip
    return CurateRecipe.model_validate(values)


def errors(out):
    """sample_id → class and detail of its image."""
    lines = map(json.loads, (out / "ledger.jsonl").read_text().splitlines())
    return {
        line["sample_id"]: next(rule["values"] for rule in line["rules"] if rule["rule"] == "unreadable")
        for line in lines
        if any(rule["rule"] == "unreadable" for rule in line["rules"])
    }


def one_row(image, **more):
    """Lines of JSONL: a row about an image."""
    return json.dumps(sets.row(1, image, **more)) + "\n"


@pytest.fixture(scope="module")
def runs(folder, store):
    """One curation of local files, one of the same files in a bucket whose name is as long as their folder's."""
    pipeline.run(recipe(folder / "data", folder / "local"), "recipe.yaml")
    pipeline.run(recipe("s3://bucket/data", folder / "remote"), "recipe.yaml")
    return folder


def test_what_is_made_from_a_bucket_is_what_is_made_from_files(runs):
    local, remote = digests(runs / "local"), digests(runs / "remote")
    assert local.keys() == remote.keys()
    with_a_place = {"README.md", "ledger.jsonl", "samples.parquet", "decisions.parquet"}  # of the row that is no JSON
    assert {name for name in local if local[name] != remote[name]} <= with_a_place
    text = (runs / "local/ledger.jsonl").read_text().replace(str(runs / "data"), "s3://bucket/data")
    assert text == (runs / "remote/ledger.jsonl").read_text()
    manifest = read_manifest(runs / "remote", finish_with="")
    assert manifest["image_root"] == "s3://bucket/data/images"
    assert set(manifest["inputs"]) == {"s3://bucket/data/rows.jsonl", "s3://bucket/data/test.jsonl"}


def test_a_second_run_fetches_nothing(runs, store):
    with store.requests() as seen:
        outcome = pipeline.run(recipe("s3://bucket/data", runs / "remote"), "recipe.yaml")
    assert outcome.seconds == {}
    assert [path for method, path in seen if method == "GET" and "list-type" not in path] == []


def test_another_machine_finds_it_up_to_date_without_images(runs, store, monkeypatch, tmp_path):
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path))
    with store.requests() as seen:
        outcome = pipeline.run(recipe("s3://bucket/data", runs / "remote"), "recipe.yaml")
    assert outcome.seconds == {}
    fetched = [path for method, path in seen if method == "GET" and "list-type" not in path]
    assert sorted(fetched) == ["/bucket/data/rows.jsonl", "/bucket/data/test.jsonl"]


def test_a_changed_image_is_measured_again_and_a_removed_one_is_missing(folder, store, tmp_path):
    store.upload(folder / "data", "bucket", "changing")
    wanted = recipe("s3://bucket/changing", tmp_path / "out")
    pipeline.run(wanted, "recipe.yaml")
    sets.save(tmp_path / "c.png", sets.scene(123))
    store.client.upload_file(str(tmp_path / "c.png"), "bucket", "changing/images/c.png")
    store.client.delete_object(Bucket="bucket", Key="changing/images/b.png")
    with store.requests() as seen:
        assert pipeline.run(wanted, "recipe.yaml").seconds
    images = [path for method, path in seen if method == "GET" and path.startswith("/bucket/changing/images/")]
    assert images == ["/bucket/changing/images/c.png"]
    assert {"set/train/3", "set/train/4"} <= errors(tmp_path / "out").keys()
    shutil.copytree(folder / "data", tmp_path / "data")
    shutil.copy(tmp_path / "c.png", tmp_path / "data/images/c.png")
    (tmp_path / "data/images/b.png").unlink()
    pipeline.run(recipe(tmp_path / "data", tmp_path / "from_scratch"), "recipe.yaml")
    assert (tmp_path / "out/samples.jsonl").read_bytes() == (tmp_path / "from_scratch/samples.jsonl").read_bytes()


def test_rows_that_change_at_equal_length_are_read_again(store, tmp_path):
    def put(answer):
        body = one_row(None, answer=answer)
        store.client.put_object(Bucket="bucket", Key="edited/rows.jsonl", Body=body.encode())

    wanted = recipe("s3://bucket/edited", tmp_path / "out", contamination=None)
    wanted = wanted.model_copy(update={"sources": [wanted.sources[0].model_copy(update={"image_root": None})]})
    for answer in ("cat", "dog"):
        put(answer)
        pipeline.run(wanted, "recipe.yaml")
        assert [sample.answer for sample in read_jsonl(tmp_path / "out/samples.jsonl")] == [answer]


@pytest.mark.parametrize("pattern", ["train-*.jsonl", "train-{0..1}.jsonl", "**/train-?.jsonl", "train-[01].jsonl"])
def test_a_pattern_of_files(store, tmp_path, pattern):
    for number in range(2):
        body = json.dumps(sets.row(number, None)) + "\n"
        store.client.put_object(Bucket="bucket", Key=f"parts/train-{number}.jsonl", Body=body.encode())
    store.client.put_object(Bucket="bucket", Key="parts/other.jsonl", Body=b"not wanted")
    source = {"location": f"s3://bucket/parts/{pattern}"}
    with store.requests() as seen:
        pipeline.run(recipe("", tmp_path / "out", sources=[source], contamination=None), "recipe.yaml")
    assert [sample.id for sample in read_jsonl(tmp_path / "out/samples.jsonl")] == ["set/train/0", "set/train/1"]
    assert not any("other.jsonl" in path for _, path in seen)


def test_a_file_of_a_pattern_that_is_gone_is_no_longer_read(store, tmp_path):
    for number in range(2):
        body = json.dumps(sets.row(number, None)) + "\n"
        store.client.put_object(Bucket="bucket", Key=f"shrinking/{number}.jsonl", Body=body.encode())
    for location in ("s3://bucket/shrinking/*.jsonl", "s3://bucket/shrinking"):
        wanted = recipe("", tmp_path / "out", sources=[{"location": location}], contamination=None)
        pipeline.run(wanted, "recipe.yaml")
        store.client.delete_object(Bucket="bucket", Key="shrinking/0.jsonl")
        pipeline.run(wanted, "recipe.yaml")
        assert [sample.id for sample in read_jsonl(tmp_path / "out/samples.jsonl")] == ["set/train/1"]


def test_annotations_beside_the_questions_are_found(store, tmp_path):
    questions = {"questions": [{"question_id": 1, "image_id": 7, "question": "What is it?"}]}
    answers = [{"answer": "a cat", "answer_id": number} for number in range(10)]
    annotations = {"annotations": [{"question_id": 1, "image_id": 7, "answers": answers}]}
    for name, body in (("OpenEnded_mscoco_val2014_questions", questions), ("mscoco_val2014_annotations", annotations)):
        store.client.put_object(Bucket="bucket", Key=f"vqa/v2_{name}.json", Body=json.dumps(body).encode())
    sets.save(tmp_path / "7.jpg", sets.scene(7))
    store.client.upload_file(str(tmp_path / "7.jpg"), "bucket", "vqa/val2014/COCO_val2014_000000000007.jpg")
    source = {"location": "s3://bucket/vqa/v2_OpenEnded_mscoco_val2014_questions.json"}
    pipeline.run(recipe("", tmp_path / "out", sources=[source], contamination=None), "recipe.yaml")
    (sample,) = read_jsonl(tmp_path / "out/samples.jsonl")
    assert sample.answers == ("a cat",) * 10
    assert sample.image == ("val2014/COCO_val2014_000000000007.jpg",)


@pytest.fixture(scope="module")
def picture(store, tmp_path_factory):
    file = sets.save(tmp_path_factory.mktemp("picture") / "1.png", sets.scene(1))
    for bucket in ("bucket", "other"):
        store.client.upload_file(str(file), bucket, "i/1.png")
        store.client.put_object(Bucket=bucket, Key="i/notes.txt", Body=b"no picture")
    return file


def run_rows(tmp_path, rows, location=None, **changes):
    source = {"location": location or str(sets.write_lines(tmp_path / "rows.jsonl", rows))}
    plain = {"sources": [source], "contamination": None, "duplicates": None}
    pipeline.run(recipe("", tmp_path / "out", **plain, **changes), "recipe.yaml")
    return tmp_path / "out"


@pytest.mark.parametrize("remote", [None, {}, {"buckets": ["s3://bucket/elsewhere", "s3://buck"]}])
def test_a_bucket_that_only_a_row_names_is_not_asked(store, picture, tmp_path, remote):
    with store.requests() as seen:
        out = run_rows(tmp_path, [sets.row(1, "s3://bucket/i/1.png")], remote=remote)
    assert seen == []
    found = errors(out)["set/train/1"]
    assert found["error"] == "remote_bucket"


def test_a_bucket_that_the_recipe_names_is_fetched(store, picture, tmp_path):
    rows = [
        sets.row(1, "s3://bucket/i/1.png"), sets.row(2, "S3://bucket/i/1.png"), sets.row(3, "s3://other/i/1.png"),
        sets.row(4, "s3://bucket/i/gone.png"), sets.row(5, "s3://bucket/i/notes.txt"),
        sets.row(6, "s3://bucket/i/../secret/1.png"), sets.row(7, "s3://bucket/j/1.png"),
    ]  # fmt: skip
    out = run_rows(tmp_path, rows, remote={"buckets": ["s3://bucket/i"]})
    assert {one.rpartition("/")[2]: found["error"] for one, found in errors(out).items()} == {
        "3": "remote_bucket", "4": "remote_404", "5": "remote_not_an_image", "6": "remote_bucket", "7": "remote_bucket",
    }  # fmt: skip
    kept = list(read_jsonl(out / "samples.jsonl"))
    assert [sample.meta["image_url"] for sample in kept] == ["s3://bucket/i/1.png", "S3://bucket/i/1.png"]
    assert (out.parent / read_manifest(out, finish_with="")["image_root"] / kept[0].image[0]).read_bytes() == (
        picture.read_bytes()
    )


def test_addresses_below_the_source_or_its_image_root_are_read_in_place(store, picture, tmp_path):
    body = "".join(json.dumps(sets.row(n, image)) + "\n" for n, image in enumerate(
        ["s3://bucket/i/1.png", "i/1.png", "s3://other/i/1.png"]))  # fmt: skip
    store.client.put_object(Bucket="bucket", Key="rows.jsonl", Body=body.encode())
    out = run_rows(tmp_path, [], location="s3://bucket/rows.jsonl")
    assert [sample.image for sample in read_jsonl(out / "samples.jsonl")] == [("i/1.png",)] * 2
    assert errors(out)["set/train/2"]["error"] == "remote_bucket"
    assert not (out / "images").exists()  # no copy was made


def test_a_name_that_no_file_can_have_costs_its_row(store, picture, tmp_path):
    longest, longer, gone = (f"i/{letter * length}.png" for letter, length in (("l", 251), ("m", 252), ("g", 300)))
    for key in (longest, longer):
        store.client.upload_file(str(picture), "bucket", key)
    body = "".join(json.dumps(sets.row(n, image)) + "\n" for n, image in enumerate([longest, longer, gone, "i/1.png"]))
    store.client.put_object(Bucket="bucket", Key="long.jsonl", Body=body.encode())
    out = run_rows(tmp_path, [], location="s3://bucket/long.jsonl")
    assert [sample.image[0] for sample in read_jsonl(out / "samples.jsonl")] == [longest, "i/1.png"]
    found = errors(out)
    assert {found[f"set/train/{n}"]["error"] for n in (1, 2)} == {"missing"}


def test_a_cap_holds_for_objects(store, picture, tmp_path):
    caps = {"buckets": ["s3://bucket"], "max_bytes": 100}
    out = run_rows(tmp_path, [sets.row(1, "s3://bucket/i/1.png")], remote=caps)
    assert errors(out)["set/train/1"]["error"] == "remote_too_large"


def test_an_image_root_that_is_not_there_is_said(store, tmp_path):
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(1, "1.png")])
    source = {"location": str(tmp_path / "rows.jsonl"), "image_root": "s3://bucket/nowhere"}
    with pytest.raises(UserError, match="image_root s3://bucket/nowhere: no such folder"):
        pipeline.run(recipe("", tmp_path / "out", sources=[source], contamination=None), "recipe.yaml")


def test_a_store_that_fails_for_a_while_is_no_fact_about_the_data(runs, store, monkeypatch, tmp_path):
    wanted = recipe("s3://bucket/data", tmp_path / "out")
    real = mirror_files.fetch

    def broken(found, file=None):
        if found.url.endswith(("a.png", "b.png")):
            raise addresses.StorageError("remote_unavailable", f"{found.url}: cannot be reached; run it again")
        return real(found, file)

    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mirror_files, "fetch", broken)
    assert "cannot be reached" in (pipeline.run(wanted, "recipe.yaml").not_measured or "")
    assert errors(tmp_path / "out")["set/train/1"]["error"] == "not_measured"
    monkeypatch.setattr(mirror_files, "fetch", real)
    assert pipeline.run(wanted, "recipe.yaml").seconds
    assert (tmp_path / "out/ledger.jsonl").read_bytes() == (runs / "remote/ledger.jsonl").read_bytes()


def test_an_object_that_was_denied_is_asked_for_again(store, picture, monkeypatch, tmp_path):
    """Its rights are no part of it: size, time and version stay the same."""
    store.client.put_object(Bucket="bucket", Key="rights/a.png", Body=picture.read_bytes())
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(1, "a.png")])
    source = {"location": str(tmp_path / "rows.jsonl"), "image_root": "s3://bucket/rights"}
    wanted = recipe("", tmp_path / "out", sources=[source], contamination=None)
    client = s3fs.S3FileSystem
    real, asked = {name: getattr(client, name) for name in ("_get_file", "_cat_file")}, []

    async def denied(self, path, *_, **__):
        asked.append(path)
        raise PermissionError("Access Denied")

    for name in real:
        monkeypatch.setattr(client, name, denied)
    client.clear_instance_cache()
    pipeline.run(wanted, "recipe.yaml")
    assert [each["error"] for each in errors(tmp_path / "out").values()] == ["remote_denied"]
    asked.clear()
    assert not pipeline.run(wanted, "recipe.yaml").seconds
    assert asked == ["bucket/rights/a.png"]
    for name, function in real.items():
        monkeypatch.setattr(client, name, function)
    client.clear_instance_cache()
    assert pipeline.run(wanted, "recipe.yaml").seconds
    assert errors(tmp_path / "out") == {}


def test_a_store_that_is_down_ends_the_run(runs, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(UserError, match=r"s3://bucket/data/rows.jsonl: cannot be reached"):
        pipeline.run(recipe("s3://bucket/data", runs / "remote"), "recipe.yaml")
    s3fs.S3FileSystem.clear_instance_cache()
    assert read_manifest(runs / "remote", finish_with="")  # what was there is still there


def test_a_file_in_a_bucket_is_read_in_ranges_and_only_new_ones_again(store, tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "LEAST_ROWS", 2)
    monkeypatch.setattr(ranges, "MOST_ROWS", 4)
    lines = [json.dumps(sets.row(number, f"i/{number}.png")) for number in range(20)]
    lines[7] = "{broken"
    locations = {"local": str(tmp_path / "rows.jsonl"), "remote": "s3://bucket/ranges/rows.jsonl"}
    notes: dict[str, set[str]] = {"local": set(), "remote": set()}
    new = Counter[str]()
    for _ in range(2):
        (tmp_path / "rows.jsonl").write_text("\n".join([*lines, ""]))
        store.client.upload_file(str(tmp_path / "rows.jsonl"), "bucket", "ranges/rows.jsonl")
        for name, location in locations.items():
            plain = {"sources": [{"location": location}], "contamination": None, "duplicates": None}
            pipeline.run(recipe("", tmp_path / name, **plain), "recipe.yaml")
            found = {note.name for note in Workspace(tmp_path / name).read.glob("*.json")}
            new[name], notes[name] = len(found - notes[name]), found
        local = (tmp_path / "local/ledger.jsonl").read_text()
        assert local.replace(f"{tmp_path}/", "s3://bucket/ranges/") == (tmp_path / "remote/ledger.jsonl").read_text()
        lines.append(json.dumps(sets.row(20, "i/20.png")))
    assert len(notes["remote"]) == len(notes["local"]) >= 5
    assert new["remote"] == new["local"] <= 2


def test_a_file_in_which_a_later_row_names_an_image_to_fetch(store, picture, tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "LEAST_ROWS", 2)
    monkeypatch.setattr(ranges, "MOST_ROWS", 2)
    rows = [sets.row(number, None) for number in range(60)] + [sets.row(60, "s3://bucket/i/1.png")]
    out = run_rows(tmp_path, rows)
    assert errors(out)["set/train/60"]["error"] == "remote_bucket"
    run_rows(tmp_path, rows, remote={"buckets": ["s3://bucket/i"]})
    assert errors(out) == {}
    assert [sample.image for sample in read_jsonl(out / "samples.jsonl")][60][0].startswith("images/")
