"""Mounts, unmounts, pivots and changes the root, by the old calls and the new ones."""
import os
from verdicts import attempt, call

os.makedirs("m", exist_ok=True)
AT_FDCWD = -100
attempt("mount tmpfs", lambda: call("mount", "none", "m", "tmpfs", 0, ""))
attempt("mount bind", lambda: call("mount", "/", "m", "none", 4096, ""))
attempt("mount proc", lambda: call("mount", "proc", "m", "proc", 0, ""))
attempt("remount root", lambda: call("mount", "none", "/", "none", 32 | 4096, ""))
attempt("umount", lambda: call("umount2", "/tmp" if os.path.ismount("/tmp") else "m", 2))
attempt("fsopen", lambda: call("fsopen", "tmpfs", 0))
attempt("open_tree", lambda: call("open_tree", AT_FDCWD, "/", 1))
attempt("mount_setattr", lambda: call("mount_setattr", AT_FDCWD, "m", 0, bytes(32), 32))
attempt("move_mount", lambda: call("move_mount", AT_FDCWD, "m", AT_FDCWD, "/tmp", 0))
attempt("chroot", lambda: call("chroot", "m"))
attempt("pivot_root", lambda: call("pivot_root", ".", "."))
