# Starts a daemon by the book, forking twice, and knows nothing of it when it is told to stop.
use POSIX ();
my $child = fork;
if ($child == 0) {
    POSIX::setsid();
    POSIX::_exit(0) if fork;
    exec 'sleep', '1000';
}
waitpid $child, 0;
$SIG{TERM} = sub { exit 0 };
$| = 1;
print "ready\n";
sleep 1000 while 1;
