"""Addresses on object storage, the mirror of a real S3 server, and one sentence for whatever a store answers."""

import os
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import boto3
import pytest
import s3fs
from hypothesis import given
from hypothesis import strategies as st

from tests.object_store import object_store
from winnow.errors import UserError
from winnow.media.locate import locate
from winnow.media.near_files import NearFiles
from winnow.remote import addresses, mirror_files, storage


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with object_store(tmp_path_factory.mktemp("store")) as running:
        running.client.create_bucket(Bucket="bucket")
        yield running


@pytest.fixture(autouse=True)
def looked_again():
    storage.look_again()


def test_an_address_has_one_form():
    assert addresses.address("S3://bucket/a/b/") == "s3://bucket/a/b"
    assert addresses.address(Path("s3://bucket/a")) == "s3://bucket/a"  # a Path swallows a slash
    assert addresses.address("hdfs:///a/b") == "hdfs:///a/b"
    assert addresses.address("abfs://container@account.dfs.core.windows.net/x").endswith("net/x")
    assert not addresses.is_remote("data/s3/x")
    assert not addresses.is_remote("https://host/x")


@pytest.mark.parametrize(
    "location",
    ["s3://", "s3://b/../x", "s3://b/a//b", "s3://b/./x", "s3://b/a\0b", "s3://b/a\\..\\b", "s3://b/a\nb",
     "s3://b/" + "x" * 1025, "s3:///key", "gs://../x"],
)  # fmt: skip
def test_what_could_leave_the_mirror_is_no_address(location):
    with pytest.raises(UserError, match="needs a bucket"):
        addresses.mirror(location)


@given(st.text(max_size=30) | st.just("bucket"), st.text(max_size=60) | st.text("/.~ab\\\0", max_size=20))
def test_no_address_leads_out_of_the_mirror(bucket, key):
    location = f"s3://{bucket}/{key}"
    try:
        place = addresses.mirror(location)
    except UserError:
        return
    assert Path(os.path.normpath(place)).is_relative_to(addresses.cache_folder() / "winnow-objects" / "s3")
    assert addresses.url_of(place) == addresses.address(location)


def test_credentials_are_neither_taken_nor_shown():
    for location in ("s3://KEY:PaSsWoRd@bucket/x", "s3:/KEY:a/PaSsWoRd@bucket/x", "hdfs://me:PaSsWoRd@host:9000/x"):
        with pytest.raises(UserError, match="holds a password") as caught:
            addresses.address(location)
        assert "PaSsWoRd" not in str(caught.value)
    signed = "GET https://h/x?X-Amz-Signature=abc&v=1&sig=def failed, and s3://me:pw@b/k"
    assert addresses.redacted(signed) == "GET https://h/x?X-Amz-Signature=…&v=1&sig=… failed, and s3://…@b/k"


def test_a_path_of_the_mirror_is_shown_by_its_address(store):
    file = addresses.mirror("s3://bucket/a/rows.jsonl")
    assert addresses.shown(f"{file}:3: not JSON") == "s3://bucket/a/rows.jsonl:3: not JSON"
    assert addresses.shown("/home/me/rows.jsonl") == "/home/me/rows.jsonl"


def test_the_mirror_follows_the_store(store):
    names = ["a.txt", "sub/b c%20é.txt", "sub/deep/d.txt", "empty"]
    for name in names:
        store.client.put_object(Bucket="bucket", Key=f"tree/{name}", Body=name.encode() if name != "empty" else b"")
    for odd in ("tree/../escaped", "tree//twice", "tree/", "tree/back\\slash"):
        store.client.put_object(Bucket="bucket", Key=odd, Body=b"")
    mirror_files.fetch_below("s3://bucket/tree")
    folder = addresses.mirror("s3://bucket/tree")
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == sorted(names)
    assert (folder / "sub/b c%20é.txt").read_text() == "sub/b c%20é.txt"

    store.client.put_object(Bucket="bucket", Key="tree/a.txt", Body=b"A.TXT")  # as long, and perhaps in the same second
    store.client.delete_object(Bucket="bucket", Key="tree/empty")
    storage.look_again()
    with store.requests() as seen:
        mirror_files.fetch_below("s3://bucket/tree")
    assert (folder / "a.txt").read_bytes() == b"A.TXT"
    assert not (folder / "empty").exists()
    assert [path for method, path in seen if "list-type" not in path] == ["/bucket/tree/a.txt"]  # only what changed


def test_listing_and_asking_see_the_same_version(store):
    for number in range(60):  # enough for the folder to be listed
        store.client.put_object(Bucket="bucket", Key=f"many/{number}", Body=b"x" * number)
    urls = [f"s3://bucket/many/{number}" for number in range(61)]
    listed = storage.find_all(urls)
    storage.look_again()
    assert listed == [storage.find(url) for url in urls]
    assert listed[60] is None
    assert [found.size for found in listed[:60]] == list(range(60))


def test_an_object_is_written_once(store):
    assert storage.put_if_absent("s3://bucket/lock", b"mine")
    assert not storage.put_if_absent("s3://bucket/lock", b"yours")
    assert store.body("bucket", "lock") == b"mine"
    storage.remove(["s3://bucket/lock", "s3://bucket/never-was"])
    assert storage.put_if_absent("s3://bucket/lock", b"yours")


def test_an_image_is_fetched_where_it_is_located(store):
    store.client.put_object(Bucket="bucket", Key="pictures/a.png", Body=b"12345")
    store.client.put_object(Bucket="bucket", Key="secret/b.png", Body=b"12345")
    root = str(addresses.local("s3://bucket/pictures"))
    found = locate("a.png", root, max_bytes=5)
    assert Path(found.file).read_bytes() == b"12345"
    assert (found.size, found.mtime_ns) == (5, storage.find("s3://bucket/pictures/a.png").time_ns)
    assert locate("gone.png", root, max_bytes=5).error == "missing"
    assert locate("../secret/b.png", root, max_bytes=5).error == "outside_root"
    assert not addresses.mirror("s3://bucket/secret/b.png").exists()


def test_an_object_above_the_cap_is_not_fetched(store):
    store.client.put_object(Bucket="bucket", Key="pictures/large.png", Body=b"1234567")
    root = str(addresses.local("s3://bucket/pictures"))
    with store.requests() as seen:
        assert locate("large.png", root, max_bytes=6).error == "too_large_bytes"
    assert {method for method, _ in seen} == {"HEAD"}
    assert storage.read("s3://bucket/pictures/large.png", 3) == b"123"


def test_a_folder_and_an_object_of_one_name_are_said(store):
    store.client.put_object(Bucket="bucket", Key="both", Body=b"x")
    store.client.put_object(Bucket="bucket", Key="both/inner", Body=b"y")
    mirror_files.fetch(storage.find("s3://bucket/both"))
    with pytest.raises(UserError, match="an object and a folder of one name"):
        mirror_files.fetch(storage.find("s3://bucket/both/inner"))


def test_what_is_not_there_is_said(store):
    for sought in (storage.objects_below, mirror_files.fetch_below):
        with pytest.raises(addresses.StorageError, match="no such object, folder or bucket") as caught:
            sought("s3://no-such-bucket/rows")
        assert caught.value.kind == "remote_404"
    assert storage.find("s3://no-such-bucket/rows.jsonl") is None


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UserError, match=r"pip install 'winnow-vlm\[gs\]'"):
        storage.find("gs://bucket/rows.jsonl")


@pytest.fixture(scope="module")
def guest(store):
    """The keys of a user who may do nothing."""
    iam = boto3.client("iam")
    iam.create_user(UserName="guest")
    return iam.create_access_key(UserName="guest")["AccessKey"]


@pytest.fixture
def guarded(store, guest):
    """The server asks for permission; gives the keys of a user who has none."""
    store.client.put_object(Bucket="bucket", Key="guarded/a.png", Body=b"x")

    def ask(count):
        request = urllib.request.Request(f"{store.endpoint}/moto-api/reset-auth", str(count).encode(), method="POST")
        request.add_header("Content-Type", "text/plain")
        urllib.request.urlopen(request).close()

    ask(0)
    yield guest
    ask("inf")


def test_refused_credentials_are_said_and_no_fact_about_an_image(guarded):
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(addresses.StorageError, match="credentials are missing, wrong or expired") as caught:
        storage.objects_below("s3://bucket/guarded")
    assert caught.value.kind == "credentials"
    root = str(addresses.local("s3://bucket/guarded"))
    storage.look_again()
    assert locate("a.png", root, max_bytes=5).error == "not_measured"


def test_denied_access_is_a_class_of_its_own(guarded, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", guarded["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", guarded["SecretAccessKey"])
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(addresses.StorageError, match="access is denied") as caught:
        storage.read("s3://bucket/guarded/a.png", 5)
    assert caught.value.kind == "remote_denied"


def test_a_store_that_cannot_be_reached_is_said(store, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(addresses.StorageError, match=r"cannot be reached .*check AWS_ENDPOINT_URL") as caught:
        storage.find("s3://bucket/rows.jsonl")
    assert caught.value.kind == "remote_unavailable"
    s3fs.S3FileSystem.clear_instance_cache()


def test_hints_for_a_missing_image_know_the_objects_of_its_folder(store, tmp_path):
    for name in ("a.jpg", "sub/deep/b.png", "sub/c.png"):
        store.client.put_object(Bucket="bucket", Key=f"near/{name}", Body=b"x")
        (tmp_path / "near" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "near" / name).write_bytes(b"x")
    there, here = NearFiles(addresses.local("s3://bucket/near")), NearFiles(tmp_path / "near")
    for sought in ("a.png", "b.png", "sub/C.png", "elsewhere/c.png", "none.png", "/data/near/a.jpg"):
        hint, same = there.nearest(sought), here.nearest(sought)
        assert (hint and hint.kind) == (same and same.kind)
        assert (hint and hint.text) == (same and same.text.replace(str(tmp_path), "s3://bucket"))
    assert there.nearest("none.png") is None
    assert there.nearest("a.png").text == "found with the ending .jpg in ./"


class _Portal(BaseHTTPRequestHandler):
    """Answers everything with the page of a network that one has not signed in to."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(self.server.page)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(self.server.page)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("page", [b"", b"<html><body>Please sign in</body></html>"])
@pytest.mark.parametrize("count", [2, 80])  # asked for one by one; by a list of their folder
def test_what_is_no_object_storage_says_nothing_about_objects(monkeypatch, tmp_path, page, count):
    server = HTTPServer(("127.0.0.1", 0), _Portal)
    server.page = page
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    s3fs.S3FileSystem.clear_instance_cache()
    wanted = [f"s3://bucket/images/{number}.png" for number in range(count)]
    try:
        found = storage.find_all(wanted)
    except addresses.StorageError as error:
        found = [error] * count
    finally:
        server.shutdown()
        s3fs.S3FileSystem.clear_instance_cache()
    assert {error.kind for error in found} == {"remote_unavailable"}
    assert all("AWS_ENDPOINT_URL" in str(error) for error in found)
