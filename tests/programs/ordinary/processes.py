import multiprocessing
from multiprocessing import shared_memory


def square(n):
    return n * n


def put(queue, lock, value):
    with lock:
        queue.put(value)


if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            print(method, pool.map(square, range(5)))
        queue, lock = context.Queue(), context.Lock()
        workers = [context.Process(target=put, args=(queue, lock, n)) for n in range(2)]
        for worker in workers:
            worker.start()
        print(sorted(queue.get(timeout=20) for _ in workers))
        for worker in workers:
            worker.join()
            print(worker.exitcode)
    with multiprocessing.Manager() as manager:
        shared = manager.dict(a=1)
        shared["b"] = 2
        print(dict(shared))
    memory = shared_memory.SharedMemory(create=True, size=64)
    memory.buf[:3] = b"abc"
    again = shared_memory.SharedMemory(name=memory.name)
    print(bytes(again.buf[:3]))
    again.close()
    memory.close()
    memory.unlink()
