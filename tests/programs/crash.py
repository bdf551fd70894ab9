"""Dies of a real fault: reads from address zero."""
import ctypes

print("before the fault", flush=True)
ctypes.string_at(0)
