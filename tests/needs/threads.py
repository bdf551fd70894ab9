# needs: clone, futex, exit, exit_group
import os, threading, time
seen = []
threads = [threading.Thread(target=seen.append, args=(i,)) for i in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
done = threading.Event()
threading.Thread(target=done.set).start()
print(sorted(seen), done.wait(5))
until = time.monotonic() + 2
while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < until: time.sleep(0.001)
print("left:", len(os.listdir("/proc/self/task")) - 1, flush=True)
threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
