"""Makes empty files and directories, as many as its argument says."""
import os
import sys
from verdicts import saw, word

made = 0
try:
    for number in range(int(sys.argv[1])):
        if number % 1000 == 0:
            os.mkdir(f"d{number}")
        os.close(os.open(f"d{number - number % 1000}/f{number}", os.O_CREAT | os.O_WRONLY))
        made += 1
    print("REACHED inodes", made)
except OSError as error:
    print("REFUSED inodes", word(error))
saw("made", made)
