"""Prints size and SHA-256 of every input and writes a copy of each under out/."""
import hashlib
import os

os.makedirs("out", exist_ok=True)
for name in sorted(os.listdir(".")):
    if name.endswith(".data"):
        with open(name, "rb") as source:
            content = source.read()
        print("SAW file", name, len(content), hashlib.sha256(content).hexdigest())
        with open("out/" + name, "wb") as target:
            target.write(content)
