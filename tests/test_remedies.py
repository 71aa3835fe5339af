"""Each message that a user may get says what to do, by its form: behind what was found, `: do this` or `; do this`.

Walks the source, so that a message which no test provokes is seen too. What stands in a message only when it is made
(`{reason}`) was said elsewhere, and is judged there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("host", "plan", "hls", "quant", "sim", "bench", "edgesight")
BASE = "EdgeSightError"

# Behind what was found: a verb that tells a user to do something.
_DO = [
    "add",
    "allow",
    "answer",
    "apt-get",
    "ask",
    "attach",
    "build",
    "calibrate",
    "call",
    "change",
    "check",
    "chmod",
    "choose",
    "clone",
    "close",
    "compile",
    "connect",
    "convert",
    "copy",
    "correct",
    "cut",
    "declare",
    "delete",
    "divide",
    "drop",
    "end",
    "enroll",
    "export",
    "fetch",
    "fill",
    "flatten",
    "free",
    "give",
    "install",
    "join",
    "keep",
    "leave",
    "let",
    "load",
    "log",
    "look",
    "lower",
    "make",
    "list",
    "mend",
    "merge",
    "meter",
    "move",
    "name",
    "observe",
    "open",
    "pass",
    "pip",
    "plan",
    "plug",
    "power",
    "put",
    "quantise",
    "read",
    "rebuild",
    "remove",
    "rename",
    "repair",
    "replace",
    "report",
    "reset",
    "resize",
    "restart",
    "restore",
    "run",
    "save",
    "say",
    "see",
    "send",
    "serve",
    "set",
    "shorten",
    "sort",
    "source",
    "split",
    "start",
    "state",
    "take",
    "train",
    "try",
    "turn",
    "unpack",
    "use",
    "wait",
    "write",
]
_REMEDY = re.compile(
    rf"(?:^|[:;,.] |\(| or )(?:`|to |do not |then |first |better |please |elsewhere, )*(?:{'|'.join(_DO)})\b",
    re.IGNORECASE,
)
# "expected X" tells what to give; both sides of a link are one user's.
_EXPECTED = re.compile(r"\bexpected\b|both sides must run the same version")
_NAMES = ("remedy", "remedies", "advice", "again", "absent", "expected")  # so is called what says it, and is put in

# What another machine sent: it is counted and dropped, or answered by a status; no user gets it as an error.
_OF_THE_OTHER_SIDE = {"LinkError", "TooLittle", "NoAnswer", "Untrusted"}
_LINK = frozenset(
    f"host/{name}.py"
    for name in (
        "datacenter/service",
        "link/block_line",
        "link/client",
        "link/connection",
        "link/datagrams",
        "link/jpeg",
        "link/parity",
        "link/strips",
    )
)
# Messages, by how they begin, that go on inside another one, which says what to do.
_PASSED_ON = {
    "host/fabric/dma.py": ("the DMA stopped",),  # PynqFabric._explain
    "host/fabric/pynq.py": (
        "{} bytes of records came",
        "the kernel did not give each",
        "nothing moved for",
    ),
    "host/link/enrollment.py": ("{}; the token is still good",),  # another error, with its remedy
    "host/queries.py": ("this cannot be asked: {}",),  # what pydantic expected
    "hls/datacenter.py": ("the back end does not take {}: {}",),  # FormError, with its remedy
    "hls/network.py": ("{}{} problems:",),  # lists what `refuse` was given
    "plan/on_node.py": ("node {}: {}",),  # what was raised there, with its remedy
    "quant/foreign.py": (
        "{} with {}: {}",  # ModelError, with its remedy
        "{}, and who always says",  # ends with the mistakes that were tried
    ),
    "sim/link/engine.py": ("ip: ",),  # what `ip` said
    "sim/link/options.py": ("Mahimahi trace {}: {}", "rate trace {}: {}"),  # host/trace.py
    "sim/link/namespaces.py": ("no link between network namespaces: {}",),  # what is missing, and its remedy
}


def sources(root: Path = ROOT) -> dict[str, ast.Module]:
    """The hand-written Python of the rooms, by its path from `root`."""
    return {
        str(path.relative_to(root)): ast.parse(path.read_text())
        for room in ROOMS
        for path in sorted((root / room).rglob("*.py"))
        if not any(parent.is_symlink() for parent in path.parents if root in parent.parents)
    }


def _name(node: ast.expr | None) -> str | None:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def errors(modules: Iterable[ast.Module]) -> set[str]:
    """The base class of what a user can mend, and all that derive from it."""
    bases = {
        node.name: {_name(base) for base in node.bases}
        for module in modules
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef)
    }
    found = {BASE}
    while more := {name for name, of in bases.items() if of & found} - found:
        found |= more
    return found


def makers(modules: Iterable[ast.Module], of: set[str]) -> set[str]:
    """Functions that return an error, made of the reason that they are given."""
    return {
        node.name
        for module in modules
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef)
        and _name(node.returns) in of
        and "reason" in {argument.arg for argument in node.args.args}
    }


def constants(modules: Iterable[ast.Module]) -> dict[str, str]:
    """Texts that modules name."""
    return {
        target.id: node.value.value
        for module in modules
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def text(node: ast.expr, named: Mapping[str, str]) -> str | None:
    """A literal message, `{}` for what is put in, with the texts that are chosen between there; None if it is none."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.Name):
        return named.get(node.id)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (text(node.left, named) or "{}") + (text(node.right, named) or "{}")
    if not isinstance(node, ast.JoinedStr):
        return None
    return "".join(str(part.value) if isinstance(part, ast.Constant) else _put_in(part, named) for part in node.values)


def _put_in(part: ast.expr, named: Mapping[str, str]) -> str:
    assert isinstance(part, ast.FormattedValue)
    if isinstance(part.value, ast.Name) and part.value.id in named:
        return named[part.value.id]
    if isinstance(part.value, ast.BoolOp | ast.IfExp):
        inside = [node.value for node in ast.walk(part.value) if isinstance(node, ast.Constant)]
        return " ".join(value for value in inside if isinstance(value, str)) or "{}"
    names = {_name(node) or "" for node in ast.walk(part.value) if isinstance(node, ast.Name | ast.Attribute)}
    return "{remedy}" if any(name.endswith(_NAMES) for name in names) else "{}"


def says_what_to_do(message: str) -> bool:
    """Whether a message has a remedy by its form, or nothing of its own: then what is put in was judged elsewhere."""
    own = re.sub(r"\{\}", "", message)
    return (
        not re.search("[a-z]", own)
        or any(rule.search(message) for rule in (_REMEDY, _EXPECTED))
        or "{remedy}" in message
    )


def without_remedy(modules: Mapping[str, ast.Module]) -> Iterator[str]:
    """Each literal message of an error that does not say what to do, with file and line."""
    classes = errors(modules.values())
    calls = classes | makers(modules.values(), classes)
    named = constants(modules.values())
    for path, module in modules.items():
        for node in ast.walk(module):
            if not isinstance(node, ast.Call) or (called := _name(node.func)) not in calls or not node.args:
                continue
            message = text(node.args[0 if called in classes else -1], named)
            if message is None or says_what_to_do(message) or (path in _LINK and called in _OF_THE_OTHER_SIDE):
                continue
            if not message.startswith(_PASSED_ON.get(path, ("\0",))):
                yield f"{path}:{node.lineno}: {message}"


def test_each_message_says_what_to_do() -> None:
    assert not list(without_remedy(sources()))


def test_the_listed_exceptions_are_there() -> None:
    modules = sources()
    assert set(modules) >= _LINK
    for path, begins in _PASSED_ON.items():
        found = [
            message
            for node in ast.walk(modules[path])
            if isinstance(node, ast.Call) and node.args and (message := text(node.args[0], {})) is not None
        ]
        for begin in begins:
            assert any(message.startswith(begin) for message in found), f"{path}: {begin}"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('raise Mine("nothing is there")', True),
        ('raise Mine(f"{path}: cannot be read ({error.strerror})")', True),
        ('raise module.Mine("too many " + f"of {them}")', True),
        ('raise Mine(f"{what} is {number}; it must be {least}")', True),
        ('raise self.fault(name, f"{key} is missing")', True),
        ('raise Mine(f"{path}: cannot be read ({error}): name another")', False),
        ('raise Mine(f"{path}: {reason}")', False),
        ("raise Mine(str(error))", False),
        ("raise Mine(f\"it broke: {what or 'try again'}\")", False),
        ('raise Mine(f"it broke: {AGAIN}")', False),
        ('raise self.fault(name, f"{key} is missing: add it")', False),
        ('raise ValueError("nothing is there")', False),
    ],
)
def test_a_message_without_a_remedy_is_seen(line: str, told: bool) -> None:
    source = f"""
AGAIN = "try again"
class Base({BASE}): ...
class Mine(Base): ...
class File:
    def fault(self, name, reason) -> Mine: ...
    def read(self):
        {line}
"""
    assert bool(list(without_remedy({"a.py": ast.parse(source)}))) == told
