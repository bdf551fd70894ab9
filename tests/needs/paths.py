# needs: access, readlink, mkdir, rmdir, unlink, rename, link, symlink, chmod, chown, chdir, getcwd, umask
import os
print(oct(os.umask(0o027)), os.getcwd())
os.mkdir("d")
os.chdir("d")
with open("a", "w") as file:
    file.write("x")
os.link("a", "b")
os.symlink("a", "c")
os.rename("b", "e")
os.chmod("a", 0o640)
os.chown("a", os.getuid(), os.getgid())
print(os.access("a", os.R_OK), os.readlink("c"), sorted(os.listdir(".")))
os.unlink("a")
os.chdir("..")
os.mkdir("f")
os.rmdir("f")
print(sorted(os.listdir("d")))
