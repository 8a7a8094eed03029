# Signals by the million, between processes of the container and as often as the machine can.
$| = 1;
my $child = fork;
if ($child == 0) { $SIG{TERM} = 'IGNORE'; sleep 1000 while 1 }
sleep 1;
print "ready\n";
while (1) { kill 'TERM', $child for 1 .. 1000 }
