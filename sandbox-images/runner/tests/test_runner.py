"""Behaviour of the runner in the CPython that runs the tests, or in those of BRIG_PYTHONS (paths with colons, or `all`):
`python3 -m unittest discover -s sandbox-images/runner/tests -t sandbox-images/runner`.

Most checks run one program twice, plain and under the runner, and demand the same stdout, stderr and exit status.
"""
import re
import signal
import unittest

from .peer import CODE, COMPILED, EXCEPTION, FILE, STARTED, TROUBLE, VALUE, Interpreter, exception, interpreters
from .peer import runner_frame

INTERPRETERS = []


def setUpModule():
    INTERPRETERS.extend(Interpreter(path) for path in interpreters())
    assert INTERPRETERS, "no CPython of version 3.8 or newer was found"
    print("interpreters:", ", ".join("%d.%d" % python.version for python in INTERPRETERS), flush=True)


def tearDownModule():
    for python in INTERPRETERS:
        python.close()


SAME = {
    "prints": "print('hello')\nprint('wörld', end='')",
    "ends without a newline": "x = 1\nprint(x)",
    "empty": "",
    "only a comment": "# nothing",
    "ends with print": "import sys\nprint('a', *sys.argv, sep='-', end='!')",
    "fails in a print at the end": "x = 1\nprint(x, 1 / 0)",
    "warns in a print at the end": "print('\\d')",
    "depth reached before a print at the end": "def f(n):\n    try:\n        return f(n + 1)\n    except RecursionError:\n        return n\nx = f(0)\nprint(x)",
    "crlf": "print(1)\r\nprint(2)\r\n",
    "a docstring": '"""What it does."""\nprint(__doc__)',
    "only a docstring": '"""What it does."""',
    "latin-1 source": "# -*- coding: latin-1 -*-\nprint('\xe9')".encode("latin-1"),
    "exit none": "import sys; sys.exit()",
    "exit 3": "import sys; sys.exit(3)",
    "exit text": "import sys; sys.exit('bye')",
    "exit huge": "import sys; sys.exit(2**70)",
    "exit 300": "import sys; sys.exit(300)",
    "exit negative": "import sys; sys.exit(-1)",
    "exit false": "import sys; sys.exit(False)",
    "raise SystemExit tuple": "raise SystemExit(1, 2)",
    "exit in a function": "def f():\n    raise SystemExit(4)\nf()",
    "exit from the last expression": "import sys\nsys.exit(5)",
    "os._exit": "import os\nprint('x', flush=True)\nos._exit(6)",
    "abort": "import os\nos.abort()",
    "killed by itself": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
    "exception": "def f(x):\n    return 1 / x\n\nf(0)",
    "exception in an expression at the end": "d = {}\nd['missing']",
    "exception while the first ones are handled": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('k') from e",
    "exception with a context": "try:\n    1 / 0\nexcept ZeroDivisionError:\n    [][1]",
    "exception with a note of many lines": "raise ValueError('a\\nb\\n\\u1234')",
    "str raises": "class E(Exception):\n    def __str__(self):\n        raise TypeError('no')\nraise E",
    "own exception": "class Own(Exception):\n    pass\nraise Own('x', 1)",
    "base exception": "class Own(BaseException):\n    pass\nraise Own('x')",
    "deep recursion": "def f(n):\n    return f(n + 1)\nf(0)",
    "depth that can be reached": "def f(n):\n    try:\n        return f(n + 1)\n    except RecursionError:\n        return n\nprint(f(0))",
    "keyboard interrupt": "raise KeyboardInterrupt",
    "interrupted by a signal": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass",
    "interrupt and atexit": "import atexit\natexit.register(print, 'clean')\nraise KeyboardInterrupt",
    "atexit after an exception": "import atexit\natexit.register(print, 'clean')\n1 / 0",
    "exit in atexit": "import atexit, sys\natexit.register(sys.exit, 3)",
    "threads go on after the main code": "import threading, time\ndef f():\n    time.sleep(0.1)\n    print('late')\nthreading.Thread(target=f).start()\nprint('early')",
    "exception in a thread": "import threading\ndef f():\n    1 / 0\nt = threading.Thread(target=f, name='T')\nt.start()\nt.join()",
    "exit in a thread": "import threading, sys\nt = threading.Thread(target=sys.exit, args=(3,))\nt.start()\nt.join()\nprint('on')",
    "hook": "import sys\nsys.excepthook = lambda *a: print('hook', a[0].__name__, a[2].tb_lineno)\n1 / 0",
    "hook that raises": "import sys\ndef hook(*a):\n    raise KeyError('hook')\nsys.excepthook = hook\n1 / 0",
    "hook that exits": "import sys\ndef hook(*a):\n    sys.exit(9)\nsys.excepthook = hook\n1 / 0",
    "stderr closed": "import sys\nsys.stderr = None\n1 / 0",
    "stdout closed": "import sys\nprint('x')\nsys.stdout.close()",
    "stdout replaced": "import sys, io\nsys.stdout = io.StringIO()\nprint('lost')",
    "main module": "print(__name__, __spec__, __package__, __builtins__.__name__, type(__loader__).__name__)\nprint(sorted(globals()))",
    "arguments": "import sys\nprint(sys.argv, sys.path[0], __file__)",
    "original arguments": "import sys\nprint(getattr(sys, 'orig_argv', [0])[1:])",
    "flags": "import sys\nprint(sys.flags, sys.getrecursionlimit() // 10, sys.dont_write_bytecode)",
    "modules": "import sys\nprint(sorted(set(sys.modules) - {'linecache', '_ast'}))",
    "next free descriptor": "import os\nprint(os.open('/dev/null', os.O_RDONLY), sorted(map(int, os.listdir('/proc/self/fd')))[:5])",
    "closes everything": "import os\nos.closerange(3, 1000)\nf = open('own.txt', 'w')\nfs = [os.dup(f.fileno()) for _ in range(300)]\nf.write('x')\nf.flush()\n6 * 7\nprint(open('own.txt').read())",
    "source lines": "import inspect\ndef f():\n    return 1  # here\nprint(inspect.getsource(f))\nprint(inspect.getsourcefile(f) == __file__)",
    "pickles its own class": "import pickle\nclass A:\n    x = 1\nprint(pickle.loads(pickle.dumps(A())).x, A.__module__)",
    "annotations": "from __future__ import annotations\nx: int = 1\nprint(__annotations__)",
    "future division of names": "from __future__ import annotations\ndef f(a: undefined): pass\nprint(f.__annotations__)\nf",
    "input": "print('got', input('name? '))\nprint(input())",
    "input at the end": "input()\ninput()\ninput()",
    "reads all of stdin": "import sys\nprint(len(sys.stdin.read()))",
    "big output": "for i in range(20000): print('line', i)\nimport sys\nsys.stderr.write('e' * 100000)",
    "binary output": "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 10)",
    "fork": "import os\npid = os.fork()\nif pid == 0:\n    raise ValueError('child')\nos.waitpid(pid, 0)\nprint('parent')",
    "fork that ends as a program does": "import os, sys\npid = os.fork()\nif pid:\n    print(os.waitpid(pid, 0)[1] >> 8)\nelse:\n    sys.exit(7)",
    "exec": "import os, sys\nos.execv('/bin/echo', ['echo', 'other'])",
    "multiprocessing fork": "import multiprocessing as m\ndef f(x):\n    return x * x\nif __name__ == '__main__':\n    with m.get_context('fork').Pool(2) as p:\n        print(p.map(f, range(5)))",
    "multiprocessing spawn": "import multiprocessing as m\ndef f(x):\n    return x * x\nif __name__ == '__main__':\n    with m.get_context('spawn').Pool(2) as p:\n        print(p.map(f, range(5)))",
    "multiprocessing forkserver": "import multiprocessing as m\ndef f(x):\n    return x * x\nif __name__ == '__main__':\n    with m.get_context('forkserver').Pool(1) as p:\n        print(p.map(f, range(5)))",
    "subprocess": "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(1)'], capture_output=True).stdout)",
    "asyncio": "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    return 3\nprint(asyncio.run(main()))",
    "warnings": "import warnings\nwarnings.warn('careful')\nimport re\nx = '\\d'",
    "deprecated in main": "import warnings\nwarnings.warn('old', DeprecationWarning)",
    "comparison warning": "x = 1\nprint(x is 1)",
    "a sibling module": "import sibling\nprint(sibling.answer, sibling.__file__)",
    "a sibling that raises": "import broken",
    "data beside it": "print(open('data.txt').read())",
    "unraisable": "class A:\n    def __del__(self):\n        raise ValueError('del')\na = A()\ndel a",
    "del at the end": "class A:\n    def __del__(self):\n        print('del')\na = A()",
    "a signal handler": "import signal, os\nsignal.signal(signal.SIGUSR1, lambda *a: print('usr1'))\nos.kill(os.getpid(), signal.SIGUSR1)",
    "syntax error": "x = 1\nif x\n    pass\n",
    "syntax error inside": "def f():\n    return = 1\n\n",
    "indentation error": "def f():\nreturn 1\n",
    "tab error": "if 1:\n        a = 1\n\tb = 2\n",
    "return outside": "x = 1\nreturn x\n",
    "await outside": "await x\n",
    "assignment to a constant": "None = 1\n",
    "memory error": "raise MemoryError",
    "import error": "import no_such_module",
    "from import error": "from os import no_such_name",
    "a long sum": "print(" + "+".join(["1"] * 500) + ")",
}
FILES = {
    "sibling.py": "answer = 42\n",
    "broken.py": "import os\nraise RuntimeError('at import')\n",
    "data.txt": "beside",
}
STDIN = b"first\nsecond\n"
# In source from a string, CPython 3.8 and 3.9 place an error at the end of the source elsewhere than in a file.
NEWER_THAN_39 = {"syntax error at the end": "print(", "an open string": 'x = """abc\n'}
NEWER_THAN_310 = {
    "a group": "raise ExceptionGroup('two', [ValueError(1), KeyError('k')])",
    "notes": "e = ValueError('x')\ne.add_note('more')\nraise e",
    "carets": "x = {'a': {'b': None}}\nx['a']['b']['c']['d']",
}


def comparable(run):
    """Addresses of objects differ from run to run."""
    return run.out, re.sub(b"0x[0-9a-f]+", b"0x", run.err), run.code


class SameAsPlain(unittest.TestCase):
    def check(self, python, name, source, mode):
        where = "main.py" if mode == FILE else "-c"
        with self.subTest(python="%d.%d" % python.version, program=name, mode=where):
            plain, ours = python.both(source, ["a", "b c"], STDIN, mode, FILES)
            self.assertEqual(comparable(plain), comparable(ours))
            self.assertEqual(len(ours.of(STARTED)), 1)

    def test_files_and_code_behave_as_unsandboxed(self):
        for python in INTERPRETERS:
            programs = dict(SAME)
            if python.version > (3, 9):
                programs.update(NEWER_THAN_39)
            if python.version > (3, 10):
                programs.update(NEWER_THAN_310)
            for name, source in programs.items():
                self.check(python, name, source, FILE)
                # These need a file by their nature.
                if isinstance(source, str) and "__file__" not in source and "multiprocessing" not in name:
                    if name not in ("source lines", "latin-1 source") and "\r" not in source:
                        self.check(python, name, source, CODE)


class Told(unittest.TestCase):
    def each(self, source, mode=FILE, **more):
        for python in INTERPRETERS:
            with self.subTest(python="%d.%d" % python.version):
                yield python, python.start(mode, "main.py" if mode == FILE else "", [], source.encode(),
                                           cwd=python.place(), **more)

    def test_the_value_of_the_last_expression_is_told(self):
        cases = {
            "6 * 7": b"\x0042", "x = 1\nx + 1": b"\x002", "'a'": None, "x = 1\n'a'": b"\0'a'", "None": None,
            "x = 1": None, "def f(): pass": None, "print(1)": None, "[1, {2: (3,)}]": b"\0[1, {2: (3,)}]",
            "for x in [1]:\n    x": None, "(1,\n 2)": b"\0(1, 2)", "x = 5; x": b"\x005", "print(1) or 9": b"\x009",
            "x = 1\nprint(1), 2": b"\0(None, 2)", "x = (1,\nprint(2))\nx": b"\0(1, None)", "print(1) or (5)": b"\x005",
            "1 + \\\nprint(1) if 0 else 3": b"\x003", "print(x for x in [1])": None,
            "len('''\nprint(1)''')": b"\x009", "[\nprint(1)]": b"\0[None]",
            "{3, 3}  # a set": b"\0{3}", "'''a\n'''; 1": b"\x001", "\n\n1\n\n# end\n": b"\x001", "...": b"\0Ellipsis",
        }
        for source, expected in cases.items():
            for mode in (FILE, CODE):
                for _, run in self.each(source, mode):
                    with self.subTest(source=source):
                        self.assertEqual(run.of(VALUE), [] if expected is None else [expected])
                        self.assertEqual(run.code, 0)

    def test_a_value_is_bounded(self):
        for source in ("'x' * 10**7", "list(range(10**6))", "b'x' * 10**7", "[['y' * 1000] * 1000] * 100",
                       "{i: 'z' * 100 for i in range(10**5)}", "1 << 10**7", "x = []\nx.append(x)\nx"):
            for _, run in self.each(source):
                value, = run.of(VALUE)
                self.assertLessEqual(len(value), 65536 + 1)
                self.assertEqual(run.code, 0)

    def test_a_repr_that_misbehaves_is_survived(self):
        body = "class A:\n    def __repr__(self):\n        %s\nA()"
        for what in ("raise ValueError", "import sys; sys.exit(3)", "raise KeyboardInterrupt", "return self.__repr__()",
                     "return 3"):
            for _, run in self.each(body % what):
                value, = run.of(VALUE)
                self.assertIn(b"<repr of A raised", value)
                self.assertEqual(run.code, 0)

    def test_an_exception_is_told_with_the_users_frames_only(self):
        source = "import json\n\ndef load(x):\n    return json.loads(x)\n\nload('{')"
        for python, run in self.each(source):
            importing, name, message, traceback, places = exception(run.of(EXCEPTION)[0])
            self.assertEqual((importing, name), ("", "json.decoder.JSONDecodeError"))
            self.assertTrue(message.startswith("Expecting property name"))
            self.assertEqual([(line, function) for line, _, function in places], [(6, "<module>"), (4, "load")])
            self.assertIn("json/decoder.py", traceback)
            self.assertEqual(traceback.encode(), run.err)
            self.assertNotIn("<brig>", traceback)

    def test_an_import_that_fails_names_its_module(self):
        for source, module in (("import sibling_that_is_not", "sibling_that_is_not"), ("from os import nope", "os")):
            for _, run in self.each(source):
                self.assertEqual(exception(run.of(EXCEPTION)[0])[0], module)

    def test_many_frames_and_long_messages_are_bounded(self):
        for _, run in self.each("def f(n):\n    if n == 0: raise ValueError('m' * 10**6)\n    f(n - 1)\nf(500)"):
            _, name, message, traceback, places = exception(run.of(EXCEPTION)[0])
            self.assertLessEqual(len(message), 16 * 1024 + 64)
            self.assertLessEqual(len(traceback), 64 * 1024 + 64)
            self.assertEqual(len(places), 64)
            self.assertEqual((places[0][2], places[-1][2]), ("<module>", "f"))

    def test_a_syntax_error_is_told(self):
        for _, run in self.each("x = (\n1 2\n"):
            _, name, _, _, places = exception(run.of(EXCEPTION)[0])
            self.assertEqual((name, places), ("SyntaxError", []))

    def test_an_exit_is_no_exception(self):
        for _, run in self.each("import sys\nsys.exit(3)"):
            self.assertEqual((run.of(EXCEPTION), run.of(VALUE), run.code), ([], [], 3))

    def test_a_forked_child_tells_nothing(self):
        for _, run in self.each("import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nelse: 1 / 0\n'x'"):
            self.assertEqual(run.of(EXCEPTION), [])
            self.assertEqual(run.of(VALUE), [b"\0'x'"])

    def test_surrogates_and_control_characters_are_told_as_utf8(self):
        for _, run in self.each("raise ValueError('\\udcff \\x00')"):
            self.assertEqual(exception(run.of(EXCEPTION)[0])[2], "\\udcff \x00")

    def test_a_file_in_a_folder_is_written_and_found(self):
        for python in INTERPRETERS:
            run = python.start(FILE, "deep/er/main.py", ["x"], b"import sys\nprint(sys.argv, sys.path[0])",
                               cwd=python.place())
            self.assertTrue(run.out.endswith(b"deep/er\n"), run)
            self.assertTrue(run.out.startswith(b"['deep/er/main.py', 'x']"), run)

    def test_a_program_that_cannot_be_written_is_trouble(self):
        for python in INTERPRETERS:
            run = python.start(FILE, "x" * 300, [], b"1", cwd=python.place())
            self.assertEqual(run.code, 125)
            self.assertIn(b"cannot write /workspace/", run.of(TROUBLE)[0])
            self.assertIn(b"cannot write /workspace/", run.err)

    def test_another_interpreters_bytecode_is_not_used(self):
        for python in INTERPRETERS:
            run = python.start(CODE, "", [], b"6 * 7", runner=runner_frame(b"nope", b"garbage", b"garbage"))
            self.assertEqual(run.of(VALUE), [b"\x0042"])
            self.assertEqual(run.of(STARTED)[0][4:5], b"\1")
            run = python.start(CODE, "", [], b"6 * 7")
            self.assertEqual(run.of(STARTED)[0][4:5], b"\0")

    def test_output_is_seen_when_it_is_printed(self):
        for _, run in self.each("import os, signal\nprint('seen')\nos.kill(os.getpid(), signal.SIGKILL)"):
            self.assertEqual((run.out, run.code), (b"seen\n", -signal.SIGKILL))

    def test_a_big_program_runs_without_a_value(self):
        source = "x = 0\n" + "x += 1\n" * 100_000 + "x"
        for _, run in self.each(source):
            self.assertEqual((run.of(VALUE), run.code), ([], 0))

    def test_a_closed_channel_is_no_problem_of_the_program(self):
        for _, run in self.each("import os\nos.closerange(3, 1024)\nfiles = [open('f%d' % i, 'w') for i in range(300)]\n6 * 7"):
            self.assertEqual((run.of(VALUE), run.code), ([], 0))


if __name__ == "__main__":
    unittest.main()
