# needs: setresuid, setresgid
printf "all:\n\t@/bin/true && echo made\n\t@cat /dev/null\n" > Makefile
make
