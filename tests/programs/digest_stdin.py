"""Reads all of stdin; prints how much it was and its SHA-256."""
import hashlib
import sys

data = sys.stdin.buffer.read()
print("SAW stdin", len(data), hashlib.sha256(data).hexdigest())
