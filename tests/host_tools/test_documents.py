"""Everything that the documents mention exists: files, headings, tests, functions, commands."""

from __future__ import annotations

import ast
import functools
import re
import textwrap
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click
import pytest

from stm32sim.chip.application import known_images
from stm32up.cli import context
from tests import support
from tests.commands import parse, verbs
from tests.documents import DOCUMENTS, KINDS, PROJECT, RUN_BY, blocks, name_of, words

FOLDERS = "benchmarks|boards|docs|examples|firmware|host_tools|pictures|tests"
LINK = r"\]\(([^)\s]+)\)"
COMMANDS = PROJECT / "docs" / "commands.md"
# Those that name code.
MAPS = [PROJECT / "docs" / "architecture.md", PROJECT / "CONTRIBUTING.md"]
CODE = ("firmware", "host_tools", "tests", "benchmarks", "examples", "pictures")


every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
every_map = pytest.mark.parametrize("document", MAPS, ids=name_of)


def prose(document: Path) -> str:
    """Without the fenced blocks."""
    return re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


@functools.cache
def anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@functools.cache
def definitions() -> dict[str, set[str]]:
    """Of each module its functions, classes, constants, "Class.method" and "Class.attribute"."""
    found: dict[str, set[str]] = {}
    for folder in CODE:
        for path in (PROJECT / folder).rglob("*.py"):
            if "node_modules" not in path.parts:
                found[name_of(path)] = set(defined(ast.parse(path.read_bytes()).body))
    return found


def defined(body: list[ast.stmt], prefix: str = "") -> list[str]:
    names = []
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.append(prefix + name)
            case ast.ClassDef(name=name, body=inner):
                names += [prefix + name, *defined(inner, f"{name}."), *attributes(node)]
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.append(prefix + name)
    return names


def attributes(of: ast.ClassDef) -> list[str]:
    """What its methods assign to `self`."""
    return [
        f"{of.name}.{node.attr}"
        for node in ast.walk(of)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    ]


def is_defined(name: str) -> bool:
    """`Class.method`, `module.function`, or a name of its own, anywhere in the code."""
    module, _, last = name.rpartition(".")
    return any(
        name in names or (last in names and Path(path).stem == module)
        for path, names in definitions().items()
    )


def code_words(document: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(document))


def is_a_path(word: str) -> bool:
    return bool(re.fullmatch(r"[\w./-]+", word)) and (
        word.endswith((".py", ".md", ".toml", ".svg", "/"))
    )


def is_a_name(word: str) -> bool:
    """A class, a method, a function: none of the pins, flags and settings in capitals."""
    return bool(re.fullmatch(r"_?[A-Za-z]\w*(\.(?!img\b)[A-Za-z_]\w*)?", word)) and (
        "." in word or "_" in word or bool(re.match(r"[A-Z][a-z]", word))
    )


@every_document
def test_every_link_leads_somewhere(document):
    def is_there(link: str) -> bool:
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        return target.exists() and (not anchor or anchor in anchors(target))

    links = re.findall(LINK, document.read_text())
    assert [link for link in links if not re.match(r"https?:", link) and not is_there(link)] == []


@every_document
def test_every_path_and_test_that_is_named_exists(document):
    text = document.read_text()
    paths = re.findall(rf"`((?:{FOLDERS})/[^`\s*]*)`", text)
    assert [path for path in paths if not (PROJECT / path).exists()] == []
    sources = "\n".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    tests = re.findall(r"`(test_\w+)`", text)
    assert [name for name in tests if f"def {name}(" not in sources] == []


@every_document
def test_every_make_target_exists(document):
    makefiles = [PROJECT / "Makefile", *document.parent.glob("Makefile")]
    makefiles += document.parent.glob("*.mk")
    text = "\n".join(path.read_text() for path in makefiles)
    rules = [rule.replace("%", "*") for rule in re.findall(r"^([\w%.-]+):", text, re.MULTILINE)]
    targets = re.findall(r"(?:^|`)make ([a-z][\w.-]*)", document.read_text(), re.MULTILINE)
    assert [name for name in targets if not any(fnmatch(name, rule) for rule in rules)] == []


def options_of(command: click.Command) -> set[str]:
    """The long names of its own options."""
    every = {option.opts[0] for option in context.options()}
    own = [o for o in command.params if isinstance(o, click.Option) and o.opts[0] not in every]
    return {option.opts[-1] for option in own}


def rows(page: str) -> dict[str, str]:
    """Of the tables of verbs: the verb, and what is said of it."""
    cells = re.findall(r"^\| `([a-z ]+)[^`]*` \| (.*) \|$", page, re.MULTILINE)
    return {name.strip(): text for name, text in cells}


def test_every_verb_has_a_row_that_names_all_its_options():
    shown = rows(COMMANDS.read_text())
    assert shown.keys() == verbs().keys()
    for verb, command in verbs().items():
        code = " ".join(re.findall(r"`([^`]*)`", shown[verb]))
        named = set(re.findall(r"(?<!\S)-[-a-z0-9]+", code))
        named = {{"-o": "--output"}.get(name, name) for name in named}
        assert named == options_of(command), verb


def test_the_options_of_every_verb_are_listed():
    table = COMMANDS.read_text().partition("| option | what |")[2].partition("\n\n")[0]
    listed = set(
        re.findall(r"`(-[-a-z0-9]+)", re.sub(r"\|[^|]*\|$", "", table, flags=re.MULTILINE))
    )
    assert listed == {name for option in context.options() for name in option.opts}


@every_document
def test_every_block_says_how_it_is_tested(document):
    for block in blocks(document):
        where = f"{name_of(document)}:{block.line}"
        assert block.how in KINDS.get(block.language, ()), where
        if block.how in ("fails", "unrun"):
            assert block.reason, where
            files = re.findall(r"tests/[\w/]+\.py", block.reason)
            assert all((PROJECT / path).exists() for path in files), where
        if (block.language, block.how) == ("python", ""):
            assert name_of(document) in RUN_BY, where


@every_document
def test_every_command_can_be_typed_like_that(document):
    for block in blocks(document):
        if block.language in ("sh", "console"):
            for command in block.commands:
                name, *arguments = words(command)
                if name == "stm32up":
                    assert parse(arguments) in verbs(), command


@every_document
def test_the_verbs_and_options_in_the_text_exist(document):
    for code in re.findall(r"`(stm32up [^`]+)`", prose(document)):
        arguments = words(code)[1:]
        line = " ".join(["", *(word for word in arguments if not word.startswith("-")), ""])
        called = max((verb for verb in verbs() if f" {verb} " in line), key=len, default="")
        assert called or line in (" ", " VERB ", " [OPTIONS] VERB "), code
        known = {"-h"} | {o for option in context.options() for o in option.opts}
        known |= {o for option in verbs()[called].params for o in option.opts} if called else set()
        assert {word for word in arguments if word.startswith("-")} <= known, code


@every_document
def test_the_examples_are_python(document):
    for block in blocks(document):
        if block.how == "excerpt":
            source = (PROJECT / block.reason).read_text()
            indented = (textwrap.indent(block.text, " " * indent) for indent in (0, 4, 8))
            assert any(text in source for text in indented), block.text
        elif block.language == "python":
            compile(block.text, name_of(document), "exec")


def test_the_example_of_a_test_passes(make_bench):
    (block,) = (block for block in blocks(MAPS[1]) if block.language == "python")
    names: dict[str, Any] = {**vars(support), "known_images": known_images}
    exec(block.text, names)
    names["test_an_image_is_installed"](make_bench)


def test_the_readme_leads_to_every_page():
    found, new = set(), {PROJECT / "README.md"}
    while new:
        found |= new
        links = {(page, link) for page in new for link in re.findall(LINK, page.read_text())}
        targets = {(page.parent / link.partition("#")[0]).resolve() for page, link in links}
        new = {target for target in targets if target in DOCUMENTS} - found
    assert found == set(DOCUMENTS)


@every_map
def test_every_module_that_is_named_exists(document):
    paths = [word for word in code_words(document) if is_a_path(word)]
    assert paths
    known = [f"/{name_of(path)}" for path in PROJECT.rglob("*") if ".venv" not in path.parts]
    assert [p for p in paths if not any(k.endswith("/" + p.rstrip("/")) for k in known)] == []


@every_map
def test_every_class_and_function_that_is_named_exists(document):
    names = [word for word in code_words(document) if is_a_name(word) and not is_a_path(word)]
    assert names
    folders = {folder for path in definitions() for folder in Path(path).parts[:-1]}
    assert [name for name in names if not is_defined(name) and name not in folders] == []


def test_where_is_what_names_the_file_that_has_it():
    page = MAPS[0].read_text().partition("| question |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| .*? \| \[([^\]]+)\]\([^)]*\) \| (.*?) \|$", page, re.MULTILINE)
    assert len(rows) >= 10
    wrong = []
    for path, answer in rows:
        name = re.search(r"`([^`]+)`", answer)
        if name and name[1] not in definitions().get(path, ()):
            wrong.append(f"{name[1]} in {path}")
    assert wrong == []


def test_the_table_of_modules_is_complete():
    text = MAPS[0].read_text()
    for package in ("stm32_rom", "stm32_updater"):
        for path in (PROJECT / "firmware" / package).glob("*.py"):
            assert path.name == "__init__.py" or f"`{path.name}`" in text, name_of(path)


def test_every_example_is_shown():
    text = (PROJECT / "examples" / "README.md").read_text()
    for path in (PROJECT / "examples").glob("*.py"):
        assert f"]({path.name})" in text, path.name
        assert (PROJECT / "tests" / "examples" / f"test_{path.name}").exists(), path.name
