"""Parts of the kernel with a record of holes, and none that a program needs."""
import ctypes
from verdicts import attempt, call

buffer = ctypes.create_string_buffer(256)
ctypes.memset(buffer, 0, 256)
perf = ctypes.create_string_buffer(bytes([1, 0, 0, 0, 112, 0, 0, 0]) + bytes(120), 128)
bpf = ctypes.create_string_buffer((2).to_bytes(4, "little") + (4).to_bytes(4, "little") + (8).to_bytes(4, "little") +
                                  (1).to_bytes(4, "little") + bytes(112), 128)
attempt("bpf", lambda: call("bpf", 0, bpf, 72))
attempt("perf_event_open", lambda: call("perf_event_open", perf, 0, -1, -1, 0))
attempt("userfaultfd", lambda: call("userfaultfd", 1))
attempt("io_uring_setup", lambda: call("io_uring_setup", 1, buffer))
attempt("fanotify_init", lambda: call("fanotify_init", 0, 0))
attempt("kcmp", lambda: call("kcmp", 1, 1, 0, 0, 0))
attempt("name_to_handle_at", lambda: call("name_to_handle_at", -100, "/tmp", (ctypes.c_int * 40)(128), ctypes.byref(ctypes.c_int()), 0))
attempt("personality", lambda: call("personality", 0x0040000))
attempt("syslog", lambda: call("syslog", 3, buffer, 256))
