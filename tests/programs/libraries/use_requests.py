"""requests: JSON, a redirect, cookies, a large body as a stream and compressed, an upload, an error; and no way out."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests


class Small(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def answer(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/moved":
            self.answer(b"", 302, Location="/json", Set_Cookie="seen=yes")
        elif self.path == "/json":
            self.answer(json.dumps({"cookie": self.headers.get("Cookie"), "ä": 1}).encode(), Content_Type="application/json")
        elif self.path == "/large":
            self.answer(gzip.compress(b"x" * 5_000_000), Content_Encoding="gzip")
        else:
            self.answer(b"no", 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(str(len(body)).encode())


server = ThreadingHTTPServer(("127.0.0.1", 0), Small)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}"
with requests.Session() as session:
    answer = session.get(base + "/moved", timeout=10)
    assert answer.json() == {"cookie": "seen=yes", "ä": 1} and len(answer.history) == 1
    total = sum(len(piece) for piece in session.get(base + "/large", stream=True, timeout=10).iter_content(65536))
    assert total == 5_000_000
    assert int(session.post(base, files={"f": ("name", b"y" * 100_000)}, timeout=10).text) > 100_000
    try:
        session.get(base + "/nothing", timeout=10).raise_for_status()
        raise AssertionError("no error")
    except requests.HTTPError as error:
        assert error.response.status_code == 404
server.shutdown()
try:
    requests.get("https://example.com", timeout=5)
    raise AssertionError("there is a way out")
except requests.ConnectionError:
    pass
# Certificates are there for those who are given a network.
assert len(open(requests.certs.where()).read()) > 100_000
print("fine")
