# needs: mknodat/S_IFREG, mknodat/no type: a plain file
import os, stat
os.mknod("a", 0o600 | stat.S_IFREG)
os.mknod("b", 0o600)
print(sorted(os.listdir(".")))
