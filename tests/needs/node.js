// needs: epoll_pwait
setTimeout(() => console.log('later'), 5);
