# Servers and clients, threads, children and cryptography of node.
node walk.mjs
node -e 'process.stdout.write("x".repeat(100000))' | wc -c
echo 'console.log(require("fs").readFileSync(0, "utf8").trim())' >echo.js
echo over a pipe | node echo.js
node -e 'setTimeout(() => process.kill(process.pid, "SIGTERM"), 10); process.on("SIGTERM", () => { console.log("term"); process.exit(4) })'
echo "exit $?"
node -e 'throw new Error("thrown")' 2>&1 | grep Error
