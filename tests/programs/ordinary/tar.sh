# Archives of every usual form, byte for byte the same.
set -e
mkdir -p tree/a/b
seq 1 20000 >tree/numbers
ln -s numbers tree/link
ln tree/numbers tree/a/hard
printf 'x' >tree/a/b/x
: >tree/empty
mkfifo tree/fifo
chmod 640 tree/a/b/x
truncate -s 3M tree/sparse
pack="tar --sort=name --mtime=@1700000000 --owner=0 --group=0 --numeric-owner --mode=u+rw"
$pack -cf plain.tar tree
$pack -S -cf sparse.tar tree
$pack -cf - tree | gzip -n >tree.tar.gz
XZ_OPT='-T1 -3' $pack -cJf tree.tar.xz tree
xz -T2 -3 -k plain.tar
sha256sum tree.tar.gz plain.tar | cut -c1-64
xz -dc tree.tar.xz | cmp - plain.tar
xz -dc plain.tar.xz | cmp - plain.tar
for archive in plain.tar sparse.tar tree.tar.gz tree.tar.xz; do
  rm -rf out
  mkdir out
  tar -xf $archive -C out
  diff -r --no-dereference tree/a out/tree/a
  cmp tree/numbers out/tree/numbers
  readlink out/tree/link
  stat -c '%a %s %F' out/tree/a/b/x out/tree/fifo out/tree/sparse
done
tar -tzf tree.tar.gz
tar -xzf tree.tar.gz --to-stdout tree/a/b/x
echo
cp -a tree copy && mv copy moved && rm -r moved && ls
