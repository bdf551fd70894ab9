// needs: accept, dup, prctl/PR_SET_PDEATHSIG, prctl/PR_GET_PDEATHSIG, prctl/PR_SET_DUMPABLE, prctl/PR_GET_DUMPABLE
// needs: prctl/PR_GET_NAME, prctl/PR_SET_NO_NEW_PRIVS, prctl/PR_GET_NO_NEW_PRIVS, prctl/PR_SET_CHILD_SUBREAPER
// What servers, shells and process managers written in C ask of their library.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
  int server = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof at;
  bind(server, (struct sockaddr *)&at, size);
  listen(server, 1);
  getsockname(server, (struct sockaddr *)&at, &size);
  connect(client, (struct sockaddr *)&at, size);
  printf("accept %d\n", accept(server, 0, 0) >= 0);
  printf("dup %d\n", dup(1) >= 0);
  int signal_number = -1;
  char name[16] = "none";
  printf("set death signal %d\n", prctl(PR_SET_PDEATHSIG, 15));
  printf("get death signal %d %d\n", prctl(PR_GET_PDEATHSIG, &signal_number), signal_number);
  printf("set dumpable %d\n", prctl(PR_SET_DUMPABLE, 0));
  printf("get dumpable %d\n", prctl(PR_GET_DUMPABLE));
  printf("get name %d %s\n", pthread_getname_np(pthread_self(), name, sizeof name), name);
  printf("no new privileges %d %d\n", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  printf("reaper %d\n", prctl(PR_SET_CHILD_SUBREAPER, 1));
}
