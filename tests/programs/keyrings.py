"""The kernel's key rings."""
from verdicts import attempt, call

attempt("add_key", lambda: call("add_key", "user", "brig-was-here", "payload", 7, -2))
attempt("keyctl", lambda: call("keyctl", 0, -3, 1))
attempt("request_key", lambda: call("request_key", "user", "brig-was-here", 0, -2))
