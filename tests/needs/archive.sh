# needs: creat
echo x > a
tar -cf a.tar a && tar -tf a.tar
