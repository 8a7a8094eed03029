# Names that a terminal would obey, that end lines, and that are no text: of PID 1 and of a child each.
$| = 1;
for my $name ("\e[31mred\e[0m", "a\nb\r\"", "\xff\xfe\x80bad", "\x{9b}1m\x7f") {
    if (fork == 0) { $0 = $name; sleep 1000 while 1 }
}
$0 = "\e]0;owned\a\n{";
sleep 1;
print "ready\n";
sleep 1000 while 1;
