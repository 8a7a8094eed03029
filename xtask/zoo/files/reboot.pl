# What a system in a container does at the end: reboot(2), which ends its pid namespace.
$| = 1;
$SIG{TERM} = sub { syscall 169, 0xfee1dead, 672274793, 0x4321fedc, 0 };
print "ready\n";
sleep 1000 while 1;
