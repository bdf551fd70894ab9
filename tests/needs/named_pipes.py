# needs: mknodat/S_IFIFO
import os
os.mkfifo("pipe")
print(oct(os.stat("pipe").st_mode))
