import json
import unicodedata
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import pipeline
from curate.readers import open_source
from curate.readers.inspect import inspect_location
from curate.readers.spelling import Root
from curate.settings.sources import SourceSettings
from tests.curate import sets
from winnow.media.images import CLASSES
from winnow.media.locate import locate
from winnow.media.near_files import KINDS, NearFiles, NearSources

ACCENT = "é.jpg"  # one code point, as Linux and Windows write it


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "photos"
    for name in ("a.jpg", "sub/b c.jpg", "sub/deep/d.PNG", "50%20.jpg", unicodedata.normalize("NFD", ACCENT)):
        sets.save(folder / name, sets.scene(1))
    sets.save(tmp_path / "elsewhere/a.jpg", sets.scene(2))
    return folder


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.jpg", "a.jpg"),
        ("./a.jpg", "./a.jpg"),
        ("photos/a.jpg", "a.jpg"),
        ("sub\\b c.jpg", "sub/b c.jpg"),
        ("photos//sub//b c.jpg", "sub/b c.jpg"),
        (".\\sub\\deep\\d.PNG", "./sub/deep/d.PNG"),
        ("photos\\sub\\b c.jpg", "sub/b c.jpg"),
        ("sub/b%20c.jpg", "sub/b c.jpg"),
        ("50%20.jpg", "50%20.jpg"),  # a file that is there is taken as it is spelled
        ("file://{root}/sub/b%20c.jpg", "sub/b c.jpg"),
        ("file:{root}/a.jpg", "a.jpg"),
        ("file://localhost{root}/a.jpg", "a.jpg"),
        ("file:///photos/a.jpg", "file:///photos/a.jpg"),
        ("{root}/a.jpg", "a.jpg"),
        (" a.jpg\r", "a.jpg"),
        ("../photos/sub/b c.jpg", "sub/b c.jpg"),  # relative to the file that names it
        ("sub/../../photos/a.jpg", "a.jpg"),
        ("../elsewhere/a.jpg", "../elsewhere/a.jpg"),
        ("{root}/none.jpg", "none.jpg"),
        (ACCENT, unicodedata.normalize("NFD", ACCENT)),
        ("a.JPG", "a.JPG"),
        ("a.jpeg", "a.jpeg"),
        ("deep/d.PNG", "deep/d.PNG"),
        ("..\\elsewhere\\a.jpg", "..\\elsewhere\\a.jpg"),
        ("file://{root}/../elsewhere/a.jpg", "file://{root}/../elsewhere/a.jpg"),
        ("%2e%2e/elsewhere/a.jpg", "%2e%2e/elsewhere/a.jpg"),
        ("/etc/hostname", "/etc/hostname"),
        ("~/a.jpg", "~/a.jpg"),
        ("https://example.org/a.jpg", "https://example.org/a.jpg"),
        ("a\0.jpg", "a\0.jpg"),
    ],
)
def test_only_spelling_is_mended(root, path, found):
    near = root.parent / "rows"
    assert Root(root, near).spelled(path.format(root=root)) == found.format(root=root)


def test_paths_that_climb_are_read_once_the_root_holds_them(root, tmp_path):
    location = written(tmp_path / "annotations", ["../photos/a.jpg"])
    (problem,) = inspect_location(SourceSettings(location=location)).image_problems
    assert f"set `image_root: {tmp_path}`" in problem.examples[0]
    (sample,) = open_source(SourceSettings(location=location, image_root=str(tmp_path))).rows()
    assert sample.image == ("photos/a.jpg",)


def test_a_root_behind_a_link_is_known_by_both_names(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    there = Root(tmp_path / "link")
    assert [there.spelled(f"{name}/a.jpg") for name in (root, tmp_path / "link", "link")] == ["a.jpg"] * 3


@given(st.text(max_size=40) | st.text("./\\%~:2eaf\0", max_size=20))
def test_no_text_leaves_the_root(path):
    spelled = Root(Path(__file__).parent / "layouts").spelled(path)
    found = locate(spelled, str(Path(__file__).parent.resolve() / "layouts"), max_bytes=1 << 40)
    assert found.file is None or Path(found.file).resolve().parent.is_relative_to(Path(__file__).parent / "layouts")
    assert spelled == path or found.file is not None or path.startswith("/")


@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        ("a.jpeg", "other_ending", "found with the ending .jpg in ./"),
        ("sub/deep/d.png", "other_case", "found in another letter case in sub/deep/"),
        ("SUB/b c.jpg", "other_case", "found in another letter case in sub/"),
        ("b c.jpg", "other_folder", "found as b c.jpg in sub/; set `image_root: photos/sub`"),
        ("deep/d.PNG", "other_folder", "found as d.PNG in sub/deep/; set `image_root: photos/sub`"),
        ("old/b c.jpg", "other_folder", "found as b c.jpg in sub/"),
        ("old/a.jpg", "other_root", "found as a.jpg below the image root; 'old/' is not there"),
        ("C:\\data\\sub\\b c.jpg", "other_root", "found as sub/b c.jpg below the image root; 'C:/data/' is not there"),
        ("~/sub/b c.jpg", "other_root", "found as sub/b c.jpg below the image root; '~/' is not there"),
        ("file:///x/a.jpg", "other_root", "found as a.jpg below the image root; 'file:///x/' is not there"),
        ("../elsewhere/a.jpg", "outside", "it is there, but outside the image root; set `image_root: .`"),
        (
            "{root}/../elsewhere/a.jpg",
            "outside",
            "it is there, but outside the image root; set `image_root: elsewhere`",
        ),
        ("/srv/a.jpg", "other_root", "found as a.jpg below the image root; '/srv/' is not there"),
    ],
)
def test_a_missing_image_has_the_nearest_hint(root, path, kind, text, monkeypatch):
    monkeypatch.chdir(root.parent)
    hint = NearFiles(Path("photos")).nearest(path.replace("{root}", str(root)))
    assert (hint.kind, hint.text) == (kind, text)
    assert kind in KINDS


def test_a_hint_is_sought_in_the_source_of_the_path_only(root):
    (root.parent / "deep").mkdir()
    sets.save(root.parent / "deep/own.png", sets.scene(3))
    near = NearSources(root.parent, [root, root.parent / "deep"])
    assert near.hint("photos/own.png", "missing", None) is None
    assert near.hint("deep/own.jpg", "missing", None).text == "found with the ending .png in ./"
    assert near.hint("elsewhere/a.png", "missing", None) is None, "of no source"
    assert near.hint("/srv/own.png", "outside_root", None).kind == "other_root"


def test_a_run_seeks_hints_in_the_image_root_not_in_the_common_one(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    location = written(tmp_path, ["a.jpg", "C:\\old\\d.PNG", "x/own.jpg"])
    sets.save(tmp_path / "another/own.jpg", sets.scene(3))
    source = SourceSettings(location=location, image_root="photos")
    recipe = sets.recipe(tmp_path, sources=[source.model_dump(mode="json", exclude_defaults=True)])
    workspace = pipeline.run(recipe, "r.yaml").workspace
    details = {row["path"]: row["error_detail"] for row in pq.read_table(workspace.paths).to_pylist()}
    assert sorted(filter(None, details.values())) == [
        "No such file or directory",
        "found as sub/deep/d.PNG below the image root; 'C:/old' is not there",
    ]


def test_a_link_that_git_wrote_as_text_is_named(root):
    (root / "linked").write_text("../elsewhere/images")
    (root / "notes").write_text("no path")
    hint = NearFiles(root).nearest("linked/deep/z.jpg")
    assert hint is not None and hint.kind == "lost_link"
    assert (
        hint.text == "linked is a text file with the path of a link, '../elsewhere/images'; put the link in its place"
    )
    assert NearFiles(root).nearest("notes/z.jpg") is None


def test_nothing_near_has_no_hint(root):
    near = NearFiles(root)
    assert [near.nearest(path) for path in ("z.jpg", "", "/", "..", "a\0.jpg")] == [None] * 5


def test_inspect_counts_missing_images_by_what_is_near_them(root, tmp_path):
    location = written(tmp_path, ["a.jpeg", "b c.jpg", "x/b c.jpg", "z.jpg", "a.jpg", "/old/a.jpg"])
    problems = inspect_location(SourceSettings(location=location, image_root=str(root))).image_problems
    assert {(problem.name, problem.count, problem.meaning) for problem in problems} == {
        ("missing", 2, f"lies {KINDS['other_folder']}"),
        ("missing", 1, f"lies {KINDS['other_ending']}"),
        ("missing", 1, CLASSES["missing"]),
        ("outside_root", 1, f"lies {KINDS['other_root']}"),
    }


def written(folder, images):
    rows = [{"image": image, "question": f"q{number}", "answer": "a"} for number, image in enumerate(images)]
    return str(sets.write_lines(folder / "rows.jsonl", rows) or folder / "rows.jsonl")


def curated(tmp_path, **source):
    pipeline.run(sets.recipe(tmp_path, sources=[source], rules={}), "r.yaml")
    errors = {row["path"]: row for row in pq.read_table(tmp_path / "out/signals/paths.parquet").to_pylist()}
    rows = pq.read_table(tmp_path / "out/samples.parquet").to_pylist()
    return rows, errors


def test_spelling_is_mended_and_the_rest_has_a_class_and_a_hint(root, tmp_path):
    location = written(
        tmp_path,
        ["sub\\b c.jpg", "a.jpeg", "s3://bucket/a.jpg", "swift://box/a.jpg", "~/a.jpg", "a\0.jpg", "/etc/hostname"],
    )
    rows, paths = curated(tmp_path, location=location, image_root=str(root))
    assert rows[0]["images"] == ["sub/b c.jpg"]
    assert paths["sub/b c.jpg"]["error"] is None
    assert (paths["a.jpeg"]["error"], paths["a.jpeg"]["error_detail"]) == (
        "missing",
        "found with the ending .jpg in ./",
    )
    assert paths["s3://bucket/a.jpg"]["error"] == "remote_bucket"
    assert paths["swift://box/a.jpg"]["error"] == "remote_scheme"
    assert "~/" in paths["~/a.jpg"]["error_detail"]
    assert [paths[path]["error"] for path in ("a\0.jpg", "/etc/hostname")] == ["outside_root"] * 2


@pytest.fixture
def linked(root, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "sub").symlink_to(root / "sub")
    return written(tmp_path / "set", ["sub/b c.jpg"])


def test_a_link_out_of_the_root_names_the_setting_that_follows_it(linked, tmp_path):
    (problem,) = inspect_location(SourceSettings(location=linked)).image_problems
    assert problem.name == "outside_root"
    assert "follow_links: true" in problem.examples[0]
    assert not inspect_location(SourceSettings(location=linked, follow_links=True)).image_problems
    assert curated(tmp_path, location=linked)[1]["sub/b c.jpg"]["error"] == "outside_root"


def test_followed_links_need_no_care_later(linked, tmp_path):
    rows, paths = curated(tmp_path, location=linked, follow_links=True)
    assert rows[0]["images"] == ["set/sub/b c.jpg"]
    assert paths["set/sub/b c.jpg"]["error"] is None
    image_root = json.loads((tmp_path / "out/manifest.json").read_text())["image_root"]
    assert Path(image_root).resolve() == tmp_path
    assert locate("set/sub/b c.jpg", str(tmp_path), max_bytes=10**6).file is not None


def test_links_of_one_source_do_not_open_the_folders_of_another(linked, root, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.jpg").symlink_to(root / "a.jpg")
    careful = written(tmp_path / "other", ["x.jpg"])
    sources = [{"location": linked, "follow_links": True}, {"location": careful, "source": "other"}]
    pipeline.run(sets.recipe(tmp_path, sources=sources, rules={}), "r.yaml")
    paths = {row["path"]: row["error"] for row in pq.read_table(tmp_path / "out/signals/paths.parquet").to_pylist()}
    assert paths == {"set/sub/b c.jpg": None, "outside_root:x.jpg": "outside_root"}


def test_links_of_a_hugging_face_cache_are_followed_into_its_blobs_alone(tmp_path):
    cache = tmp_path / "datasets--me--set"
    snapshot = cache / "snapshots" / "0123"
    sets.save(cache / "blobs" / "abcdef.png", sets.scene(1))
    (cache / "blobs" / "abcdef.png").rename(cache / "blobs" / "abcdef")
    sets.save(tmp_path / "secret.png", sets.scene(2))
    snapshot.mkdir(parents=True)
    (snapshot / "a.png").symlink_to("../../blobs/abcdef")
    (snapshot / "b.png").symlink_to("../../../secret.png")
    location = written(snapshot, ["a.png", "b.png"])
    rows, paths = curated(tmp_path, location=location)
    assert rows[0]["images"] == ["snapshots/0123/a.png"]
    assert {path: row["error"] for path, row in paths.items()} == {
        "snapshots/0123/a.png": None,
        "outside_root:b.png": "outside_root",
    }
    assert [problem.count for problem in inspect_location(SourceSettings(location=location)).image_problems] == [1]


def test_a_link_at_the_root_itself_is_followed(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    location = written(tmp_path, ["a.jpg"])
    opened = open_source(SourceSettings(location=location, image_root=str(tmp_path / "link")))
    assert opened.image_root == tmp_path / "link"
    assert curated(tmp_path, location=location, image_root=str(tmp_path / "link"))[1]["a.jpg"]["error"] is None
