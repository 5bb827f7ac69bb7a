"""Small changes of one Python source, each of which some test should notice.

They are changes of the text, so line numbers and the surrounding code are unchanged. Texts without
effect on behaviour (docstrings, texts for people) and code that always fails are left out. Small
numbers change by one, large ones by a factor of two: one millisecond more or less is not a bug.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

_COMPARED = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
    "is": ("is not",),
    "is not": ("is",),
    "in": ("not in",),
    "not in": ("in",),
}
_COMPUTED = {
    "+": ("-",),
    "-": ("+",),
    "*": ("//",),
    "//": ("*",),
    "%": ("*",),
    "**": ("*",),
    "<<": (">>",),
    ">>": ("<<",),
    "&": ("|",),
    "|": ("&",),
    "^": ("&",),
}
_SMALL = 8
_LETTERS = re.compile(r"[\w.]+")  # a text for machines: an event, a key, a name

Edit = tuple[int, int, str]  # from, to (offsets into the source's bytes), new text


@dataclass(frozen=True)
class Mutant:
    """One change of one module. `old` and `new`: the lines it changes, before and after, with
    single spaces; with `function` they identify it independently of the line number."""

    module: str  # path below firmware/
    function: str  # "Class.method"; "" is the module itself
    old: str
    new: str
    nth: int  # of several with the same lines in one function
    line: int  # of the statement, to find the tests that reach it
    edit: Edit

    @property
    def id(self) -> str:
        """Unchanged while the function's name and the changed lines are the same."""
        text = "\0".join((self.function, self.old, self.new, str(self.nth)))
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"{PurePosixPath(self.module).stem}-{digest}"

    def applied(self, source: str) -> str:
        return _applied(source.encode(), self.edit).decode()


def mutants_of(module: str, source: str) -> list[Mutant]:
    """Every mutant of a module, in the order of the text."""
    data = source.encode()
    same: Counter[tuple[str, str, str]] = Counter()
    mutants = []
    edits = sorted(_Text(data).edits(ast.parse(source)), key=lambda found: (found[1], found[2][0]))
    for function, line, edit in edits:
        changed = _applied(data, edit)
        old, new = _lines(data, edit, data), _lines(data, edit, changed)
        nth = same[function, old, new]
        same[function, old, new] += 1
        mutants.append(Mutant(module, function, old, new, nth, line, edit))
    return mutants


def _applied(data: bytes, edit: Edit) -> bytes:
    start, end, text = edit
    return data[:start] + text.encode() + data[end:]


def _lines(data: bytes, edit: Edit, within: bytes) -> str:
    """The lines that an edit of `data` touches, as they are in `within`: `data` or the result."""
    start = data.rfind(b"\n", 0, edit[0]) + 1
    end = data.find(b"\n", edit[1])
    tail = len(data) - (len(data) if end < 0 else end)
    return " ".join(within[start : len(within) - tail].decode().split())


class _Text:
    """Finds the edits of a source."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._starts = [0]
        for line in data.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def edits(
        self, node: ast.AST, function: str = "", line: int = 0
    ) -> Iterator[tuple[str, int, Edit]]:
        """(function, line of the statement, edit) for everything in `node`."""
        for child in ast.iter_child_nodes(node):
            if _is_text(child) or isinstance(child, (ast.Import, ast.ImportFrom)):
                continue
            inside, at = function, line
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                inside = f"{function}.{child.name}".lstrip(".")
            if isinstance(child, ast.stmt):
                at = child.lineno
            for edit in self._edits_of(child):
                yield function, at, edit
            yield from self.edits(child, inside, at)

    def _edits_of(self, node: ast.AST) -> Iterator[Edit]:
        match node:
            case ast.Compare():
                operands = [node.left, *node.comparators]
                for left, right in zip(operands, operands[1:], strict=False):
                    yield from self._swaps(left, right, _COMPARED)
            case ast.BoolOp():
                for left, right in zip(node.values, node.values[1:], strict=False):
                    yield from self._swaps(left, right, {"and": ("or",), "or": ("and",)})
            case ast.BinOp() if not _is_formatting(node):
                yield from self._swaps(node.left, node.right, _COMPUTED)
            case ast.AugAssign():
                others = {f"{old}=": (f"{new[0]}=",) for old, new in _COMPUTED.items()}
                yield from self._swaps(node.target, node.value, others)
                yield self._instead(node, "pass")
            case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
                yield self._instead(node, self._of(node.operand))
            case ast.Constant():
                for text in _other_values(node.value):
                    yield self._instead(node, text)
            case ast.If() | ast.IfExp():
                yield self._instead(node.test, "True")
                yield self._instead(node.test, "False")
            case ast.While():
                yield self._instead(node.test, "False")
            case ast.comprehension():
                for test in node.ifs:
                    yield self._instead(test, "True")
            case ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()) | ast.Raise():
                yield self._instead(node, "pass")
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.Delete():
                yield self._instead(node, "pass")
            case ast.Return(value=None):
                yield self._instead(node, "pass")
            case ast.Return(value=value) if value and not isinstance(value, ast.Constant):
                yield self._instead(value, "None")
            case ast.Continue():
                yield self._instead(node, "break")
            case ast.Break():
                yield self._instead(node, "continue")
            case ast.ExceptHandler(type=kinds) if kinds is not None:
                yield self._instead(kinds, "()")
                several = kinds.elts if isinstance(kinds, ast.Tuple) else []
                for kind in several:
                    rest = [self._of(other) for other in several if other is not kind]
                    yield self._instead(kinds, f"({', '.join(rest)},)")

    def _swaps(
        self, left: ast.expr, right: ast.expr, others: Mapping[str, tuple[str, ...]]
    ) -> Iterator[Edit]:
        """Edits of the operator between two operands."""
        start, end = self._span(left)[1], self._span(right)[0]
        between = self._data[start:end].decode()
        for old in sorted(others, key=len, reverse=True):
            pattern = rf"\b{old}\b" if old.isalpha() or " " in old else re.escape(old)
            found = re.search(pattern, between)
            if found:
                at = start + len(between[: found.start()].encode())
                yield from ((at, at + len(old), new) for new in others[old])
                return

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return (
            self._starts[node.lineno - 1] + node.col_offset,
            self._starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def _of(self, node: ast.expr) -> str:
        start, end = self._span(node)
        return self._data[start:end].decode()

    def _instead(self, node: ast.expr | ast.stmt, text: str) -> Edit:
        """An edit with the same number of lines, so that later lines keep their numbers."""
        start, end = self._span(node)
        lines = self._data[start:end].count(b"\n") - text.count("\n")
        return start, end, text + " \\\n" * lines


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_formatting(node: ast.BinOp) -> bool:
    """Whether it formats values into a text."""
    left = node.left
    return isinstance(left, ast.Constant) and isinstance(left.value, (str, bytes))


def _other_values(value: object) -> Iterator[str]:
    if isinstance(value, bool):
        yield repr(not value)
    elif isinstance(value, int):
        if value > _SMALL:
            yield from (repr(value * 2), repr(value // 2))
        else:
            yield repr(value + 1)
            if value > 0:
                yield repr(value - 1)
    elif isinstance(value, str) and _LETTERS.fullmatch(value):
        yield repr(value + "x")
    elif isinstance(value, bytes):
        yield repr(bytes([value[0] ^ 1]) + value[1:] if value else b"x")
