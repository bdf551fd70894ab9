// needs: brk
// What malloc gave is given back to the system when it is freed: only a heap that grows by brk shrinks again.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static long resident(void) {
  long all = 0, resident = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (fscanf(file, "%ld %ld", &all, &resident) != 2) abort();
  fclose(file);
  return resident;
}
int main(void) {
  resident();
  static char *pieces[20000];
  for (int i = 0; i < 20000; i++) memset(pieces[i] = malloc(2000), 1, 2000);
  long full = resident();
  for (int i = 0; i < 20000; i++) free(pieces[i]);
  puts(resident() < full / 2 ? "given back" : "kept");
}
