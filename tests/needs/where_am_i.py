# needs: uname, times, getrusage, sysinfo
import os, platform, resource
print(platform.uname().system, os.times().elapsed > 0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0)
print(os.sysconf("SC_PHYS_PAGES") > 0)
