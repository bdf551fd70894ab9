# needs: prctl/PR_SET_NAME
$0 = "renamed";
open(my $name, "<", "/proc/self/comm");
print <$name>;
