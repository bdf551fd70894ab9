# needs: set_tid_address
# One thread interrupts the first: its number is what the library was told at the start.
import signal, threading, time
signal.signal(signal.SIGUSR1, lambda *_: print("interrupted"))
def interrupt():
    try: signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
    except OSError as error: print(error)
thread = threading.Thread(target=interrupt)
thread.start()
thread.join()
