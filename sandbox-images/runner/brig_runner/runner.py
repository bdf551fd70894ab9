"""The part of the runner that every program needs: start it as `python3 FILE` or `python3 -c CODE` would.

It runs inside the cell, before and around untrusted code, so it is not trusted: what it tells is "reported by the
program". The boot line (`boot.py`, on argv) read the RUNNER frame from descriptor 3 and put two names here: `read`
(reads n bytes from descriptor 3) and `frame` (the RUNNER frame's payload).

Speed rules this file: it may use only what a bare interpreter has already loaded. Importing ast, json or traceback
costs 3 to 6 ms each, half of an interpreter's start. What is needed only sometimes is in `report.py`.

Frames, both ways: u32 little-endian length of the payload, u8 type, payload. Their layout is written down in
`brig-backend/src/runner/frame.rs`.
"""
import posix
import sys

# Types of frames.
STARTED, COMPILED, VALUE, EXCEPTION, TROUBLE = 0x81, 0x82, 0x83, 0x84, 0x85
# Modes of a job.
FILE, CODE, COMPILE_ONLY = 0, 1, 2
# Programs longer than this are run without looking for a last value: their syntax tree would cost more memory
# than the program itself.
VALUE_SOURCE_MAX = 512 * 1024
# The descriptor that answers move to: programs expect that 3 is the first free one.
CHANNEL = 250
# Python frames between the interpreter and the program: the boot line and `run`. The recursion limit grows by
# as many, so that a program can go as deep as it could without them. Before 3.12 `exec` itself counts, too.
EXTRA_FRAMES = 2 if sys.version_info >= (3, 12) else 3
# Exit code when the runner itself cannot go on.
TROUBLE_EXIT = 125

MAGIC = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER


def number(data):
    return int.from_bytes(data, "little")


def runner_part(index):
    """The parts of the RUNNER frame: 0 compiled runner, 1 its source, 2 compiled report, 3 its source."""
    at = 20
    for before in range(index):
        at += number(frame[4 + 4 * before:8 + 4 * before])
    return frame[at:at + number(frame[4 + 4 * index:8 + 4 * index])]


def report():
    """The names of `report.py`, loaded when they are needed."""
    names = {"__name__": "brig_runner_report", "runner": globals()}
    compiled = runner_part(2) if frame[:4] == MAGIC else b""
    if compiled:
        import marshal
        code = marshal.loads(compiled)
    else:
        code = compile(runner_part(3), "<brig>", "exec", 0, True)
    exec(code, names)
    return names


class Channel:
    """The sending half. Silent when the program closed it, replaced it, or is a fork of the one we started."""

    def __init__(self):
        self.fd = 4
        try:
            self.fd = posix.dup2(4, CHANNEL, False)
            posix.close(4)
        except OSError:
            # The limit of open files is lower than that: stay where we are.
            posix.set_inheritable(4, False)
        self.identity = self._identity()
        self.pid = posix.getpid()

    def _identity(self):
        status = posix.fstat(self.fd)
        return status.st_dev, status.st_ino

    def open(self):
        """Whether this process may still send: a descriptor of the program's own must never be written to."""
        try:
            return posix.getpid() == self.pid and self._identity() == self.identity
        except OSError:
            return False

    def send(self, kind, payload):
        if not self.open():
            return
        data = len(payload).to_bytes(4, "little") + bytes((kind,)) + payload
        try:
            while data:
                data = data[posix.write(self.fd, data):]
        except OSError:
            pass


class Job:
    """The JOB frame: u8 mode, u32 most bytes of a value, name, count of arguments, arguments, source;
    each of these texts with a u32 length before it."""

    def __init__(self, data):
        self.mode = data[0]
        self.value_max = number(data[1:5])
        at = 5

        def text():
            nonlocal at
            length = number(data[at:at + 4])
            at += 4 + length
            return data[at - length:at]

        self.name = text().decode("utf-8", "surrogateescape")
        count = number(data[at:at + 4])
        at += 4
        self.args = [text().decode("utf-8", "surrogateescape") for _ in range(count)]
        # As `python3 -c` does: an unterminated last line is told as such.
        self.source = text() + (b"\n" if self.mode == CODE else b"")


def write_file(name, data):
    """Puts the program where its tracebacks, its imports and its own `open` will look for it."""
    parts = name.split("/")[:-1]
    for depth in range(len(parts)):
        try:
            posix.mkdir("/".join(parts[:depth + 1]))
        except FileExistsError:
            pass
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC | posix.O_NOFOLLOW
    fd = posix.open(name, flags, 0o666)
    try:
        while data:
            data = data[posix.write(fd, data):]
    finally:
        posix.close(fd)


def translate(source, file):
    """The program as code, and its last expression as code of its own (None where it has none)."""
    if len(source) > VALUE_SOURCE_MAX:
        return compile(source, file, "exec", 0, True), None
    try:
        tree = compile(source, file, "exec", 0x400, True)
        body = tree.body
        only = getattr(body[0], "value", None) if len(body) == 1 else None
        docstring = type(getattr(only, "value", None)) is str
        if not body or docstring or type(body[-1]).__name__ != "Expr":
            return compile(tree, file, "exec", 0, True), None
        import _ast
        last = _ast.Expression(body.pop().value)
        return compile(tree, file, "exec", 0, True), compile(last, file, "eval", 0, True)
    except (RecursionError, MemoryError, ValueError):
        # The tree of a deeply nested program cannot be built, the program itself may be.
        return compile(source, file, "exec", 0, True), None


def ends_with_print(source):
    """Whether the last statement certainly is one call of print: then there is no value to tell.

    Worth knowing because every call of `compile` makes CPython build its classes of syntax trees first, 0.5 ms; `exec`
    of text does not.
    """
    lines = source.rstrip().rsplit(b"\n", 2)
    last = lines[-1]
    if last[:6] != b"print(" or len(lines) > 1 and lines[-2].rstrip().endswith(b"\\"):
        return False
    import _warnings
    silence = ("ignore", None, Warning, None, 0)
    _warnings.filters.insert(0, silence)
    try:
        # Compiled, never executed. A class statement takes exactly what one call takes between its parentheses, so
        # a line that passes is whole and is nothing but this call.
        exec(b"if 0:\n class _" + last[5:] + b":pass", {})
        return True
    except Exception:
        return False
    finally:
        _warnings.filters.remove(silence)


def prepare_main(job):
    """Makes `__main__`, sys.argv and sys.path what CPython makes them; returns the namespace and the file name."""
    names = sys.modules["__main__"].__dict__
    del names["_"]
    file = "<string>"
    if job.mode == FILE:
        file = job.name
        if sys.version_info >= (3, 9):
            file = posix.getcwd() + "/" + file
        loader = sys.modules["_frozen_importlib_external"].SourceFileLoader
        names["__file__"] = file
        names["__cached__"] = None
        names["__loader__"] = loader("__main__", file)
        if not getattr(sys.flags, "safe_path", False) and sys.path:
            sys.path[0] = (posix.getcwd() + "/" + job.name).rpartition("/")[0]
    how = [job.name] if job.mode == FILE else ["-c"]
    sys.argv[:] = how + job.args
    if hasattr(sys, "orig_argv"):
        if job.mode == CODE:
            how.append(job.source[:-1].decode("utf-8", "replace"))
        sys.orig_argv[1:] = how + job.args
    return names, file


def forget_boot_line():
    """Python 3.13 and newer show the lines of `-c` code in tracebacks. Returns whether they are kept by file name
    (3.13.0), by code object (later), or not at all."""
    linecache = sys.modules.get("linecache")
    if linecache is None:
        return None
    by_code = getattr(linecache, "_interactive_cache", None)
    if by_code is not None:
        by_code.clear()
        return "code"
    return "name" if linecache.cache.pop("<string>", None) is not None else None


def register_source(kept_by, job, codes):
    """The lines of the program's own `-c` code take the place of the boot line's."""
    if kept_by is None or job.mode != CODE:
        return
    keys = ["<string>"] if kept_by == "name" else [code for code in codes if code is not None]
    for key in keys:
        sys.modules["linecache"]._register_code(key, job.source.decode("utf-8", "replace"), "<string>")


def show_lines_at_once():
    """A terminal's behaviour: output is seen when it is printed, and survives a kill."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.reconfigure(line_buffering=True)
        except AttributeError:
            # A start-up file of the image put something of its own there, or there is none.
            pass


def flush():
    """As CPython does between the program's end and what it prints about it."""
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except BaseException:
            pass


def run():
    """The story: read the job, start the program, tell its value or its exception."""
    channel = Channel()
    job = Job(read(number(read(5)[:4])))
    posix.close(3)
    if job.mode == COMPILE_ONLY:
        return report()["send_compiled"](channel)
    try:
        if job.mode == FILE:
            write_file(job.name, job.source)
    except OSError as error:
        return report()["trouble"](channel, job.name, error)
    from_source = b"\0" if frame[:4] == MAGIC and runner_part(0) else b"\1"
    channel.send(STARTED, MAGIC + from_source + sys.version.partition(" ")[0].encode())
    names, file = prepare_main(job)
    show_lines_at_once()
    sys.setrecursionlimit(sys.getrecursionlimit() + EXTRA_FRAMES)
    failure = value = None
    try:
        kept_by = forget_boot_line()
        if job.mode == CODE and kept_by is None and ends_with_print(job.source):
            exec(job.source, names)
        else:
            code, last = translate(job.source, file)
            register_source(kept_by, job, (code, last))
            job.source = None
            exec(code, names)
            value = None if last is None else eval(last, names)
    except SystemExit:
        raise
    except BaseException as error:
        # Told below, outside: what the program's own hook raises must not get this as its context.
        failure = error
    if failure is not None:
        raise report()["exception"](channel, failure)
    flush()
    if value is not None and channel.open():
        report()["value"](channel, value, job.value_max)
