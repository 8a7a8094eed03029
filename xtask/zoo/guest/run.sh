#!/bin/sh
# The zoo's one service in the guest: runs it, shows the console how it goes, and leaves what came of it on the second disk.
results=$(cat /zoo-results)
mkdir -p "$results"
: > /tmp/said
sh -c 'exec xtask $(cat /zoo-arguments)' > /tmp/said 2>&1 < /dev/null &
runner=$!
tail -f --pid="$runner" /tmp/said > /dev/ttyS0
wait "$runner"
echo "exit $?" >> /tmp/said
mv /tmp/said "$results"
tar -cf "$(cat /zoo-disk)" -C "$results" .
sync
