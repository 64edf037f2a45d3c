"""What the bot's tests share: coroutine tests, a deterministic answerer over real documents, and the worlds."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine tests, so that no plugin is needed."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents and index that no test changes."""
    from bot.botworld import make_corpus

    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def own_corpus(tmp_path: Path, corpus: Path) -> Path:
    """A copy that a test may change."""
    import shutil

    root = tmp_path / "own"
    shutil.copytree(corpus, root)
    return root


@pytest.fixture
def root(tmp_path: Path, corpus: Path) -> Path:
    """The shared documents and index, with a store of the test's own."""
    for name in ("documents", "index"):
        (tmp_path / name).symlink_to(corpus / name)
    return tmp_path
