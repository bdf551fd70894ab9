# A program that go has compiled outside.
chmod +x walk
./walk
echo "exit $?"
GOMAXPROCS=8 ./walk | tail -1
