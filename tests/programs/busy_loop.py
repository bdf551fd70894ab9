"""Prints, then spins for ever."""
print("SAW partial output", flush=True)
while True:
    pass
