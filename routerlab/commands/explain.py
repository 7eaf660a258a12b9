"""One line out of jsonargparse's nested report of a structural error, with the nearest key.

The report is text only: an indented tree whose innermost `Parser key` is where the mistake is.
When a report has an unforeseen shape, its own words are kept, on one line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence

_KEY = re.compile(r'Parser key "(?P<key>[^"]+)"')
_CLASS = re.compile(r"Problem with given class_path '(?P<path>[^']+)'")
_OPTIONS = (
    re.compile(r"Option '(?P<key>[^']+)' is not accepted"),
    # The rest of a dotted key would belong to what is not there.
    re.compile(r"unrecognized arguments: --(?P<key>\w+)"),
)
_UNKNOWN = (
    re.compile(r"does not accept option '(?P<key>[^']+)'"),
    re.compile(r"unrecognized arguments: --(?P<key>[\w.]+)"),
    re.compile(r"Key '(?P<key>[^']+)' is not expected"),
)
_EXPECTED = re.compile(r"Expected an? (?P<type>.+?)(?:\. Got value:|$)")
_GIVEN = re.compile(r"(?:Got|Given) value:\s?(?P<value>.*)$")
_NESTED = re.compile(r"^NestedArg\(key='(?P<key>[\w.]+)', val=(?P<value>.*)\)$")
_SUBCLASS = re.compile(r"subclass of (?P<base>\w+)")
_UNLOADABLE = re.compile(r"Unable to load config ['\"](?P<value>.*)['\"]")
_MISSING = re.compile(r"(?:the following )?arguments are required: (?P<keys>.+)$")
_DENIED = re.compile(r"Importing '(?P<path>[^']+)' is not allowed")

Options = Callable[[str], Sequence[str]]
"""Names of the settings of a class, by its path."""


def explain(report: str, known: Sequence[str], options: Options) -> str:
    """One line: the key, what was given, what is allowed.

    Args:
        report: the parser's error.
        known: every key of the parser, dotted.
        options: the settings of a class named in the recipe.
    """
    if found := _DENIED.search(report):
        path = found["path"]
        package = path.split(".")[0]
        return (
            f"class path {path!r} is outside the trusted packages; if you trust that code, "
            f"add --trust {package}."
        )
    # Below a parser key it is a class that does not know it: no list of the parser's would help.
    if not _KEY.search(report):
        for pattern in _UNKNOWN:
            if found := pattern.search(report):
                return unknown_key(found["key"], known)
    if found := _MISSING.match(report):
        keys = ", ".join(key.split(".", 1)[-1] for key in found["keys"].split(", "))
        return f"{keys}: missing. A recipe needs trainer, model and data."
    return _innermost(report, options) or " ".join(report.split())


def unknown_key(given: str, known: Sequence[str]) -> str:
    """One line for a key that does not exist.

    >>> unknown_key("trainer.max_epoch", ["trainer.max_epochs", "trainer.max_steps", "model"])
    ... # doctest: +NORMALIZE_WHITESPACE
    "trainer.max_epoch: no such key. Did you mean 'trainer.max_epochs'?
     Allowed: trainer.max_epochs, trainer.max_steps."
    """
    root = given.split(".")[0]
    beside = [key for key in known if key.split(".")[0] == root]
    if not beside:
        given, beside = root, sorted({key.split(".")[0] for key in known})
    near = difflib.get_close_matches(given, beside, n=8, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    short = len(beside) <= 14
    shown = ", ".join(sorted(beside) if short else sorted(near) or sorted(beside)[:8])
    rest = "." if short else " … (all: routerlab fit RECIPE --help)."
    return f"{given}: no such key.{hint} Allowed: {shown}{rest}"


def _innermost(report: str, options: Options) -> str:
    written = [line for line in report.splitlines() if line.strip()]
    lines = [(len(line) - len(line.lstrip()), line.strip()) for line in written]
    keys = [(depth, at) for at, (depth, text) in enumerate(lines) if _KEY.search(text)]
    if not keys:
        return ""
    depth, at = max(keys, key=lambda pair: (pair[0], -pair[1]))
    path = ".".join(_keys_above(lines, at))
    block = [lines[at]]
    for line in lines[at + 1 :]:
        if line[0] <= depth and depth:
            break
        block.append(line)
    classes = [m["path"] for _, text in block if (m := _CLASS.search(text))]
    for _, text in block:
        for pattern in _OPTIONS:
            if found := pattern.search(text):
                return _unknown_option(path, found["key"], classes[0] if classes else "", options)
    if classes:
        return _bad_class(path, classes[0], block)
    return _bad_value(path, [text for _, text in block])


def _keys_above(lines: list[tuple[int, str]], at: int) -> list[str]:
    """The parser keys on the way from the root down to line `at`."""
    found, depth = [], lines[at][0] + 1
    for indent, text in reversed(lines[: at + 1]):
        if indent < depth:
            depth = indent
            if match := _KEY.search(text):
                found.append(match["key"])
    return found[::-1]


def _unknown_option(path: str, key: str, class_path: str, options: Options) -> str:
    of = f" of {class_path}" if class_path else ""
    known = sorted(options(class_path))
    near = difflib.get_close_matches(key, known, n=1)
    hint = f" Did you mean {f'{path}.{near[0]}'!r}?" if near else ""
    return f"{path}.{key}: no such setting{of}.{hint} Allowed: {', '.join(known) or 'none'}."


def _bad_class(path: str, class_path: str, block: list[tuple[int, str]]) -> str:
    at = next(i for i, (_, text) in enumerate(block) if _CLASS.search(text))
    reasons = [text for indent, text in block[at + 1 :] if indent > block[at][0]]
    reason = reasons[0] if reasons else "it cannot be imported"
    if found := _MISSING.search(reason):
        return f"{path}: {class_path} needs {found['keys']}, and it is missing."
    return f"{path}: class path {class_path!r} cannot be used: {reason}."


def _bad_value(path: str, block: list[str]) -> str:
    given = [m["value"] for text in block if (m := _GIVEN.search(text))]
    types = [_plain(m["type"]) for text in block if (m := _EXPECTED.search(text))]
    base = _base_class(block)
    if base:
        types = [f"the dotted class path of a {base}", *types]
    allowed = [t for t in dict.fromkeys(types) if not t.startswith(("path but", "dot import"))]
    if not given and (found := _UNLOADABLE.search("\n".join(block))):
        return f"{path}: {found['value']!r} given; allowed: a mapping of settings."
    if not given or not allowed:
        return f"{path}: " + " ".join(" ".join(block[1:] or block).split())
    value = given[-1]
    if nested := _NESTED.search(value):
        path, value = f"{path}.{nested['key']}", nested["value"]
    quoted = value if value[:1] in "\"'[{" and value else repr(value)
    return f"{path}: {quoted} given; allowed: {' or '.join(allowed)}."


def _base_class(block: list[str]) -> str:
    """The class of which a value was to name a subclass, if that is what went wrong."""
    text = "\n".join(block)
    if found := _SUBCLASS.search(text):
        return found["base"]
    if "import path" in text and (found := re.search(r"Subtypes: \[<class '[\w.]*?(\w+)'>", text)):
        return found[1]
    return ""


def _plain(name: str) -> str:
    name = re.sub(r"<class '(?:[\w]+\.)*(\w+)'>", r"\1", name)
    name = name.replace("typing.", "").replace("NoneType", "null")
    return re.sub(r"^Literal\[(.*)\]$", r"\1", name)
