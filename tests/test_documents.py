"""Files become documents whose text is `bytes.decode(encoding)`; everything else is named and refused."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qabot.documents import Folder, decode, file_digest, read_document
from qabot.documents.sources import load_sources
from qabot.errors import DocumentError
from support import HOSTILE, SEEDS, TEXTS, build, forbid, write_files

RUSSIAN = "Права человека в России: обзор за год. Власти усилили давление на журналистов и адвокатов. " * 8
FRENCH = "Où sont les défenseurs des droits ? L’été dernier, à Genève, ils étaient très nombreux – déjà. " * 8
ENGLISH = (
    "The committee met in Geneva – the first time since 2019. “We won’t leave,” said the café’s owner. A naïve hope. "
    * 8
)
GERMAN = (
    "Der Ausschuß tagte in Köln. Über die Straße kamen täglich Bürger; die Behörden lösten den Verein später auf. " * 8
)
POLISH = "Zażółć gęślą jaźń. Prawa człowieka są łamane, a władze milczą; społeczność żąda wyjaśnień. " * 8
JAPANESE = "人権擁護者はどこにいますか。政府は新しい法律を制定しました。記者たちは抗議しています。" * 8


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (b"\xef\xbb\xbf", "utf-8"),
        (b"\xff\xfe", "utf-16-le"),
        (b"\xfe\xff", "utf-16-be"),
        (b"\xff\xfe\0\0", "utf-32-le"),
        (b"\0\0\xfe\xff", "utf-32-be"),
    ],
)
def test_unicode_keeps_every_code_point_and_its_mark(name: str, mark: bytes, encoding: str) -> None:
    raw = mark + HOSTILE[name].encode(encoding)
    text, found = decode(raw, Path("a.txt"))
    assert found == encoding
    assert text == ("\ufeff" if mark else "") + HOSTILE[name]
    assert raw.decode(found) == text


@settings(max_examples=300)
@given(TEXTS, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
def test_any_unicode_text(text: str, encoding: str) -> None:
    raw = text.encode(encoding)
    found, name = decode(raw, Path("a.txt"))
    assert raw.decode(name) == found
    # `encode` put a mark before the text in all but plain UTF-8.
    assert found.removeprefix("" if encoding == "utf-8" else "\ufeff") == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "cp1252"),
        (GERMAN, "latin-1"),
        (FRENCH, "cp1252"),
        (FRENCH.replace("’", "'").replace("–", "-"), "latin-1"),
        (ENGLISH, "cp1252"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (POLISH, "cp1250"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
    ],
)
def test_other_encodings_are_detected(text: str, encoding: str) -> None:
    raw = text.encode(encoding)
    found, name = decode(raw, Path("a.txt"))
    assert raw.decode(name) == found
    assert name != "utf-8"
    letters = [(a, b) for a, b in zip(found, text, strict=True) if b.isalpha()]
    assert sum(a == b for a, b in letters) / len(letters) > 0.99


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_any_bytes_are_exactly_decoded_or_refused(raw: bytes) -> None:
    try:
        text, encoding = decode(raw, Path("a.txt"))
    except DocumentError as error:
        assert "a.txt" in str(error)
        assert "--skip-unreadable" in str(error)
    else:
        assert raw.decode(encoding) == text
        assert "\0" not in text


@pytest.mark.parametrize(
    "raw",
    [
        bytes(range(256)) * 40,
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        b"PK\x03\x04" + b"\0\1\2\3" * 50,
        b"\xef\xbb\xbfgood then bad \xff\xfe",
        b"\xff\xfea",
        b"\xff\xfe\0\xd8a\0",
        b"plain with a NUL \0 in it",
        b"\xef\xbb\xbfmarked with a NUL \0 in it",
        "\ufeffwide with a NUL \0 in it".encode("utf-16-le"),
        "\ufeffwider with a NUL \0 in it".encode("utf-32-be"),
    ],
    ids=["bytes", "png", "zip", "bad utf-8", "odd utf-16", "lone surrogate", "nul", "nul-8", "nul-16", "nul-32"],
)
def test_what_is_not_text_is_refused_and_named(raw: bytes) -> None:
    with pytest.raises(DocumentError, match=r"folder/a\.txt.*--skip-unreadable"):
        decode(raw, Path("folder/a.txt"))


def test_a_document_is_its_bytes(tmp_path: Path) -> None:
    raw = "\ufeff# Über\r\nText.\r".encode()
    write_files(tmp_path, {"sub/a.md": raw})
    document = read_document(tmp_path, "sub/a.md")
    assert document.text == raw.decode()
    assert document.path == "sub/a.md"
    assert document.sha256 == hashlib.sha256(raw).hexdigest() == file_digest(tmp_path / "sub/a.md")
    assert document.source.title == "Über"


FRONT = '---\ntitle: "Of front matter"\nauthor: A. Writer\ndate: 2021-03-05\nodd: 1\n---\n'


@pytest.mark.parametrize(
    ("name", "content", "facts", "title"),
    [
        ("a.md", FRONT + "# Heading\nText.", {"title": "Of sources"}, "Of sources"),
        ("a.md", FRONT + "# Heading\nText.", None, "Of front matter"),
        ("a.md", FRONT.replace("\n", "\r\n") + "# Heading\r\nText.", None, "Of front matter"),
        ("a.md", '+++\ntitle = "Of\u2028TOML"\n+++\n# Heading\n', None, "Of\u2028TOML"),
        ("a.md", "---\ntitle: [unclosed\n---\n# Heading\nText.", None, "Heading"),
        ("a.md", "+++\ntitle = \n+++\n# Heading\nText.", None, "Heading"),
        ("a.md", "---\n- a list\n---\n# Heading\nText.", None, "Heading"),
        ("a.md", "---\ntitle:\n---\n# Heading\nText.", None, "Heading"),
        ("a.md", "Text without a heading.", None, "a"),
        ("a.txt", FRONT + "Text.", None, "a"),
        ("a.txt", "A heading\n\nText under it.", None, "A heading"),
        ("a.txt", "A heading\r\n\r\nText under it.", {"author": "B"}, "A heading"),
        ("sub/No heading.here.txt", "text", None, "No heading.here"),
        ("a.txt", "", None, "a"),
    ],
)
def test_titles_by_precedence(
    tmp_path: Path, name: str, content: str, facts: dict[str, str] | None, title: str
) -> None:
    write_files(tmp_path, {name: content})
    assert read_document(tmp_path, name, facts).source.title == title


def test_facts_of_front_matter_and_sources_are_merged(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.md": FRONT})
    source = read_document(tmp_path, "a.md", {"author": "B", "url": "https://example.org"}).source
    assert (source.title, source.author, source.date, source.url, source.kind) == (
        "Of front matter",
        "B",
        "2021-03-05",
        "https://example.org",
        None,
    )
    assert source.facts() == "Of front matter · B · 2021-03-05 · March"


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("block", "title", "author", "date"),
    [
        ("---\ntitle: T\ndate: 2024-02-30\n---", "T", None, "2024-02-30"),
        ("---\ntitle: T\ndate: 2024-02-30T99:00\n---", "T", None, "2024-02-30T99:00"),
        ('---\ntitle: "Party \\ud83c\\udf89"\n---', "Party 🎉", None, None),
        ('---\ntitle: "Half \\ud83c"\n---', "Half \ufffd", None, None),
        ("---\ntitle: 1.10\nauthor: yes\n---", "1.10", "yes", None),
        ("---\ntitle: T\nauthor: [Jane, Joe]\n---", "T", "Jane, Joe", None),
        ("---\ntitle: T\nauthor:\n- Jane\n- ''\n- Joe\n---", "T", "Jane, Joe", None),
        ("---\ntitle: T\nauthor: []\ndate: ~\n---", "T", None, None),
        ("---\ntitle: null\nauthor: '  '\n---", "a", None, None),
        ("---\ntitle: T\nauthor:\n- name: Jane\n- [Joe]\n---", "T", None, None),
        ("---\ntitle: T\nauthor: &a [*a, Joe]\n---", "a", None, None),
        ('---\ntitle: "\\U00110000"\n---', "a", None, None),
        (f"---\ntitle: {DEEP}\n---", "a", None, None),
        ('+++\ntitle = "T"\nauthor = ["Jane", "Joe"]\ndate = 2021-03-05\n+++', "T", "Jane, Joe", "2021-03-05"),
        (f"+++\ntitle = {'9' * 5000}\n+++", "a", None, None),
        (f"+++\ntitle = {DEEP}\n+++", "a", None, None),
    ],
)
def test_any_front_matter_is_read_as_it_is_written_or_says_nothing(
    tmp_path: Path, block: str, title: str, author: str | None, date: str | None
) -> None:
    write_files(tmp_path, {"a.md": f"{block}\nText.\n"})
    source = read_document(tmp_path, "a.md").source
    assert (source.title, source.author, source.date) == (title, author, date)
    # What is shown and stored is text.
    source.facts().encode()


def test_a_walk_takes_text_and_accounts_for_the_rest(tmp_path: Path) -> None:
    root = write_files(
        tmp_path / "documents",
        {
            "b.txt": "b",
            "a.MD": "a",
            "sub/deep/er/c.txt": "c",
            "sub/d.pdf": b"%PDF",
            "noending": "x",
            ".hidden.txt": "h",
            ".git/x.txt": "x",
            "sources.toml": "",
            "sub/sources.toml": "x",
            "empty.txt": "",
        },
    )
    outside = write_files(tmp_path / "outside", {"secret.txt": "s", "folder/x.txt": "x"})
    (root / "inside.txt").symlink_to(root / "b.txt")
    (root / "out.txt").symlink_to(outside / "secret.txt")
    (root / "up.txt").symlink_to("../outside/secret.txt")
    (root / "folder").symlink_to(outside / "folder")
    (root / "sub" / "again").symlink_to(root)
    (root / "dangling.txt").symlink_to(root / "nowhere.txt")
    (root / "loop.txt").symlink_to(root / "pool.txt")
    (root / "pool.txt").symlink_to(root / "loop.txt")
    (root / "named.txt").mkdir()
    os.mkfifo(root / "pipe.txt")
    listing = Folder(root).listing()
    assert listing.paths == ("a.MD", "b.txt", "empty.txt", "inside.txt", "sub/deep/er/c.txt")
    assert {left.path: left.reason for left in listing.left_out} == {
        "dangling.txt": "is a link to nothing",
        "folder": "is a link to a folder",
        "loop.txt": "is a link to nothing",
        "noending": "is not one of .md, .txt",
        "out.txt": "is a link that leaves the documents folder",
        "pipe.txt": "is not a regular file",
        "pool.txt": "is a link to nothing",
        "sources.toml": "describes the documents",
        "sub/again": "is a link to a folder",
        "sub/d.pdf": "is not one of .md, .txt",
        "sub/sources.toml": "is not one of .md, .txt",
        "up.txt": "is a link that leaves the documents folder",
    }


def test_a_root_that_is_a_link_is_walked(tmp_path: Path) -> None:
    write_files(tmp_path / "real", {"a.txt": "a"})
    (tmp_path / "real" / "b.txt").symlink_to("a.txt")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert Folder(tmp_path / "link").listing().paths == ("a.txt", "b.txt")


def test_a_name_that_is_not_unicode_is_left_out(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.txt": "a"})
    (tmp_path / os.fsdecode(b"b\xff.txt")).write_bytes(b"b")
    listing = Folder(tmp_path).listing()
    assert listing.paths == ("a.txt",)
    assert [left.reason for left in listing.left_out] == ["has a name that is not Unicode"]
    assert listing.left_out[0].path.isprintable()


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DocumentError, match="a file is there"):
        Folder(tmp_path / "file")
    with pytest.raises(DocumentError, match="nothing is there"):
        Folder(tmp_path / "nothing")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.txt": "a", "sub/b.txt": "b"})
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(DocumentError, match=re.escape(str(tmp_path / "a.txt"))):
        read_document(tmp_path, "a.txt")
    with pytest.raises(DocumentError, match=re.escape(str(tmp_path / "a.txt"))):
        file_digest(tmp_path / "a.txt")
    (tmp_path / "sub").chmod(0)
    try:
        assert Folder(tmp_path).listing().locked == ("sub",)
    finally:
        (tmp_path / "sub").chmod(0o755)


def test_a_file_that_went_away_has_no_digest(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.txt": "a"})
    assert file_digest(tmp_path / "b.txt") is None
    assert file_digest(tmp_path / "a.txt" / "b.txt") is None
    with pytest.raises(DocumentError, match=r"b\.txt"):
        read_document(tmp_path, "b.txt")
    assert file_digest(tmp_path) is None


def test_a_folder_that_cannot_be_listed_is_told_where_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_files(tmp_path / "documents", {"a.txt": "a", "sub/locked/b.txt": "b", "sub/c.txt": "c"})
    forbid(monkeypatch, root / "sub" / "locked")
    folder = Folder(root)
    listing = folder.listing()
    assert listing.paths == ("a.txt", "sub/c.txt", "sub/locked")
    assert listing.locked == ("sub/locked",)
    with pytest.raises(DocumentError, match=r"The folder .*sub/locked can't be read.*--skip-unreadable"):
        folder.read("sub/locked")
    with pytest.raises(DocumentError, match=r"sub/locked.*--skip-unreadable"):
        build(root, tmp_path / "index")
    report = build(root, tmp_path / "index", skip_unreadable=True)
    assert report.added == ("a.txt", "sub/c.txt")
    assert [left.path for left in report.unreadable] == ["sub/locked"]
    assert build(root, tmp_path / "index", skip_unreadable=True).unreadable == report.unreadable
    forbid(monkeypatch, root)
    with pytest.raises(DocumentError, match=r"The folder .*documents can't be read"):
        folder.listing()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('["a.txt"]\ntitel = "x"\n', r"unknown key 'titel'. Did you mean 'title'\?"),
        ('["a.txt"]\nqqqq = "x"\n', "unknown key 'qqqq'. Known: title, publisher"),
        ('["a.txt"]\ntitle = 5\n', "title is 5; a text or a date was expected"),
        ('["a.txt"]\ntitle = " "\n', "title is ' '"),
        ('title = "x"\n', "\"title\" is 'x', not a table"),
        ('["a.txt"\n', "is not TOML in UTF-8"),
        (b'["a.txt"]\ntitle = "\xff"\n', "is not TOML in UTF-8"),
    ],
)
def test_sources_with_a_mistake_are_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    write_files(tmp_path, {"sources.toml": content, "a.txt": "a"})
    with pytest.raises(DocumentError, match=message) as caught:
        Folder(tmp_path)
    assert str(tmp_path / "sources.toml") in str(caught.value)


def test_sources_give_facts_and_strangers_are_told(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.txt": "a", "sources.toml": '["a.txt"]\ndate = 2021-03-05\n["gone.txt"]\ntitle = "G"\n'})
    folder = Folder(tmp_path)
    assert folder.read("a.txt").source.date == "2021-03-05"
    assert folder.unknown_sources(folder.listing()) == ("gone.txt",)
    # Editors on Windows write a byte-order mark.
    write_files(tmp_path, {"sources.toml": '\ufeff["a.txt"]\r\ntitle = "É"\r\n'})
    assert Folder(tmp_path).read("a.txt").source.title == "É"
    assert load_sources(tmp_path / "none.toml") == {}


def test_the_seeds_are_read_as_they_are() -> None:
    folder = Folder(SEEDS)
    listing = folder.listing()
    assert len(listing.paths) == 5
    assert folder.unknown_sources(listing) == ()
    for path in listing.paths:
        document = folder.read(path)
        assert document.text == (SEEDS / path).read_bytes().decode(document.encoding)
        assert document.source.title == folder.sources[path]["title"]
