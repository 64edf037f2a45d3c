"""Settings: defaults < config.toml < environment (`QABOT_...`) < command-line flags.

Owns: every key with its type, range and meaning, and the refusal of keys that don't exist. Refuses to know
what the settings are used for. `config.example.toml` shows every key; a test keeps the two in step.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeGuard

from pydantic import BaseModel, Field, ValidationError
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


class Settings(BaseSettings):
    """Everything that can be set. Paths in a configuration file are relative to that file."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=NESTED, extra="forbid", frozen=True, protected_namespaces=()
    )

    documents: Path = Field(Path("seeds"), description="Folder of the documents.")
    index: Path = Field(Path("index"), description="Folder of the index; `qabot index` makes it.")
    model: str = Field("qabot-minilm", min_length=1, description="Embedding model: a name or a folder.")
    reader: str = Field(
        "qabot-reader", min_length=1, description="Model that reads the candidates: none, a name or a folder."
    )
    calibration: Path | None = Field(None, description="Calibration file made by `qabot calibrate`.")
    language: str = Field("en", pattern=r"^[a-z]{2,3}$", description="Language of the documents, ISO 639-1.")
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
        raise ConfigError(_describe(error, path)) from error
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


def _describe(error: ValidationError, path: Path | None) -> str:
    """The first thing wrong, without the value of anything that came from the environment."""
    detail = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in detail["loc"] if not isinstance(part, int))
    model: type[BaseModel] = Settings
    meaning = ""
    for part in key.split("."):
        field = model.model_fields.get(part)
        if field is None:
            break
        meaning = field.description or ""
        model = field.annotation if _is_table(field.annotation) else Settings
    places = f"the flags, the environment ({_variable(key)}) and {path or CONFIG_FILE}"
    return f"The setting {key} ({meaning}) can't be used: {detail['msg']}. Look for it in {places}."
