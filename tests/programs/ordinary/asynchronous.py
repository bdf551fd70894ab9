import asyncio
import os
import signal


async def main():
    process = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    print((await process.communicate(b"via asyncio"))[0], process.returncode)
    got = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, got.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(got.wait(), 5)
    print("signal")

    async def answer(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    for start, connect in (
        (lambda: asyncio.start_server(answer, "127.0.0.1", 0), lambda s: asyncio.open_connection(*s.sockets[0].getsockname())),
        (lambda: asyncio.start_unix_server(answer, "socket"), lambda _: asyncio.open_unix_connection("socket")),
    ):
        server = await start()
        reader, writer = await connect(server)
        writer.write(b"line\n")
        print(await reader.readline())
        writer.close()
        server.close()
    print(await asyncio.gather(*(asyncio.sleep(0.001 * n, n) for n in range(5))))
    try:
        await asyncio.wait_for(asyncio.sleep(30), 0.01)
    except asyncio.TimeoutError:
        print("timed out")
    print(await asyncio.to_thread(sum, range(10)))


asyncio.run(main())
