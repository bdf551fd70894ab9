"""Lists interfaces and routes."""
import socket
from verdicts import saw

saw("interfaces", " ".join(sorted(name for _, name in socket.if_nameindex())))
with open("/proc/net/route") as table:
    saw("routes", len(table.readlines()) - 1)
with open("/proc/net/if_inet6") as table:
    saw("inet6", " ".join(sorted({line.split()[5] for line in table})))
