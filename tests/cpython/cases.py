"""Runs modules of CPython's own tests and writes down how each test case ended, one JSON object a line.

    cases.py FILE MODULE..

Modules that the distribution does not pack are looked for in the directory `more` beside this file.

A case is written down when it starts and when it ends, so that one which takes the interpreter with it is known.
Only the standard library: this runs inside a cell and outside of it.
"""

import json
import os
import signal
import sys
import tempfile
import unittest


class Record(unittest.TestResult):
    """How each case ended; the first word about a case that is not `passed` stays."""

    def __init__(self, lines, module):
        super().__init__()
        self.lines = lines
        self.module = module
        self.ended = {}

    def write(self, case, outcome, detail=""):
        line = {"module": self.module, "case": case, "outcome": outcome, "detail": detail}
        self.lines.write(json.dumps(line) + "\n")
        self.lines.flush()

    def note(self, test, outcome, detail=""):
        if outcome != "passed" or test.id() not in self.ended:
            self.ended.setdefault(test.id(), (outcome, detail))

    def startTest(self, test):
        super().startTest(test)
        self.write(test.id(), "started")

    def stopTest(self, test):
        super().stopTest(test)
        self.write(test.id(), *self.ended.get(test.id(), ("passed", "")))

    def addSuccess(self, test):
        self.note(test, "passed")

    def addSkip(self, test, reason):
        self.note(test, "skipped", reason)
        if not isinstance(test, unittest.TestCase):  # a whole class or module: there is no stopTest
            self.write(test.id(), "skipped", reason)

    def addFailure(self, test, error):
        self.failed(test, "failed", error)

    def addError(self, test, error):
        self.failed(test, "failed", error)

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.failed(test, "failed", error)

    def addExpectedFailure(self, test, error):
        self.note(test, "expected failure")

    def addUnexpectedSuccess(self, test):
        self.note(test, "unexpected success")

    def failed(self, test, outcome, error):
        detail = self._exc_info_to_string(error, test)
        self.note(test, outcome, detail)
        if not isinstance(test, unittest.TestCase):
            self.write(test.id(), outcome, detail)


MORE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "more")


def names_of(name):
    """A package of the standard library loads its modules itself; from elsewhere it would refuse to."""
    package = os.path.join(MORE, name)
    if not os.path.isdir(package):
        return ["test." + name]
    files = sorted(file for file in os.listdir(package) if file.startswith("test_") and file.endswith(".py"))
    return [f"test.{name}.{file[:-3]}" for file in files]


def run(name, lines):
    """All cases of one module, as `python3 -m test NAME` selects them: no resource that costs or leaves the machine."""
    record = Record(lines, name)
    record.write("", "started")
    try:
        suite = unittest.defaultTestLoader.loadTestsFromNames(names_of(name))
    except unittest.SkipTest as skip:
        record.write("", "skipped", str(skip))
        return
    suite.run(record)
    record.write("", "ended")


def main():
    from test import support
    from test.support import os_helper, threading_helper

    import test

    test.__path__.append(MORE)
    support.use_resources = []
    support.verbose = False
    # Who starts tests in the background ignores these, and so would everything below; in a cell nobody does.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    os_helper.can_symlink()
    place, names = os.path.abspath(sys.argv[1]), sys.argv[2:]
    with open(place, "w", encoding="utf-8") as lines:
        for name in names:
            with tempfile.TemporaryDirectory(prefix="cases-", ignore_cleanup_errors=True) as directory:
                os.chdir(directory)
                key = threading_helper.threading_setup()
                run(name, lines)
                threading_helper.threading_cleanup(*key)
                support.reap_children()
                os.chdir("/")


if __name__ == "__main__":
    main()
