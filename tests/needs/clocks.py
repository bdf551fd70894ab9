# needs: clock_gettime, clock_getres, clock_nanosleep
import time
began = time.monotonic()
time.sleep(0.02)
print(time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID) > 0, time.clock_getres(time.CLOCK_PROCESS_CPUTIME_ID) > 0, time.monotonic() - began >= 0.02)
