"""A first program for a cell: it says where it runs and what it is allowed to see."""

import os
import platform
import socket

print(f"Hello from Python {platform.python_version()}, inside a cell.")
print(f"  user id       {os.getuid()}")
print(f"  process id    {os.getpid()}; processes in sight: {sum(name.isdigit() for name in os.listdir('/proc'))}")
print(f"  host name     {socket.gethostname()}")
print(f"  directory     {os.getcwd()}: {sorted(os.listdir('.'))}")
print(f"  interfaces    {', '.join(name for _, name in socket.if_nameindex())}")

for what, attempt in {
    "read /etc/shadow": lambda: open("/etc/shadow").read(),
    "write to /usr": lambda: open("/usr/hello", "w"),
    "connect to 1.1.1.1": lambda: socket.create_connection(("1.1.1.1", 80), 2),
}.items():
    try:
        attempt()
        print(f"  {what:<20} worked (it should not have)")
    except OSError as error:
        print(f"  {what:<20} refused: {error.strerror or error}")
