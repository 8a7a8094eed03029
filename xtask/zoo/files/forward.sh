#!/bin/bash
# Passes the signal on, and waits until the child has done its work.
trap 'kill -TERM "$child"; wait "$child"' TERM
python3 /zoo/app.py &
child=$!
wait "$child"
