"""Numbers that no kernel has (a call of the future), known calls that are refused; then it goes on."""
from verdicts import attempt, call, raw, saw

attempt("future", lambda: raw(4000))
attempt("future again", lambda: raw(4000))
attempt("swapon", lambda: call("swapon", "/nothing", 0))
saw("went", "on")
