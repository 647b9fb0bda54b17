"""Every source file keeps to the rules of tests/gates/source.py; and each gate is shown a file that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gates import source

ROOT = Path(__file__).resolve().parent.parent
GATES = [source.sizes, source.names, source.docstrings, source.leftovers, source.references, source.stubs,
         source.contracts, source.scripts]
Gate = Callable[[Path], Iterator[str]]


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.__name__)
def test_this_tree_passes(gate: Gate):
    assert list(gate(ROOT)) == []


@pytest.fixture
def found(tmp_path: Path):
    """Write files and show them to a gate."""

    def look(gate: Gate, files: dict[str, str]) -> list[str]:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return list(gate(tmp_path))

    return look


@pytest.mark.parametrize(("name", "limit"), [
    ("fastq/a.py", 500), ("ext/a.pyx", 1200), ("ext/a.pxd", 300), ("tests/test_a.py", 900),
])
def test_a_long_file_is_caught_at_its_limit(found, name, limit):
    assert found(source.sizes, {name: "x = 1\n" * limit}) == []
    assert found(source.sizes, {name: "x = 1\n" * (limit + 1)}) == [
        f"{name} has {limit + 1} lines, {limit} at most: split it by subject"]


LINES = "    x = 1\n"


@pytest.mark.parametrize(("name", "head"), [
    ("fastq/a.py", "def f():\n"), ("fastq/a.py", "async def f():\n"), ("ext/a.pyx", "cdef int f() except -1:\n"),
    ("ext/a.pyx", "def f(\n    a,\n    b,\n) -> int:\n"), ("ext/a.pxd", "cdef inline int* f(int n) noexcept nogil:\n"),
])
def test_a_long_function_is_caught_unless_it_tells_why(found, name, head):
    fitting, more = head + LINES * (80 - head.count("\n")), LINES + "\n\nX = 1\n"
    assert found(source.sizes, {name: fitting + "\n\nX = 1\n"}) == []
    assert found(source.sizes, {name: fitting + more}) == [f"{name}:1 f has 81 lines, 80 at most"]
    assert found(source.sizes, {name: "# long: one row per opcode\n" + fitting + more}) == []


def test_a_docstring_does_not_make_a_function_long(found):
    assert found(source.sizes, {"fastq/a.py": 'def f():\n    """' + "x\n" * 100 + '"""\n    return 1\n'}) == []


@pytest.mark.parametrize("name", ["fastq/app/utils.py", "fastq/common/a.py", "tests/helpers.py", "ext/misc.pyx",
                                  "fastq/wire/base.py", "fastq/worker/manager.py"])
def test_a_file_that_does_not_say_what_it_is_is_caught(found, name):
    assert "does not say what it is" in found(source.names, {name: ""})[0]


def test_a_seam_may_be_called_base(found):
    assert found(source.names, {"fastq/transport/base.py": "", "fastq/utils/log.py": ""}) == []


@pytest.mark.parametrize("name", ["maybe_send", "do_it", "_do_it", "process"])
def test_a_function_that_does_not_say_what_it_does_is_caught(found, name):
    text = f"def {name}(a):\n    pass\n"
    assert len(found(source.names, {"fastq/a.py": text, "ext/a.pyx": f"cdef int {text[4:]}"})) == 2


def test_a_module_that_does_not_say_what_it_is_for_is_caught(found):
    assert found(source.docstrings, {"fastq/a.py": "x = 1\n", "fastq/b.py": '"""Numbers."""\n'}) == [
        "fastq/a.py does not say at its top what lives there"]


@pytest.mark.parametrize("line", ["# TO" "DO: more", "x = 1  # FIX" "ME", "    raise Not" "ImplementedError"])
@pytest.mark.parametrize("name", ["fastq/a.py", "tests/test_a.py", "ext/a.pyx", "ext/a.pxd"])
def test_what_is_left_for_later_is_caught(found, name, line):
    assert len(found(source.leftovers, {name: line + "\n"})) == 1


def test_a_document_that_nobody_has_is_caught(found):
    files = {"docs/wire" ".md": "", "fastq/a.py": "# docs/wire" ".md\n", "ext/a.pyx": "# ELSEWHERE" ".md 3\n"}
    assert found(source.references, files) == ["ext/a.pyx:1 names ELSEWHERE" ".md, which is not here"]


def test_a_compiled_module_without_a_stub_is_caught_and_a_stub_without_a_module(found):
    assert found(source.stubs, {"ext/a.pyx": "", "fastq/_ext/b.pyi": ""}) == [
        "ext/a.pyx has no fastq/_ext/a.pyi", "fastq/_ext/b.pyi describes no ext/b.pyx"]


def test_a_header_with_the_name_of_a_module_is_caught(found):
    files = {"ext/a.pyx": "", "ext/a.pxd": "", "fastq/_ext/a.pyi": ""}
    assert found(source.stubs, files) == ["ext/a.pxd has the name of a .pyx"]


@pytest.mark.parametrize("declaration", [
    "cdef void f(int a):", "cdef inline int f() nogil:", "cdef int64_t f(const unsigned char* p,\n    size_t n) nogil:",
    "cpdef double f(x):", "cdef unsigned char* f():", "    cdef int f(self):", "cdef (int, int) f():",
    "cdef int f(int n) noexcept_not:",
])
def test_a_c_function_that_does_not_speak_of_exceptions_is_caught(found, declaration):
    text = f"{declaration}\n        pass\n"
    wrong = found(source.contracts, {"ext/a.pyx": text, "ext/b.pxd": text})
    assert len(wrong) == 2 and all("f says neither" in sentence for sentence in wrong)


@pytest.mark.parametrize("declaration", [
    "cdef void f(int a) noexcept:", "cdef inline int f() except -1 nogil:", "cdef int f(self) except? -1:",
    "cdef object f(x):", "cdef f(x):", "cdef bytes f(const char* p):", "cdef Buf f():", "def f(x):",
    "cdef int f(int a,\n    int b) noexcept nogil:", "cdef class A(B):", "cdef enum E:", "cdef int x = g(1)",
    'cdef extern from "a.h":\n    int f(int)', 'cdef extern from "a.h":\n    cdef int f(int a):',
    "cdef int f(int (*done)(int) noexcept) except -1:",
])
def test_a_c_function_that_speaks_of_exceptions_passes(found, declaration):
    assert found(source.contracts, {"ext/a.pyx": f"cdef class Buf:\n    pass\n\n{declaration}\n        pass\n"}) == []


def test_a_textual_constant_is_caught(found):
    assert "cdef enum" in found(source.contracts, {"ext/a.pyx": "DEF SIZE = 3\n"})[0]


@pytest.mark.parametrize(("body", "missing"), [
    ("return redis.call('GET', KEYS[1])\n", ["KEYS", "Returns"]),
    ("redis.call('PUBLISH', 'a', ARGV[1])\n", ["ARGV"]),
    ("local function f(a)\n  return a\nend\n", []),
])
def test_a_script_that_does_not_say_what_it_is_given_is_caught(found, body, missing):
    name = "fastq/lua/a.lua"
    assert found(source.scripts, {name: f"-- Says something.\n\n{body}"}) == [
        f"{name} does not say at its top: {word}" for word in missing]
    head = "".join(f"-- {word} and what it is\n" for word in missing)
    assert found(source.scripts, {name: f"-- Says something.\n--\n{head}\n{body}"}) == []


def test_a_long_line_of_a_script_is_caught(found):
    assert found(source.scripts, {"fastq/lua/a.lua": f"-- {'x' * 118}\n\nlocal a = 1 \n"}) == [
        f"fastq/lua/a.lua:{line} is longer than 120 signs, or ends in a blank" for line in (1, 3)]
