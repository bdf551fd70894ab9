# needs: getpriority, setpriority, sched_yield, sched_getaffinity, sched_setaffinity, sched_getparam
# needs: sched_getscheduler, sched_setscheduler, prlimit64
import os, resource
print(os.getpriority(os.PRIO_PROCESS, 0), os.nice(3), os.sched_yield())
cores = os.sched_getaffinity(0)
os.sched_setaffinity(0, cores)
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
print(len(cores) > 0, os.sched_getparam(0).sched_priority, os.sched_getscheduler(0))
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
print(resource.getrlimit(resource.RLIMIT_NOFILE))
