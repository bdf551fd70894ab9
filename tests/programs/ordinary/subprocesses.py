import os
import pty
import subprocess

print(subprocess.run(["echo", "hello"], capture_output=True, text=True).stdout, end="")
print(subprocess.run("printf 'b\\na\\n' | sort | tr a-z A-Z", shell=True, capture_output=True, text=True).stdout, end="")
try:
    subprocess.run(["sleep", "30"], timeout=0.1)
except subprocess.TimeoutExpired:
    print("timed out")
print(subprocess.run(["sh", "-c", "exit 7"]).returncode, subprocess.run(["sh", "-c", "kill -9 $$"]).returncode)
with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as cat:
    print(cat.communicate(b"through cat")[0])
pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 3"], os.environ)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
pid, terminal = pty.fork()
if pid == 0:
    os.execvp("sh", ["sh", "-c", "test -t 1 && echo on a terminal"])
print(os.read(terminal, 100))
os.waitpid(pid, 0)
try:
    subprocess.run(["no-such-program-anywhere"])
except FileNotFoundError as error:
    print(error)
