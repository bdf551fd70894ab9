# needs: getrandom
import os
print(len(os.getrandom(16)))
