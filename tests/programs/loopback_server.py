"""A server and a client in one program, on a fixed port; holds the port for a second."""
import socket
import sys
import threading
import time

for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((host, 18080))
    server.listen()
    threading.Thread(target=lambda: server.accept()[0].sendall(b"hello"), daemon=True).start()
    with socket.create_connection(("localhost" if family == socket.AF_INET else host, 18080), 2) as client:
        print("SAW answer", client.recv(16).decode())
time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 0)
