"""The rules that conftest sets for every test are themselves kept to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deadline import wait_until

STRICT, LENIENT = {"CI": "", "FASTQ_STRICT": "1"}, {"CI": "", "FASTQ_STRICT": ""}


SKIPPING = {
    "test_marked": "import pytest\n@pytest.mark.skip\ndef test_it(): pass",
    "test_called": "import pytest\ndef test_it(): pytest.skip('no server')",
    "test_module": "import pytest\npytest.skip('not here', allow_module_level=True)",
    "test_absent": "import pytest\npytest.importorskip('no_such_module')\ndef test_it(): pass",
    "test_xfail": "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False",
}


@pytest.fixture
def under_our_rules(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Run test files under this conftest, in a process of its own; returns the outcome."""
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text())

    def outcome(files: dict[str, str], environment: dict[str, str]) -> pytest.RunResult:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        pytester.makepyfile(**files)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", "--continue-on-collection-errors", timeout=60)

    return outcome


def test_a_skip_of_any_kind_is_a_failure_where_rules_are_strict(under_our_rules):
    result = under_our_rules(SKIPPING, STRICT)
    result.assert_outcomes(failed=2, errors=3)
    assert str(result.stdout).count("no test may be skipped here") >= len(SKIPPING)


def test_a_skip_is_a_skip_elsewhere(under_our_rules):
    under_our_rules(SKIPPING, LENIENT).assert_outcomes(skipped=4, xfailed=1)


def test_a_test_that_leaves_a_child_fails_and_the_child_ends(under_our_rules):
    result = under_our_rules({"test_it": """
        import os, signal
        def test_leaves():
            if not os.fork():
                signal.pause()
        def test_clean():
            import pytest
            with pytest.raises(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
    """}, STRICT)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*left child processes behind*"])


def test_a_child_that_was_not_waited_for_counts_as_left(under_our_rules):
    result = under_our_rules({"test_it": """
        import os
        def test_leaves():
            pid = os.fork()
            if not pid:
                os._exit(0)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    """}, STRICT)
    result.assert_outcomes(passed=1, errors=1)


def test_an_orphan_is_found_at_the_end_of_the_run_and_named_with_its_test(under_our_rules):
    result = under_our_rules({"test_it": """
        import subprocess, sys
        def test_leaves_an_orphan():
            script = "import os, signal\\nif not os.fork(): os.setsid(); signal.pause()"
            subprocess.run([sys.executable, "-c", script], check=True)
    """}, STRICT)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*left orphans behind*test_leaves_an_orphan*"])


def test_a_test_starts_in_an_empty_folder(tmp_path):
    assert Path.cwd() == tmp_path
    assert not list(tmp_path.iterdir())


def test_waiting_ends_with_the_answer_or_with_what_was_awaited():
    answers = iter([0, None, "there"])
    assert wait_until(lambda: next(answers)) == "there"
    with pytest.raises(AssertionError, match="in vain for the server"):
        wait_until(lambda: False, 0.01, what="the server")
