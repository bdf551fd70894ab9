// needs: set_robust_list
// A lock in shared memory whose holder dies, as LMDB uses: the next one is told.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
int main(void) {
  pthread_mutex_t *lock = mmap(0, sizeof *lock, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  printf("init %d\n", pthread_mutex_init(lock, &attributes));
  fflush(stdout);
  if (fork() == 0) { pthread_mutex_lock(lock); _exit(0); }
  wait(0);
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 1;
  puts(pthread_mutex_timedlock(lock, &until) == EOWNERDEAD ? "told of the death" : "not told");
}
