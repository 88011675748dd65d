"""YAML as version 1.2 reads it: `1e-2` is a number, `no` and `1:30` are text, no key comes twice.

One thing is more than the standard: `1e3` is the whole number 1000, so it can be a count or a seed.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import cast

import yaml

_TAG = "tag:yaml.org,2002:"
# The core schema of YAML 1.2.2, section 10.3.2: a tag, its pattern, the characters it begins with.
_CORE_SCHEMA = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+([eE]\+?[0-9]{1,2})?|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
)


class Replaced(dict[str, object]):
    """A mapping that is not merged but takes the place of another: in YAML `!replace {...}`."""


def parsed(text: str) -> object:
    """Return the value that a YAML text holds.

    text: YAML 1.2. Whole numbers and text are keys; a key of another kind must be quoted.

    >>> parsed("{rate: 5e-5, arm: no, seed: 010}")
    {'rate': 5e-05, 'arm': 'no', 'seed': 10}

    Raises:
        ValueError: if the text is not YAML, or a key comes twice or is no text. It says where.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise ValueError(_sentence(error)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"not valid YAML: line {line} holds a control character") from None
    except RecursionError:
        raise ValueError("not valid YAML: it is nested too deeply") from None
    except ValueError as error:  # a tag such as !!timestamp before what is none
        raise ValueError(f"not valid YAML: {error}") from None


def read_text(path: Path) -> str:
    """Return a file's text, in UTF-8, or in UTF-16 that begins with a byte-order mark.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no such text.
    """
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not text in utf-8; save it as UTF-8") from None


class _Loader(yaml.SafeLoader):
    """The safe loader with the scalars of YAML 1.2, `!replace`, and a stricter view of keys."""

    yaml_implicit_resolvers: dict[object, object] = {}  # noqa: RUF012  # PyYAML's own name


def _mapping(loader: _Loader, node: yaml.Node) -> dict[str, object]:
    """Check the keys of a mapping, and read it."""
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(None, None, "expected a mapping", node.start_mark)
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if key.tag == f"{_TAG}merge":
            continue
        name = _key(loader, key)
        line = key.start_mark.line + 1
        if name in lines:
            raise _Refused(f"the key {name!r} is given twice, {_both(lines[name], line)}; keep one")
        lines[name] = line
    return cast("dict[str, object]", loader.construct_mapping(node, deep=True))


def _key(loader: _Loader, node: yaml.Node) -> str:
    """Return a key as text; refuse one that is neither text nor a whole number."""
    value: object = None
    if isinstance(node, yaml.ScalarNode):
        value = cast("object", loader.construct_object(node))
    whole = isinstance(value, int) and str(value) == node.value
    if isinstance(value, str) or whole:
        return str(value)
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.ScalarNode):
        raise _Refused(f"the key in line {line} must be text, got a list or a mapping")
    raise _Refused(f"the key {node.value} in line {line} is not text; write '{node.value}'")


class _Refused(yaml.MarkedYAMLError):
    """A sentence of its own, which needs no mark."""

    def __init__(self, sentence: str) -> None:
        super().__init__()
        self.sentence = sentence


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    if text.startswith("0o"):
        return int(text[2:], 8)
    if text.startswith("0x"):
        return int(text[2:], 16)
    digits, _, exponent = text.lower().partition("e")
    return int(digits) * 10 ** int(exponent or 0)


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node).lower()
    if text.lstrip("-+") in (".inf", ".nan"):
        text = text.replace(".", "")
    return float(text)


def _replaced(loader: _Loader, node: yaml.Node) -> Replaced:
    return Replaced(_mapping(loader, node))


def _sentence(error: yaml.MarkedYAMLError) -> str:
    if isinstance(error, _Refused):
        return error.sentence
    where = ""
    if error.problem_mark is not None:
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}"
    return f"not valid YAML{where}: {error.problem or error.context}"


def _both(first: int, second: int) -> str:
    if first == second:
        return f"in line {first}"
    return f"in lines {first} and {second}"


for _name, _pattern, _first in _CORE_SCHEMA:
    _regexp = re.compile(rf"^(?:{_pattern})$")
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", _regexp, list(_first))
_Loader.add_constructor(f"{_TAG}int", _int)
_Loader.add_constructor(f"{_TAG}float", _float)
_Loader.add_constructor(f"{_TAG}map", _mapping)
_Loader.add_constructor("!replace", _replaced)
