"""Mutants of a module: its text with one small fault in it, as somebody might make it. Each is one edit of the text.

In Python: a comparison or an arithmetic sign exchanged, `and` for `or`, a negation dropped or added, a number one higher, True for
False, another state, role or reason, a condition, clause, value or statement left out. In SQL the same, inside its strings.
What people read (docstrings, messages) is left alone, and so are annotations and decorators.
"""

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

COMPARISONS = {"==": "!=", "!=": "==", "<": "<=", "<=": "<", ">": ">=", ">=": ">"}
COMPARISONS |= {"is not": "is", "is": "is not", "not in": "in", "in": "not in"}
SIGNS = {"**": "*", "+": "-", "-": "+", "*": "/", "/": "*"}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "or_": "and_"}
WORDS = [("queued", "paused", "running", "succeeded", "failed", "cancelled"), ("none", "pause", "cancel")]
WORDS += [("viewer", "member", "maintainer", "admin"), ("read", "write"), ("done", "left", "lost")]
WORDS += [("open", "draining"), ("drain", "deadline"), ("cpu", "gpu"), ("team", "private"), ("users", "projects")]
NEXT = {word: words[(place + 1) % len(words)] for words in WORDS for place, word in enumerate(words)}
CLAUSES = {"order_by", "limit", "with_for_update", "execution_options"}
TERM = r"\b(WHERE|AND|ON) (?:NOT )?[\w.:]+(?: (?:=|<>|<|>) [\w.:']+(?:\(:\w+\))?| IS NULL)?(?= (?:AND|FOR|ORDER)\b|\)|\s*$|\")"
SQL = [(TERM, r"\1 TRUE"), (r", \w+ = [^,()]+?(?=,| FROM)", "")]
SQL += [(r" = ", " <> "), (r" <> ", " = "), (r" < ", " <= "), (r" > ", " >= "), (r" \+ ", " - "), (r" \* ", " / ")]
SQL += [(r" AND ", " OR "), (r"\bNOT ", ""), (r"\bIS NULL", "IS NOT NULL"), (r" DESC\b", ""), (r"\bLEFT JOIN", "JOIN")]
SQL += [(r" FOR UPDATE SKIP LOCKED", ""), (r" SKIP LOCKED", ""), (r"\bgreatest\b", "least"), (r"\bleast\b", "greatest")]
SQL += [(r"(?<=[ (])\d+(?:\.\d+)?\b", lambda found: str(float(found[0]) + 1).removesuffix(".0"))]
SQL += [(r"(?<=')\w+(?=')", lambda found: NEXT.get(found[0], found[0]))]
Edit = tuple[int, int, str]
"""From where to where, in bytes, and what stands there instead."""


class Mutant(NamedTuple):
    """A module with one fault: in which line and column, what stood there and what does now, and the whole text."""

    line: int
    column: int
    was: str
    now: str
    text: str


def mutants(text: str) -> list[Mutant]:
    """All of them, in the order of the text."""
    raw, tree = text.encode(), ast.parse(text)
    made = {}
    for start, end, now in sorted(set(Reading(raw).edits(tree))):
        changed = (raw[:start] + now.encode() + raw[end:]).decode()
        if ast.dump(ast.parse(changed)) != ast.dump(tree):
            place = (raw[:start].count(b"\n") + 1, start - raw[:start].rfind(b"\n"))
            made[start, end, now] = Mutant(*place, raw[start:end].decode(), now, changed)
    return list(made.values())


class Reading:
    """Finds the edits of a text, node by node."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.lines = [0, *(place + 1 for place, byte in enumerate(raw) if byte == 10)]

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Where a node stands."""
        first, last = self.lines[node.lineno - 1], self.lines[node.end_lineno - 1]
        return first + node.col_offset, last + node.end_col_offset

    def whole(self, node: ast.AST, now: str) -> Edit:
        """Something else in a node's place."""
        return (*self.span(node), now)

    def between(self, left: ast.AST, right: ast.AST, pattern: str, signs: dict[str, str]) -> Iterator[Edit]:
        """Another sign between two operands."""
        start, end = self.span(left)[1], self.span(right)[0]
        if found := re.search(pattern, self.raw[start:end].decode()):
            yield start + found.start(), start + found.end(), signs[found[0]]

    def edits(self, node: ast.AST) -> Iterator[Edit]:
        """The edits of a node and of what is in it."""
        yield from getattr(self, f"of_{type(node).__name__.lower()}", lambda _: ())(node)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list") or isinstance(node, ast.JoinedStr):
                continue
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, ast.AST) and not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)):
                    yield from self.edits(one)

    def of_compare(self, node: ast.Compare) -> Iterator[Edit]:
        for left, right in zip([node.left, *node.comparators], node.comparators, strict=False):
            yield from self.between(left, right, r"is not|not in|is|in|[=!<>]=|[<>]", COMPARISONS)

    def of_boolop(self, node: ast.BoolOp) -> Iterator[Edit]:
        for left, right in zip(node.values, node.values[1:], strict=False):
            yield from self.between(left, right, r"\b(and|or)\b", {"and": "or", "or": "and"})

    def of_binop(self, node: ast.BinOp) -> Iterator[Edit]:
        yield from self.between(node.left, node.right, r"\*\*|[-+*/]", SIGNS)

    def of_unaryop(self, node: ast.UnaryOp) -> Iterator[Edit]:
        start = self.span(node)[0]
        yield start, start + (4 if isinstance(node.op, ast.Not) else 1), ""

    def of_constant(self, node: ast.Constant) -> Iterator[Edit]:
        if isinstance(node.value, bool):
            yield self.whole(node, str(not node.value))
        elif isinstance(node.value, int | float):
            yield self.whole(node, str(node.value + 1))
        elif isinstance(node.value, str) and node.value in NEXT:
            yield self.whole(node, f'"{NEXT[node.value]}"')
        else:
            yield from self.of_joinedstr(node)

    def of_joinedstr(self, node: ast.Constant | ast.JoinedStr) -> Iterator[Edit]:
        """SQL."""
        start, end = self.span(node)
        text = self.raw[start:end].decode()
        if not text.isascii() or not re.search(r"\b(?:SELECT|UPDATE|AND|DESC)\b", text):
            return
        for pattern, now in SQL:
            for found in re.finditer(pattern, text):
                before = re.findall(r"\b(?:SET|WHERE|ON|AND|OR|WHEN)\b", text[: found.start()])
                if found[0] == " = " and before[-1:] == ["SET"]:
                    continue
                yield start + found.start(), start + found.end(), now(found) if callable(now) else found.expand(now)

    def of_attribute(self, node: ast.Attribute) -> Iterator[Edit]:
        if isinstance(node.value, ast.Name) and node.value.id == "Reason":
            yield self.whole(node, "Reason.WAITING" if node.attr == "INTERNAL" else "Reason.INTERNAL")

    def of_name(self, node: ast.Name) -> Iterator[Edit]:
        if node.id in NAMES:
            yield self.whole(node, NAMES[node.id])

    def of_call(self, node: ast.Call) -> Iterator[Edit]:
        if not isinstance(node.func, ast.Attribute):
            return
        if node.func.attr in CLAUSES:
            yield self.span(node.func.value)[1], self.span(node)[1], ""
        if node.func.attr == "where":
            yield from (self.whole(one, "True") for one in node.args)
        if node.func.attr == "values":
            yield from (self.without(one, one) for one in node.keywords)

    def of_dict(self, node: ast.Dict) -> Iterator[Edit]:
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant):
                yield self.without(key, value)

    def without(self, first: ast.AST, last: ast.AST) -> Edit:
        """One of several left out, with the comma behind it."""
        start, end = self.span(first)[0], self.span(last)[1]
        comma = re.match(r"\s*,?", self.raw[end:].decode())
        return start, end + (comma.end() if comma else 0), ""

    def of_list(self, node: ast.List | ast.Tuple) -> Iterator[Edit]:
        if any(isinstance(one, ast.Compare) for one in node.elts):
            yield from (self.whole(one, "True") for one in node.elts)

    of_tuple = of_list

    def of_if(self, node: ast.If | ast.IfExp | ast.While) -> Iterator[Edit]:
        if not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.NamedExpr):
            yield self.whole(node.test, f"not {ast.unparse(node.test)}")
        for one in node.body if isinstance(node.body, list) else []:
            if isinstance(one, ast.Return):
                yield self.whole(one, "pass")

    of_ifexp = of_while = of_if

    def of_expr(self, node: ast.Expr | ast.Raise | ast.Continue) -> Iterator[Edit]:
        yield self.whole(node, "pass")

    of_raise = of_continue = of_augassign = of_expr

    def of_assign(self, node: ast.Assign) -> Iterator[Edit]:
        targets = [one for target in node.targets for one in getattr(target, "elts", [target])]
        if not any(isinstance(one, ast.Name) for one in targets):
            yield self.whole(node, "pass")
