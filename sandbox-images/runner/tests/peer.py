"""A scripted peer: plays the daemon's side of the runner channel against a real interpreter."""
import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from multiprocessing.pool import ThreadPool

HERE = os.path.dirname(os.path.abspath(__file__))
PARTS = os.path.join(os.path.dirname(HERE), "brig_runner")
STARTED, COMPILED, VALUE, EXCEPTION, TROUBLE = 0x81, 0x82, 0x83, 0x84, 0x85
FILE, CODE, COMPILE_ONLY = 0, 1, 2


def part(name):
    with open(os.path.join(PARTS, name), "rb") as file:
        return file.read()


def interpreters():
    """This CPython, those of BRIG_PYTHONS, or, for `all`, every one from 3.8 that this machine has."""
    wanted = os.environ.get("BRIG_PYTHONS", sys.executable)
    if wanted != "all":
        return wanted.split(":")
    places = ["/usr/bin", "/usr/local/bin"]
    pyenv = os.path.expanduser("~/.pyenv/versions")
    if os.path.isdir(pyenv):
        places += [os.path.join(pyenv, name, "bin") for name in sorted(os.listdir(pyenv))]
    found = []
    for place in places:
        for name in ["python3"] + ["python3.%d" % minor for minor in range(8, 20)]:
            path = os.path.join(place, name)
            if os.path.exists(path) and os.path.realpath(path) not in [os.path.realpath(other) for other in found]:
                version = subprocess.run([path, "-c", "import sys; print(sys.version_info >= (3, 8))"],
                                         stdout=subprocess.PIPE).stdout
                if version.strip() == b"True":
                    found.append(path)
    return found


def frame(kind, payload):
    return struct.pack("<IB", len(payload), kind) + payload


def text(data):
    return struct.pack("<I", len(data)) + data


def runner_frame(magic=b"\0\0\0\0", runner=b"", report=b""):
    bodies = [runner, part("runner.py"), report, part("report.py")]
    return frame(1, magic + b"".join(struct.pack("<I", len(body)) for body in bodies) + b"".join(bodies))


def job_frame(mode, name, args, source, value_max=65536):
    head = struct.pack("<BI", mode, value_max) + text(name.encode())
    args = struct.pack("<I", len(args)) + b"".join(text(arg.encode()) for arg in args)
    return frame(2, head + args + text(source))


def frames(data):
    told = []
    while data:
        length, kind = struct.unpack("<IB", data[:5])
        told.append((kind, data[5:5 + length]))
        assert len(told[-1][1]) == length, "a frame was cut off"
        data = data[5 + length:]
    return told


class Run:
    """What a program did: stdout, stderr, code (as subprocess tells it), told (frames)."""

    def __init__(self, out, err, code, told=()):
        self.out, self.err, self.code = out, err, code
        self.told = list(told)

    def of(self, kind):
        return [payload for other, payload in self.told if other == kind]

    def same(self):
        return self.out, self.err, self.code


def runner_descriptors(job, answers):
    """In the child: the pipes become 3 and 4, whatever numbers they have here."""
    for target, source in enumerate([fcntl.fcntl(fd, fcntl.F_DUPFD, 16) for fd in (job, answers)], 3):
        os.dup2(source, target)


class Interpreter:
    def __init__(self, path):
        self.path = path
        self.home = tempfile.mkdtemp(prefix="brig-runner-")
        version = "import sys; print('%d.%d' % sys.version_info[:2])"
        self.version = tuple(map(int, self.plain(["-c", version]).out.split(b".")))
        self.compiled = runner_frame()
        (_, payload), = self.start(COMPILE_ONLY, "", [], b"").told
        magic, rest = payload[:4], payload[4:]
        length, = struct.unpack("<I", rest[:4])
        runner, rest = rest[4:4 + length], rest[4 + length:]
        length, = struct.unpack("<I", rest[:4])
        self.compiled = runner_frame(magic, runner, rest[4:4 + length])

    def close(self):
        shutil.rmtree(self.home)

    def place(self):
        return tempfile.mkdtemp(dir=self.home)

    def environment(self, more=None):
        env = {"PATH": "/usr/bin:/bin", "HOME": self.home, "LANG": "C.UTF-8"}
        env.update(more or {})
        return env

    def plain(self, args, stdin=b"", cwd=None, env=None):
        done = subprocess.run([self.path] + args, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              cwd=cwd or self.home, env=self.environment(env), timeout=60)
        return Run(done.stdout, done.stderr, done.returncode)

    def start(self, mode, name, args, source, stdin=b"", cwd=None, env=None, runner=None, value_max=65536):
        job, ours = os.pipe()
        told, theirs = os.pipe()
        process = subprocess.Popen([self.path, "-c", part("boot.py").decode()], cwd=cwd or self.home,
                                   env=self.environment(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, pass_fds=(3, 4),
                                   preexec_fn=lambda: runner_descriptors(job, theirs))
        os.close(job)
        os.close(theirs)
        data = (runner or self.compiled) + job_frame(mode, name, args, source, value_max)
        with contextlib.suppress(BrokenPipeError), open(ours, "wb", buffering=0) as opening:
            opening.write(data)
        with open(told, "rb") as answers, ThreadPool(1) as reader:
            heard = reader.apply_async(answers.read)
            out, err = process.communicate(stdin, timeout=60)
            heard = heard.get(20)
        return Run(out, err, process.returncode, frames(heard))

    def both(self, source, args=(), stdin=b"", mode=FILE, files=None, env=None):
        """The same program under plain CPython and under the runner, in the same directory."""
        cwd = self.place()
        for name, content in (files or {}).items():
            with open(os.path.join(cwd, name), "w") as file:
                file.write(content)
        source = source.encode() if isinstance(source, str) else source
        if mode == FILE:
            with open(os.path.join(cwd, "main.py"), "wb") as file:
                file.write(source)
            plain = self.plain(["main.py", *args], stdin, cwd, env)
        else:
            plain = self.plain(["-c", source.decode(), *args], stdin, cwd, env)
        ours = self.start(mode, "main.py" if mode == FILE else "", list(args), source, stdin, cwd, env)
        return plain, ours


def exception(payload):
    """The fields of an EXCEPTION frame: importing, name, message, traceback, frames."""
    at = 0

    def number():
        nonlocal at
        at += 4
        return struct.unpack("<I", payload[at - 4:at])[0]

    def field():
        nonlocal at
        length = number()
        at += length
        return payload[at - length:at].decode()

    importing, name, message, traceback = field(), field(), field(), field()
    places = [(number(), field(), field()) for _ in range(number())]
    assert at == len(payload)
    return importing, name, message, traceback, places
