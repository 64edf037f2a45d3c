"""Fixtures of the core's tests, and how many examples the properties run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from processes import start_server
from qabot import large
from qabot.build import build_index
from qabot.documents import Folder
from qabot.models import OWN_MODEL, encoder_for_name
from qabot.sessions import model_cache as cache_of
from support import REPOSITORY, SEEDS, FakeEncoder, use_encoder

# The same examples in every run, so that a change is judged by itself; `--hypothesis-profile=explore` looks further.
QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
settings.register_profile("steady", deadline=None, derandomize=True, database=None, suppress_health_check=QUIET)
settings.register_profile("explore", deadline=None, max_examples=2000, suppress_health_check=QUIET)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches them."""
    for name in os.environ:
        if name.startswith("QABOT_") or name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
            monkeypatch.delenv(name)
    # Nor do the packages that are installed: what `auto` makes of them is for test_large.
    monkeypatch.setattr(large, "obtainable", lambda: False)


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing is most of the time of a small build; test_crash looks at when it is done."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    """The encoder that every model name stands for, in this test."""
    encoder = FakeEncoder()
    use_encoder(monkeypatch, encoder)
    return encoder


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache that holds the default model's export: the environment's if it has one, else made once, here."""
    with pytest.MonkeyPatch.context() as patch:
        if not any(cache_of().glob("*/encoder.json")):
            patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        # In a process of its own: this one stays without torch.
        code = "from qabot.models import encoder_for_name; encoder_for_name('all-MiniLM-L6-v2')"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, timeout=600)
        yield cache_of()


@pytest.fixture(scope="session")
def own_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seeds, indexed with the model that comes with qabot."""
    target = tmp_path_factory.mktemp("own") / "index"
    build_index(Folder(SEEDS), target, encoder_for_name(OWN_MODEL))
    return target


@pytest.fixture(scope="session")
def server() -> None:
    """What other processes are started from."""
    start_server()
