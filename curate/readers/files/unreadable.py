"""What a file is that cannot be read as data, and what to do about it."""

from __future__ import annotations

_PICKLE = "is a Python pickle, which can run code and is never read; export it as Parquet or JSON"
# First bytes → what it is and what to do.
_STARTS = {
    b"version https://git-lfs.github.com/spec/": (
        "is a Git LFS pointer, not the file itself; run `git lfs pull` where it was cloned, or download it again"
    ),
    b"\xd0\xcf\x11\xe0": "is an old .xls or a workbook with a password; save it as .xlsx or CSV without a password",
    b"PK\x03\x04": "is a zip file; unpack it and give the file or folder inside",
    b"PK\x05\x06": "is an empty zip file",
    b"BZh": "is packed with bzip2; unpack it (`bunzip2`) or pack it with gzip, which is read",
    b"\xfd7zXZ": "is packed with xz; unpack it (`unxz`) or pack it with gzip, which is read",
    b"\x28\xb5\x2f\xfd": "is packed with Zstandard; unpack it (`unzstd`) or pack it with gzip, which is read",
    b"7z\xbc\xaf": "is a 7z archive; unpack it and give the file or folder inside",
    b"Rar!": "is a rar archive; unpack it and give the file or folder inside",
    b"%PDF": "is a PDF document; give a table of its images and texts",
    b"FEA1": "is Feather version 1; write it again with a current pyarrow or pandas",
    b"SQLite format 3": "is an SQLite database; export its table as CSV",
    b"\x89HDF": "is an HDF5 file; export its table as Parquet or CSV",
    b"\x93NUMPY": "is a NumPy array; export it as Parquet or CSV",
    **{bytes([0x80, protocol]): _PICKLE for protocol in range(2, 6)},
}
_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml")


def what_it_is(start: bytes) -> str:
    """What a file is by its first bytes, and what to do; '' for what may be a text.

    Args:
        start: a few KiB.
    """
    if not start.strip(b"\xef\xbb\xbf \t\r\n"):
        return "is empty"
    for beginning, sentence in _STARTS.items():
        if start.startswith(beginning):
            return sentence
    if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:9].lower().startswith(_PAGES):
        return "is a web page (HTML or XML), perhaps of an error or a login; download the data itself"
    return ""
