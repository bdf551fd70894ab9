import bz2
import gzip
import io
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib

os.makedirs("tree/sub")
for n in range(5):
    with open(f"tree/sub/{n}.txt", "w") as out:
        out.write("content " * n)
for kind in ("zip", "gztar", "bztar", "xztar"):
    name = shutil.make_archive("packed-" + kind, kind, "tree")
    shutil.unpack_archive(name, "unpacked-" + kind)
    print(kind, sorted(os.listdir(f"unpacked-{kind}/sub")), open(f"unpacked-{kind}/sub/3.txt").read())
for module in (zlib, gzip, bz2, lzma):
    print(module.__name__, module.decompress(module.compress(b"data" * 1000)) == b"data" * 1000)
memory = io.BytesIO()
with zipfile.ZipFile(memory, "w") as archive:
    archive.writestr("a/b.txt", "in memory")
print(zipfile.ZipFile(memory).read("a/b.txt"))
print(tarfile.is_tarfile("packed-gztar.tar.gz"))
