"""Defaults < file < environment < flags; what is unknown or wrong is refused with the nearest known name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from qabot.config import PREFIX, Settings, load_settings, setting_names
from qabot.errors import ConfigError
from support import REPOSITORY

EXAMPLE = REPOSITORY / "config.example.toml"


@pytest.fixture(autouse=True)
def _working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults() -> None:
    settings = load_settings()
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        assert default is not PydanticUndefined, f"{name} has no default"
        assert getattr(settings, name) == default


def test_each_source_beats_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().quotes == 3
    (tmp_path / "config.toml").write_text("quotes = 4\nquote_words = 40\nthreads = 1\n")
    assert load_settings().quotes == 4
    monkeypatch.setenv("QABOT_QUOTES", "5")
    monkeypatch.setenv("QABOT_THREADS", "2")
    assert load_settings().quotes == 5
    settings = load_settings(None, {"quotes": 6, "quote_words": None})
    assert (settings.quotes, settings.threads, settings.quote_words) == (6, 2, 40)


def test_where_the_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("quotes = 4\n")
    (tmp_path / "named.toml").write_text("quotes = 5\n")
    (tmp_path / "flag.toml").write_text("quotes = 6\n")
    assert load_settings().quotes == 4
    monkeypatch.setenv("QABOT_CONFIG", str(tmp_path / "named.toml"))
    assert load_settings().quotes == 5
    assert load_settings(tmp_path / "flag.toml").quotes == 6
    monkeypatch.setenv("QABOT_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match=r"none\.toml does not exist.*config\.example\.toml"):
        load_settings()
    with pytest.raises(ConfigError, match=r"is a folder; expected a file"):
        load_settings(tmp_path)


def test_paths_in_a_file_are_relative_to_it_and_others_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "c.toml"
    paths = {name for name, field in Settings.model_fields.items() if "Path" in str(field.annotation)}
    assert {"documents", "index", "calibration"} <= paths
    file.write_text("".join(f'{name} = "here"\n' for name in paths))
    settings = load_settings(file)
    for name in paths:
        assert getattr(settings, name) == tmp_path / "sub" / "here"
    file.write_text('documents = "/absolute"\n')
    assert load_settings(file).documents == Path("/absolute")
    monkeypatch.setenv("QABOT_DOCUMENTS", "env")
    assert load_settings(file, {"index": Path("flag")}).documents == Path("env")
    assert load_settings(file, {"index": Path("flag")}).index == Path("flag")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("quote = 3\n", "sets quote, which is no setting of qabot. Did you mean quotes?"),
        ("qoute_words = 3\n", "Did you mean quote_words?"),
        ("zzz = 3\n", "Known: "),
        ("[documents]\na = 1\n", "sets documents.a, which is no setting of qabot. Did you mean documents?"),
        (
            "quotes = 0\n",
            "config.toml sets quotes = 0; expected a whole number, 1 to 50. (How many quotes an answer may have.)",
        ),
        ("quotes = 51\n", "config.toml sets quotes = 51; expected a whole number, 1 to 50."),
        ('quotes = "many"\n', 'config.toml sets quotes = "many"; expected a whole number, 1 to 50.'),
        ("threads = -1\n", "sets threads = -1; expected a whole number, 0 to 256."),
        ('language = "English"\n', 'sets language = "English"; expected'),
        ('language = "xx"\n', 'sets language = "xx"; expected one of aa, ab, '),
        ('model = ""\n', 'sets model = ""; expected a text, not empty.'),
        ('documents = ["a"]\n', 'sets documents = ["a"]; expected the path of a file or folder.'),
        ("calibration = 5\n", "sets calibration = 5; expected the path of a file or folder."),
        ('index_store = "x"\n', 'sets index_store = "x"; expected "faiss" or "qdrant".'),
        ("[bot]\nprivate = 7\n", "sets bot.private = 7; expected true or false."),
        ("[bot]\ncooldown = 601\n", "sets bot.cooldown = 601; expected a number, 0 to 600."),
        ('[bot]\nlink_hosts = ["a.org", "/"]\n', 'sets bot.link_hosts = ["a.org", "/"]; expected a list of texts'),
        ("quotes = \n", "is not TOML in UTF-8"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.toml").write_text(content)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load_settings()
    assert "config.toml" in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b'model = "\xff"\n')
    with pytest.raises(ConfigError, match="not TOML in UTF-8"):
        load_settings()


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    # Editors on Windows write it.
    (tmp_path / "config.toml").write_bytes(b'\xef\xbb\xbfdocuments = "d\xc3\xa9"\r\n[bot]\r\nworkers = 2\r\n')
    settings = load_settings(tmp_path / "config.toml")
    assert (settings.documents, settings.bot.workers) == (tmp_path / "dé", 2)


def test_unknown_names_in_the_environment_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QABOT_QUOTE_WORD", "3")
    with pytest.raises(ConfigError, match=r"environment sets QABOT_QUOTE_WORD.*Did you mean QABOT_QUOTE_WORDS\?"):
        load_settings()


def test_values_of_the_environment_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QABOT_QUOTES", "hunter2")
    with pytest.raises(ConfigError, match="QABOT_QUOTES") as caught:
        load_settings()
    assert str(caught.value).startswith(
        "The environment sets QABOT_QUOTES to something else than a whole number, 1 to 50. "
    )
    assert "hunter2" not in str(caught.value)
    assert "config.toml" not in str(caught.value)


def test_a_password_in_an_address_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('qdrant_url = "http://me:hun/t@er2@host"\n')
    with pytest.raises(ConfigError, match=r'sets qdrant_url = "http://\.\.\.@host"; expected') as caught:
        load_settings()
    assert "er2" not in str(caught.value)


def test_the_source_of_a_wrong_value_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("quotes = 99\n")
    monkeypatch.setenv("qabot_quotes", "98")
    with pytest.raises(ConfigError, match="The environment sets QABOT_QUOTES"):
        load_settings()
    with pytest.raises(ConfigError, match=r"--quotes is 97; expected a whole number, 1 to 50\."):
        load_settings(None, {"quotes": 97})
    monkeypatch.delenv("qabot_quotes")
    with pytest.raises(ConfigError, match=r"config\.toml sets quotes = 99; expected"):
        load_settings(None, {"quotes": None})


def test_a_list_in_the_environment_is_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text('[bot]\nlink_hosts = ["a.org"]\nworkers = 2\n')
    monkeypatch.setenv("QABOT_BOT__LINK_HOSTS", '["b.org", "c.org"]')
    assert (load_settings().bot.link_hosts, load_settings().bot.workers) == (("b.org", "c.org"), 2)
    monkeypatch.setenv("QABOT_BOT__LINK_HOSTS", "b.org")
    with pytest.raises(ConfigError, match=r"QABOT_BOT__LINK_HOSTS in the environment is no JSON. Expected a list"):
        load_settings()


def test_secrets_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QABOT_DISCORD_TOKEN", "hunter2")
    monkeypatch.setenv("QABOT_DISCORD_TOKEN_FILE", "hunter2")
    monkeypatch.setenv("QABOT_QDRANT_API_KEY", "hunter2")
    assert "hunter2" not in repr(load_settings())
    assert "hunter2" not in load_settings().model_dump_json()


def test_settings_do_not_change() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.quotes = 5  # type: ignore[misc]


def test_the_example_has_every_key_with_its_default_and_nothing_else(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    # A key without a value to show is there as a comment.
    commented = re.sub(r"^# ?(?=\w+ = )", "", text, flags=re.MULTILINE)
    shown = tomllib.loads(commented)
    assert set(shown) == set(Settings.model_fields)
    assert {*(set(shown) - {"bot"}), *(f"bot.{name}" for name in shown["bot"])} == set(setting_names())
    given: dict[str, Any] = tomllib.loads(text)
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    settings = load_settings()
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if name in given:
            expected = tmp_path / default if isinstance(default, Path) else default
            found = getattr(settings, name)
            if name == "bot":
                expected = default.model_copy(update={"store": tmp_path / default.store})
                found = found.model_copy(update={"store": found.store.resolve()})
            assert (found.resolve() if isinstance(found, Path) else found) == expected
        else:
            assert default is None
    # Each key is explained by the comment above it.
    blocks = re.split(r"\n\n+", text)
    for name in given:
        block = next(block for block in blocks if re.search(rf"^{name} = |^\[{name}\]", block, re.MULTILINE))
        assert block.startswith("# "), name


def test_every_setting_says_what_it_means() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description
        assert field.description.endswith("."), name
    assert PREFIX == "QABOT_"


def test_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "sub" / "c.toml"
    file.parent.mkdir()
    file.write_text('[bot]\nstore = "s.sqlite"\nworkers = 2\n')
    monkeypatch.setenv("QABOT_BOT__WORKERS", "3")
    monkeypatch.setenv("QABOT_DISCORD_TOKEN", "secret-token")
    settings = load_settings(file)
    assert (settings.bot.store, settings.bot.workers, settings.bot.language) == (tmp_path / "sub/s.sqlite", 3, "en")
    assert "secret-token" not in repr(settings)
    monkeypatch.setenv("QABOT_BOT__WORKER", "3")
    with pytest.raises(ConfigError, match=r"sets QABOT_BOT__WORKER, which is no setting .* QABOT_BOT__WORKERS"):
        load_settings(file)
    monkeypatch.delenv("QABOT_BOT__WORKER")
    monkeypatch.setenv("QABOT_BOT__WORKERS", "99")
    with pytest.raises(
        ConfigError,
        match=r"sets QABOT_BOT__WORKERS to .* a whole number, 1 to 16\. \(Questions answered at the same time\.\)",
    ) as caught:
        load_settings(file)
    assert "99" not in str(caught.value)
    monkeypatch.delenv("QABOT_BOT__WORKERS")
    file.write_text("[bot]\nworkerz = 2\n")
    with pytest.raises(ConfigError, match=r"sets bot\.workerz, .* Did you mean bot\.workers\?"):
        load_settings(file)
