"""Prints, then sleeps for ever."""
import time

print("SAW partial output", flush=True)
while True:
    time.sleep(1000)
