# needs: signalfd4
script -q -c 'echo in a terminal' log
