"""Writes bytes that are no text: NUL, invalid UTF-8, CR, escape sequences, half a character at the end."""
import os

os.write(1, b"begin\x00\xff\xfe\xc3\x28\r\x1b[31mred\x1b[0m\xf0\x9f\x98\x80\xed\xa0\x80 end\xe2\x82")
os.write(2, bytes(range(256)))
