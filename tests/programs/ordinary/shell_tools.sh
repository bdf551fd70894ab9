set -eu
mkdir -p work && cd work
for n in 3 1 2; do echo "line $n" > "$n.txt"; done
cat ./*.txt | sort -r | sed 's/line/row/' | awk '{print $2}' | paste -sd+ -
find . -name '*.txt' | wc -l
tar -czf all.tar.gz ./*.txt && tar -tzf all.tar.gz | head -n 1
echo $((6 * 7)) "$(printf '%05d' 42)"
trap 'echo trapped' USR1
kill -USR1 $$
(sleep 0.05; echo background) & wait
date -u -d @0 +%Y
exit 5
