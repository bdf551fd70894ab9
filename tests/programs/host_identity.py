"""Host name, machine id, kernel log and kernel addresses."""
import os
import socket
from verdicts import attempt, call, saw

saw("hostname", socket.gethostname())
attempt("machine-id", lambda: open("/etc/machine-id").read().strip() or 1 / 0)
attempt("kernel log", lambda: call("syslog", 3, bytes(64), 64))


def kallsyms():
    with open("/proc/kallsyms") as table:
        addresses = {line.split()[0] for _, line in zip(range(50), table)}
    if not addresses or addresses == {"0" * 16}:
        raise PermissionError(1, "zeros")
    return len(addresses)


attempt("kallsyms", kallsyms)
attempt("kmsg", lambda: os.close(os.open("/dev/kmsg", os.O_RDONLY)))
