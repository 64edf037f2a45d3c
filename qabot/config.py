"""Settings: defaults < config.toml < environment (`QABOT_...`) < command-line flags.

Owns: every key with its type, range and meaning, and the refusal of keys that don't exist. Refuses to know
what the settings are used for. `config.example.toml` shows every key; a test keeps the two in step.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard

from pydantic import AfterValidator, BaseModel, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from qabot.bot.options import BotSettings
from qabot.errors import ConfigError

PREFIX = "QABOT_"
NESTED = "__"
"""Parts a table's name from a key's in the environment: `QABOT_BOT__LANGUAGE`."""
CONFIG_FILE = "config.toml"
CONFIG_VARIABLE = "QABOT_CONFIG"
SECRET_VARIABLES = ("QABOT_DISCORD_TOKEN", "QABOT_DISCORD_TOKEN_FILE", "QABOT_QDRANT_API_KEY")
"""Read where they are needed alone, straight from the environment: no setting holds a secret, so none can be printed."""

LANGUAGES = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de "
    "dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id "
    "ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu "
    "lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu "
    "rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to "
    "tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu "
).split()
"""ISO 639-1. Which of them have abbreviations of their own, sentencex alone knows; the rest share the common rules."""


def _known_language(code: str) -> str:
    if code not in LANGUAGES:
        raise ValueError(f"{code!r} is no ISO 639-1 code")
    return code


class Settings(BaseSettings):
    """Everything that can be set. Paths in a configuration file are relative to that file."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=NESTED, extra="forbid", frozen=True, protected_namespaces=()
    )

    documents: Path = Field(Path("seeds"), description="Folder of the documents.")
    index: Path = Field(Path("index"), description="Folder of the index; `qabot index` makes it.")
    model: str = Field("qabot-minilm", min_length=1, description="Embedding model: a name or a folder.")
    reader: str = Field(
        "auto", min_length=1, description="Model that reads the candidates: auto, none, a name or a folder."
    )
    calibration: Path | None = Field(None, description="Calibration file made by `qabot calibrate`.")
    language: Annotated[str, AfterValidator(_known_language)] = Field(
        "en", description="Language of the documents, ISO 639-1.", json_schema_extra={"enum": [*LANGUAGES]}
    )
    quotes: int = Field(3, ge=1, le=50, description="How many quotes an answer may have.")
    quote_words: int = Field(90, ge=10, le=1000, description="How many words a quote may have.")
    index_store: Literal["faiss", "qdrant"] = Field("faiss", description="What keeps and searches the vectors.")
    qdrant_url: str = Field(
        "", pattern=r"^(https?://[^\s/@?#]+/?)?$", description="Qdrant's address, http://HOST:PORT; empty: no server."
    )
    qdrant_name: str = Field(
        "qabot", pattern=r"^[A-Za-z0-9_-]{1,100}$", description="How the names of the index's collections begin."
    )
    threads: int = Field(0, ge=0, le=256, description="Threads a model may use; 0: one a core.")

    bot: BotSettings = Field(default_factory=BotSettings, description="The Discord bot: the table [bot].")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment, then the file: the first that has a key wins."""
        return init_settings, env_settings, _File(settings_cls)


class _File(TomlConfigSettingsSource):
    """The configuration file, its paths taken relative to it."""

    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        file = self.toml_file_path
        if isinstance(file, Path):
            _resolve(Settings, values, file.parent)
        return values

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        return _read_toml(file_path)


def _resolve(model: type[BaseModel], values: dict[str, Any], folder: Path) -> None:
    for key, field in model.model_fields.items():
        if field.annotation in (Path, Path | None) and isinstance(values.get(key), str):
            values[key] = folder / values[key]
        elif _is_table(field.annotation) and isinstance(values.get(key), dict):
            _resolve(field.annotation, values[key], folder)


def _is_table(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def setting_names(model: type[BaseModel] = Settings) -> list[str]:
    """Every setting; one of a table as `table.key`."""
    names = []
    for key, field in model.model_fields.items():
        if _is_table(field.annotation):
            names += [f"{key}.{name}" for name in setting_names(field.annotation)]
        else:
            names.append(key)
    return names


def load_settings(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings in force.

    file: the configuration file; None looks for `$QABOT_CONFIG`, then `config.toml` in the working folder,
    and goes on without one. flags: key -> value; None values are no flags.
    Raises `ConfigError` for a missing or malformed file, an unknown key (with the nearest known name) and a
    value of the wrong type or out of range.
    """
    path = _config_path(file)
    known = set(setting_names())
    if path:
        _refuse_unknown(_flat(_read_toml(path)), known, str(path), str)
    special = {CONFIG_VARIABLE, *SECRET_VARIABLES}
    environment = {name for name in os.environ if name.startswith(PREFIX)} - special
    given = {name.removeprefix(PREFIX).lower().replace(NESTED, ".") for name in environment}
    _refuse_unknown(given, known, "the environment", _variable)

    class Chosen(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    try:
        return Chosen(**{key: value for key, value in (flags or {}).items() if value is not None})
    except ValidationError as error:
        raise ConfigError(_describe(error, path, flags or {})) from error
    except SettingsError as error:
        lists = ", ".join(map(_variable, sorted(given)))
        raise ConfigError(
            f"One of {lists} in the environment is no JSON. Expected a list as JSON, for example "
            """QABOT_BOT__LINK_HOSTS='["example.org"]'."""
        ) from error


def _config_path(file: Path | None) -> Path | None:
    named = file or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    if named is None:
        return Path(CONFIG_FILE) if Path(CONFIG_FILE).is_file() else None
    if named.is_dir():
        raise ConfigError(f"The configuration file {named} is a folder; expected a file. Name one in it.")
    if not named.is_file():
        raise ConfigError(
            f"The configuration file {named} does not exist. Make one from config.example.toml, or leave --config out."
        )
    return named


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        # Without the byte-order mark that editors on Windows write.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not TOML in UTF-8: {error}. Compare it with config.example.toml.") from error


def _flat(values: Mapping[str, Any]) -> list[str]:
    """The keys of a file; one of a table as `table.key`. An empty table sets nothing."""
    keys: list[str] = []
    for key, value in values.items():
        keys += [f"{key}.{name}" for name in _flat(value)] if isinstance(value, dict) else [key]
    return keys


def _variable(key: str) -> str:
    return PREFIX + key.replace(".", NESTED).upper()


def _refuse_unknown(keys: Iterable[str], known: set[str], where: str, shown: Callable[[str], str]) -> None:
    for key in sorted(set(keys) - known):
        near = difflib.get_close_matches(key, known, 1, cutoff=0.5)
        listed = ", ".join(shown(name) for name in sorted(known))
        hint = f"Did you mean {shown(near[0])}?" if near else f"Known: {listed}."
        raise ConfigError(f"{where} sets {shown(key)}, which is no setting of qabot. {hint}")


def _describe(error: ValidationError, path: Path | None, flags: Mapping[str, Any]) -> str:
    """The first thing wrong, and where, without the value of anything that came from the environment."""
    parts = [part for part in error.errors(include_url=False, include_input=False)[0]["loc"] if isinstance(part, str)]
    key = ".".join(parts)
    model: type[BaseModel] = Settings
    for part in parts[:-1]:
        table = model.model_fields[part].annotation
        model = table if _is_table(table) else model
    field = model.model_fields[parts[-1]]
    expected = _expected(model.model_json_schema()["properties"][parts[-1]])
    about = f"({field.description})"
    # As they are looked at: the first that has the key wins.
    if flags.get(key) is not None:
        return f"--{key} is {_shown(flags[key])}; expected {expected}. {about}"
    if _variable(key) in map(str.upper, os.environ) or path is None:
        return f"The environment sets {_variable(key)} to something else than {expected}. {about}"
    value: Any = _read_toml(path)
    for part in parts:
        value = value[part]
    return f"{path} sets {key} = {_shown(value)}; expected {expected}. {about}"


def _shown(value: Any) -> str:
    """A value nearly as TOML spells it, not all of a long one, and without the user and password of an address."""
    text = re.sub("//.*@", "//...@", json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= 200 else f"{text[:200]}..."


def _expected(schema: Mapping[str, Any]) -> str:
    """What a setting may be, in words, from its JSON schema."""
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    if "enum" in schema and len(schema["enum"]) > 9:
        return f"one of {', '.join(schema['enum'])}"
    if "enum" in schema:
        return " or ".join(map(json.dumps, schema["enum"]))
    if schema.get("format") == "path":
        return "the path of a file or folder"
    kinds = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "a text"}
    kind = kinds.get(schema.get("type", ""), "a table")
    if schema.get("type") == "array":
        kind = f"a list of texts, each {_expected(schema['items'])}"
    if "minimum" in schema:
        kind += f", {schema['minimum']:g} to {schema['maximum']:g}"
    if schema.get("minLength"):
        kind += ", not empty"
    if "pattern" in schema:
        kind += f" that matches {schema['pattern']}"
    return kind
