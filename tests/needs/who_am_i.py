# needs: getpid, getppid, gettid, getuid, geteuid, getgid, getegid, getresuid, getresgid, getgroups
# needs: getpgid, getpgrp, getsid
import os, threading
print(os.getpid() > 0, os.getppid() >= 0, threading.get_native_id() == os.getpid())
print(os.getuid(), os.geteuid(), os.getgid(), os.getegid(), os.getresuid(), os.getresgid(), os.getgroups())
print(os.getpgid(0) == os.getpgrp() >= 0, os.getsid(0) >= 0)
