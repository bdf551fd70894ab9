// needs: stat, lstat, fstat, pipe, fork, open, nanosleep
// A static program built with musl: its library makes the older calls.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
int main(void) {
  struct stat one;
  printf("stat %d\n", stat("/etc", &one));
  printf("lstat %d\n", lstat("/etc", &one));
  printf("fstat %d\n", fstat(1, &one));
  printf("open %d\n", open("/etc/passwd", O_RDONLY) >= 0);
  int ends[2];
  printf("pipe %d\n", pipe(ends));
  struct timespec short_time = {0, 1000};
  printf("sleep %d\n", nanosleep(&short_time, 0));
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) _exit(3);
  int status = -1;
  waitpid(child, &status, 0);
  printf("fork %d\n", child > 0 && WEXITSTATUS(status) == 3);
}
