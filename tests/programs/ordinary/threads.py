import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

lock, counter, work = threading.Lock(), [0], queue.Queue()


def add(times):
    for _ in range(times):
        with lock:
            counter[0] += 1


threads = [threading.Thread(target=add, args=(1000,)) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(counter[0])
with ThreadPoolExecutor(4) as pool:
    print(list(pool.map(lambda n: n * n, range(10))))
fired = threading.Event()
threading.Timer(0.01, fired.set).start()
print(fired.wait(5))
threading.Thread(target=lambda: [work.put(n) for n in range(3)]).start()
print([work.get(timeout=5) for _ in range(3)])


def late():
    time.sleep(0.05)
    print("a thread that outlives main")


threading.Thread(target=late).start()
