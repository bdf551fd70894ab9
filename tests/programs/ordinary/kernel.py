from jupyter_client.manager import KernelManager

for transport in ["tcp", "ipc"]:
    manager = KernelManager(kernel_name="python3", transport=transport)
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=40)
    said = []

    def hear(message):
        content = message["content"]
        said.append((message["msg_type"], content.get("text") or content.get("data")))

    reply = client.execute_interactive("import numpy; print(6 * 7); numpy.arange(3).sum()", timeout=40, output_hook=hear)
    print(transport, reply["content"]["status"], [one for one in said if one[1]])
    client.stop_channels()
    manager.shutdown_kernel()
