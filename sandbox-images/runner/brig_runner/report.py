"""The part of the runner that only some programs need: what they left behind, told within bounds.

Loaded by `runner.py` (its names are in `runner`). Everything here handles objects of the program: their `__repr__`,
`__str__` and attributes may raise, lie, print or never return. A limit of time or memory ends what never returns.
"""
import _io
import posix
import sys

MESSAGE_MAX = 16 * 1024
TRACEBACK_MAX = 64 * 1024
NAME_MAX = 1024
FRAMES_MAX = 64
# More elements than this, and a value is shown in part: the whole text could cost more memory than the program had.
WEIGHT_PER_BYTE = 4


def encode(text, limit):
    """UTF-8 of `text`, at most about `limit` bytes: head and tail kept, and a mark of what is missing."""
    data = text[:limit + 1].encode("utf-8", "backslashreplace")
    if len(text) <= limit and len(data) <= limit:
        return data
    data = text.encode("utf-8", "backslashreplace")
    half = max(limit // 2 - 32, 0)
    mark = "\n... %d bytes left out ...\n" % (len(data) - 2 * half)
    head = data[:half].decode("utf-8", "ignore").encode()
    tail = data[len(data) - half:].decode("utf-8", "ignore").encode()
    return head + mark.encode() + tail


def sized(data):
    return len(data).to_bytes(4, "little") + data


def send_compiled(channel):
    """The runner's own code in this interpreter's form. Asked for only of a cell that is given nothing else, so that
    no program can have had a hand in it."""
    import marshal
    parts = []
    for index in (1, 3):
        parts.append(marshal.dumps(compile(runner["runner_part"](index), "<brig>", "exec", 0, True, 2)))
    version = sys.version.partition(" ")[0].encode()
    payload = runner["MAGIC"] + sized(parts[0]) + sized(parts[1]) + version
    channel.send(runner["COMPILED"], payload)


def trouble(channel, name, error):
    """The program could not even be put into place."""
    text = "brig: cannot write /workspace/%s: %s" % (name, error.strerror)
    channel.send(runner["TROUBLE"], encode(text, MESSAGE_MAX))
    try:
        posix.write(2, encode(text + "\n", MESSAGE_MAX))
    except OSError:
        pass
    raise SystemExit(runner["TROUBLE_EXIT"])


# --- the last value ---------------------------------------------------------------------------------------------

def heavy(value, limit):
    """Whether the text of nested built-in containers would be much longer than `limit`. Needs no text to know."""
    weight, todo = 0, [value]
    while todo:
        item = todo.pop()
        kind = type(item)
        if kind in (str, bytes, bytearray):
            weight += len(item)
        elif kind is int:
            weight += item.bit_length() // 3
        elif kind in (list, tuple, set, frozenset, dict):
            weight += 2 * len(item)
            if weight > limit:
                return True
            todo.extend(item)
            if kind is dict:
                todo.extend(item.values())
        weight += 4
        if weight > limit:
            return True
    return False


def shown_in_part(value, limit, depth=0):
    """The beginning of a heavy value, in Python's notation as far as it goes."""
    kind = type(value)
    if kind in (str, bytes, bytearray) and len(value) > limit:
        return repr(value[:limit]) + "..."
    if kind is int and value.bit_length() > 3 * limit:
        return "<int of %d bits>" % value.bit_length()
    if kind not in (list, tuple, set, frozenset, dict) or not value:
        return repr(value)
    if depth > 8:
        return "..."
    signs = {list: "[]", tuple: "()", set: "{}", frozenset: "{}", dict: "{}"}[kind]
    parts, room = [], limit
    for item in value:
        part = shown_in_part(item, room, depth + 1)
        if kind is dict:
            part += ": " + shown_in_part(value[item], max(room - len(part), 16), depth + 1)
        parts.append(part)
        room -= len(part) + 2
        if room < 16:
            parts.append("...")
            break
    return signs[0] + ", ".join(parts) + signs[1]


def value(channel, value, limit):
    """Tells `repr` of the last expression's value."""
    cut = b"\0"
    try:
        if heavy(value, WEIGHT_PER_BYTE * limit):
            text, cut = shown_in_part(value, limit), b"\1"
        else:
            text = repr(value)
        data = encode(text, limit)
        if len(text) > limit or len(data) > limit:
            cut = b"\1"
    except BaseException as error:
        data = encode("<repr of %s raised %s>" % (type_name(type(value)), type_name(type(error))), limit)
    channel.send(runner["VALUE"], cut + data)


# --- an uncaught exception --------------------------------------------------------------------------------------

def type_name(kind):
    """`ValueError`, `module.Class`."""
    name, module = kind.__qualname__, kind.__module__
    return name if module in ("builtins", "__main__") else "%s.%s" % (module, name)


def message_of(error):
    try:
        return str(error)
    except BaseException:
        return "<exception str() failed>"


def places_of_others():
    """Where files lie that are not the user's: the interpreter's own and installed packages."""
    places = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    return tuple(place.rstrip("/") + "/" for place in places if place and place != "/")


def frames_of(trace):
    """(line, file, function) of the user's own frames, outermost first; the middle of a long list is left out."""
    others = places_of_others()
    first, last, seen = [], [], 0
    while trace is not None:
        code = trace.tb_frame.f_code
        file = code.co_filename
        if not file.startswith(("<frozen ", "<brig>")) and not file.startswith(others):
            seen += 1
            (first if seen <= FRAMES_MAX // 2 else last).append((trace.tb_lineno or 0, file, code.co_name))
            del last[:-(FRAMES_MAX // 2)]
        trace = trace.tb_next
    return first + last


def import_in(error, trace):
    """The module whose import raised this, outermost; empty where no import did."""
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            name = frame.f_locals.get("name")
            if isinstance(name, str):
                return name
        trace = trace.tb_next
    if isinstance(error, ImportError) and isinstance(error.name, str):
        return error.name
    return ""


def without_runner(trace):
    """CPython's traceback would begin with the program's first frame."""
    while trace is not None and trace.tb_frame.f_code.co_filename == "<brig>":
        trace = trace.tb_next
    return trace


def printed(error, trace):
    """What CPython prints about it, as text."""
    stderr, sys.stderr = sys.stderr, _io.StringIO()
    try:
        sys.__excepthook__(type(error), error, trace)
        return sys.stderr.getvalue()
    except BaseException:
        return ""
    finally:
        sys.stderr = stderr


def call_hook(hook, error, trace):
    """The program's own sys.excepthook, called as CPython calls it."""
    try:
        hook(type(error), error, trace)
    except SystemExit as wanted:
        return wanted
    except BaseException as second:
        inner = second.__traceback__.tb_next
        write_error("Error in sys.excepthook:\n" + printed(second.with_traceback(inner), inner))
        write_error("\nOriginal exception was:\n" + printed(error, trace))
    return None


def write_error(text):
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except BaseException:
        pass


def print_exception(error, trace, text):
    """Prints it as CPython would, and returns a SystemExit that the program's own hook asked for."""
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    hook = getattr(sys, "excepthook", None)
    sys.audit("sys.excepthook", hook, type(error), error, trace)
    if hook is sys.__excepthook__:
        write_error(text)
        return None
    if hook is None:
        write_error("sys.excepthook is missing\n" + text)
        return None
    return call_hook(hook, error, trace)


def exception(channel, error):
    """Prints an uncaught exception, tells it, and returns what the interpreter is to be ended with."""
    trace = without_runner(error.__traceback__)
    error.__traceback__ = trace
    runner["flush"]()
    text = printed(error, trace)
    if channel.open():
        channel.send(runner["EXCEPTION"], described(error, trace, text))
    wanted = print_exception(error, trace, text)
    if wanted is not None:
        return wanted
    if isinstance(error, KeyboardInterrupt):
        return silenced(error)
    return SystemExit(1)


def silenced(error):
    """A KeyboardInterrupt must reach the interpreter itself: it ends the process with SIGINT, after the usual
    clean-up. It was printed already."""
    hook = sys.excepthook

    def once(*_):
        sys.excepthook = hook

    sys.excepthook = once
    return error


def described(error, trace, text):
    """The payload of an EXCEPTION frame."""
    module = import_in(error, trace)
    frames = frames_of(trace)
    parts = [
        sized(encode(module, NAME_MAX)),
        sized(encode(type_name(type(error)), NAME_MAX)),
        sized(encode(message_of(error), MESSAGE_MAX)),
        sized(encode(text, TRACEBACK_MAX)),
        len(frames).to_bytes(4, "little"),
    ]
    for line, file, function in frames:
        parts.append(line.to_bytes(4, "little"))
        parts.append(sized(encode(file, NAME_MAX)))
        parts.append(sized(encode(function, NAME_MAX)))
    return b"".join(parts)
