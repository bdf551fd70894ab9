"""Prints without a flush, then raises."""
import sys

print("first line")
sys.stderr.write("second, on stderr\n")
print("last line before the end")
raise ValueError("the last thing that it says")
