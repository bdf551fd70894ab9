# needs: restart_syscall
import os, signal, subprocess, time
def state(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0]
def until(check):
    while not check(): time.sleep(0.001)
sleeper = subprocess.Popen(["sleep", "0.4"], stderr=subprocess.STDOUT)
def asleep():
    with open(f"/proc/{sleeper.pid}/syscall") as file:
        return file.read().split()[0] in ("230", "115")
until(asleep)
sleeper.send_signal(signal.SIGSTOP)
until(lambda: state(sleeper.pid) == "T")
sleeper.send_signal(signal.SIGCONT)
print(sleeper.wait())
