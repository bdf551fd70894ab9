"""Makes 1,500 orphans by double forks, and then as many dead children that it does not reap as it may."""
import os
from verdicts import saw, word

for _ in range(1_500):
    child = os.fork()
    if child == 0:
        try:
            os.fork()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
zombies = 0
try:
    while zombies < 300:
        if os.fork() == 0:
            os._exit(0)
        zombies += 1
    saw("zombies_refused", "never")
except OSError as error:
    saw("zombies_refused", word(error))
saw("zombies", zombies)
for _ in range(zombies):
    os.wait()
if os.fork() == 0:
    os._exit(0)
os.wait()
saw("goes", "on")
