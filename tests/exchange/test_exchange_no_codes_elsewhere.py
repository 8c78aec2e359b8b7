"""Binance's numbers stand in its own folder, and in the exchange that plays it: nowhere else in the program."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = ("domain", "runner", "storage", "flows")
AT_HOME = ROOT / "runner" / "exchange" / "binance"
WRITTEN = re.compile(r"(?<![\w\d])[-−][1-5]\d{3}(?!\d)")


def codes_in(source: str) -> Iterator[str]:
    """Negative numbers of four digits, and the same inside a text or a comment; the bound of a slice is none."""
    tree = ast.parse(source)
    bounds = {id(bound) for node in ast.walk(tree) if isinstance(node, ast.Slice) for bound in (node.lower, node.upper)}
    for node in ast.walk(tree):
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(number))) if id(node) not in bounds:
                if 1_000 <= number <= 5_999:
                    yield f"line {node.lineno}: -{number}"
            case ast.Constant(value=str(text)):
                yield from (f"line {node.lineno}: {found}" for found in WRITTEN.findall(text))
    comments = (line.partition("#")[2] for line in source.splitlines())
    yield from (found for comment in comments for found in WRITTEN.findall(comment))


def test_it_sees_a_code_wherever_it_stands() -> None:
    for line in ("X = -2019", 'x.startswith("-5022")', '"""None only if −2013."""', "y = 1  # A −1015."):
        assert list(codes_in(line)), line
    assert not list(codes_in('z = text[-2000:] + "2026-1001"'))


def test_no_code_of_the_exchange_stands_outside_its_folder() -> None:
    files = [path for folder in OURS for path in (ROOT / folder).rglob("*.py") if AT_HOME not in path.parents]
    found = {str(path.relative_to(ROOT)): codes for path in files if (codes := list(codes_in(path.read_text("utf-8"))))}
    assert found == {}
