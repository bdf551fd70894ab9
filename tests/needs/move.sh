# needs: renameat2, statx, statfs
echo x > a
mv a b
stat -c %s b
stat -f -c %l b
