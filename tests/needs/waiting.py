# needs: poll, pselect6, epoll_create1, epoll_ctl, epoll_wait, eventfd2
import os, select
e = os.eventfd(1)
p = select.poll()
p.register(e, select.POLLIN)
ep = select.epoll()
ep.register(e, select.EPOLLIN)
print(len(p.poll(1000)), len(select.select([e], [], [], 1)[0]), len(ep.poll(1)), os.eventfd_read(e))
