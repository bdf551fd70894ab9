# A server of the same cell: pages, a redirect, a post, a range, an error, a unix socket.
set -e
mkfifo ready
python3 small_server.py >ready &
server=$!
read -r port <ready
at="http://127.0.0.1:$port"
curl -sS "$at/page"
curl -sS -L "$at/away"
curl -sS --data 'a=1&b=2' "$at/post"
curl -sS -r 2-5 "$at/page"
curl -sS --compressed -o big "$at/big" && wc -c <big
curl -sS --unix-socket socket http://localhost/page
curl -s -f "$at/missing" || echo "exit $?"
curl -s http://127.0.0.1:1/ || echo "exit $?"
curl -sS "http://localhost:$port/page" "http://localhost:$port/page" | sort | uniq -c | tr -s ' '
kill $server
wait $server || echo ended
