"""The drawing of the layers: who imports what, who catches errors, and what a command loads."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import REPOSITORY, SEEDS

PACKAGE = REPOSITORY / "qabot"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
TORCH = {"torch", "sentence_transformers", "transformers", "onnxscript"}
COMMANDS = {"qabot.cli", "qabot.cli_more", "qabot.shell"}
"""The command line."""
HEAVY = {
    "torch",
    "transformers",
    "sentence_transformers",
    "discord",
    "scipy",
    "sklearn",
    "onnxruntime",
    "faiss",
    "pydantic",
    "numpy",
    "matplotlib",
}


def name_of(path: Path) -> str:
    return ".".join(("qabot", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Every module that a file names in an import, wherever the import stands, but not those for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def users(module: str) -> set[str]:
    return {name_of(path) for path in FILES if {name.split(".")[0] for name in imports(path)} & {module}}


def of_qabot(name: str) -> set[str]:
    """The modules of qabot that a module imports."""
    path = next(path for path in FILES if name_of(path) == name)
    known = {name_of(other) for other in FILES}
    return {found for found in imports(path) if found in known and found != "qabot"}


def test_types_and_errors_stand_alone() -> None:
    assert of_qabot("qabot.types") == of_qabot("qabot.errors") == set()


@pytest.mark.parametrize(
    "name", ["qabot.markdown", "qabot.sentences", "qabot.passages", "qabot.render", "qabot.smalltalk", "qabot.phrases"]
)
def test_the_pure_modules_read_and_write_nothing(name: str) -> None:
    path = next(path for path in FILES if name_of(path) == name)
    assert of_qabot(name) <= {"qabot.types", "qabot.markdown", "qabot.sentences", "qabot.phrases"}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {ast.unparse(node.func).split(".")[-1] for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not called & {
        "open",
        "read_text",
        "write_text",
        "read_bytes",
        "write_bytes",
        "stat",
        "unlink",
        "mkdir",
        "connect",
    }
    assert not imports(path) & {"os", "sqlite3", "io", "socket", "subprocess", "numpy", "tempfile"}


def test_the_documents_know_nothing_of_models_and_the_index() -> None:
    for path in FILES:
        if name_of(path).startswith("qabot.documents"):
            allowed = {"qabot.types", "qabot.errors", "qabot.sentences"}
            assert {n for n in of_qabot(name_of(path)) if not n.startswith("qabot.documents")} <= allowed


@pytest.mark.parametrize(
    ("module", "where"),
    [
        # The reader may be any CrossEncoder of sentence-transformers.
        ("torch", {"qabot.export", "qabot.reader"}),
        ("sentence_transformers", {"qabot.export", "qabot.reader"}),
        ("transformers", {"qabot.export"}),
        ("faiss", {"qabot.lists", "qabot.vectors"}),
        ("qdrant_client", {"qabot.qdrant"}),
        ("tantivy", {"qabot.lexical", "qabot.segments"}),
        ("sentencex", {"qabot.sentences"}),
        ("sqlite3", {"qabot.index", "qabot.tables", "qabot.gathering"}),
        ("click", COMMANDS),
        ("prompt_toolkit", {"qabot.session"}),
        ("filelock", {"qabot.build", "qabot.large"}),
        ("safetensors", {"qabot.large"}),
        ("onnx", {"qabot.large", "qabot.mpnet"}),
        ("onnxruntime", {"qabot.sessions", "qabot.export"}),
        ("tokenizers", {"qabot.sessions"}),
    ],
)
def test_a_library_lives_in_one_place(module: str, where: set[str]) -> None:
    outside_bot = {name for name in users(module) if not name.startswith("qabot.bot")}
    assert outside_bot == where


def test_discord_lives_in_the_bot() -> None:
    assert all(name.startswith("qabot.bot") for name in users("discord"))


def test_nothing_imports_the_front_ends() -> None:
    for path in FILES:
        name = name_of(path)
        if name not in COMMANDS and not name.startswith("qabot.bot"):
            above = {n for n in of_qabot(name) if n in COMMANDS | {"qabot.session"} or n.startswith("qabot.bot")}
            # The settings hold the bot's, which say what they are and nothing else.
            assert above <= ({"qabot.bot.options"} if name == "qabot.config" else set())


def test_there_are_no_cycles() -> None:
    graph = {name_of(path): of_qabot(name_of(path)) for path in FILES}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for other in graph[name]:
                # A package's own modules import it by their path; that is no cycle.
                if not name.startswith(f"{other}."):
                    visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_only_front_ends_catch_qaboterror() -> None:
    for path in FILES:
        name = name_of(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and node.type is not None:
                caught = {part.id for part in ast.walk(node.type) if isinstance(part, ast.Name)}
                if "QabotError" in caught:
                    assert name in COMMANDS | {"qabot.session"} or name.startswith("qabot.bot"), name
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{name}:{node.lineno} catches everything"


def test_files_can_be_read_in_one_sitting() -> None:
    long = {
        name_of(path): count for path in FILES if (count := len(path.read_text(encoding="utf-8").split("\n"))) > 480
    }
    assert not long


def test_nothing_is_read_or_written_with_the_encoding_of_the_machine() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        for call in re.findall(r"(?:read_text|write_text)\([^()]*(?:\([^()]*\)[^()]*)*\)", text):
            assert "encoding=" in call, f"{path}: {call}"


def loaded(code: str, *arguments: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run code in a fresh Python and tell which top-level modules it loaded."""
    tail = (
        "\nimport atexit, json, sys\natexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", tail + code, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8", **environment},
        timeout=120,
        check=False,
    )
    modules = json.loads(process.stderr.strip().split("\n")[-1])
    return process, {name.split(".")[0] for name in modules}


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    _, modules = loaded("import qabot.cli")
    assert not modules & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["ask", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    process, modules = loaded("from qabot.cli import main; main()", *arguments)
    assert process.returncode == 0
    assert not modules & HEAVY


def test_status_loads_no_model(own_index: Path) -> None:
    process, modules = loaded(
        "from qabot.cli import main; main()", "status", "--documents", str(SEEDS), "--index", str(own_index)
    )
    assert process.returncode == 0, process.stderr
    assert "Up to date." in process.stdout
    assert not modules & (TORCH | {"onnxruntime", "tokenizers", "scipy", "sklearn", "discord", "matplotlib"})


def test_a_real_question_never_loads_torch(own_index: Path) -> None:
    process, modules = loaded(
        "from qabot.cli import main; main()",
        "ask",
        "--documents",
        str(SEEDS),
        "--index",
        str(own_index),
        "--json",
        "Who wrote that Russian influence on the Council of Europe is overestimated?",
    )
    assert process.returncode in (0, 1), process.stderr
    answer = json.loads(process.stdout)
    assert answer["quotes"]
    unused = {
        "scipy",
        "sklearn",
        "discord",
        "matplotlib",
        "prompt_toolkit",
        "qdrant_client",
        "grpc",
    }
    assert not modules & (TORCH | unused)
    for quote in answer["quotes"]:
        text = (SEEDS / quote["path"]).read_bytes().decode("utf-8")
        assert quote["text"] == text[quote["start"] : quote["end"]]
