"""Connects out by address, to odd ports, by UDP, to metadata addresses; prints how long each took to fail."""
import socket
import time
from verdicts import attempt, saw


def timed(name, action):
    began = time.monotonic()
    attempt(name, action)
    saw("seconds " + name, round(time.monotonic() - began, 3))


def tcp(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(address)


def udp(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", address)


for address, port in (("1.1.1.1", 443), ("8.8.8.8", 53), ("93.184.216.34", 80), ("1.1.1.1", 65001),
                      ("169.254.169.254", 80), ("100.100.100.200", 80), ("10.0.0.1", 22), ("192.168.0.1", 80)):
    timed(f"tcp {address}:{port}", lambda: tcp(socket.AF_INET, (address, port)))
for address, port in (("2606:4700:4700::1111", 443), ("fd00:ec2::254", 80), ("fe80::a9fe:a9fe", 80)):
    timed(f"tcp6 [{address}]:{port}", lambda: tcp(socket.AF_INET6, (address, port)))
for address, port in (("8.8.8.8", 53), ("169.254.169.254", 53), ("255.255.255.255", 9)):
    timed(f"udp {address}:{port}", lambda: udp((address, port)))
