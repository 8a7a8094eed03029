# Forks as often as the machine can; each child ends at once.
$| = 1;
$SIG{CHLD} = 'IGNORE';
print "ready\n";
while (1) { my $child = fork; exit 0 if defined $child && $child == 0 }
