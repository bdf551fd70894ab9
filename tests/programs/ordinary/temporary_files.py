import fcntl
import mmap
import os
import tempfile

with tempfile.TemporaryDirectory() as directory:
    path = os.path.join(directory, "file")
    with open(path, "wb+") as file:
        file.write(b"0" * 8192)
        file.flush()
        with mmap.mmap(file.fileno(), 8192) as view:
            view[:5] = b"hello"
        file.seek(0)
        print(file.read(5))
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX)
        os.truncate(path, 100)
        print(os.stat(path).st_size)
    os.mkfifo(os.path.join(directory, "fifo"))
    if os.fork() == 0:
        with open(os.path.join(directory, "fifo"), "w") as out:
            out.write("through a fifo")
        os._exit(0)
    print(open(os.path.join(directory, "fifo")).read())
    os.wait()
    os.symlink("file", os.path.join(directory, "link"))
    os.rename(path, path + "2")
    print(sorted(os.listdir(directory)), os.path.exists(os.path.join(directory, "link")))
    os.utime(path + "2", (1, 1))
    os.chmod(path + "2", 0o640)
    print(oct(os.stat(path + "2").st_mode), os.stat(path + "2").st_mtime)
with tempfile.NamedTemporaryFile() as named, tempfile.SpooledTemporaryFile() as spooled:
    spooled.write(b"x")
    print(os.path.exists(named.name))
print(os.path.exists(directory))
