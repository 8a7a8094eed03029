#!/bin/bash
# The program is told and waited for; the tail that shows its log is forgotten.
touch /tmp/log
tail -F /tmp/log &
trap 'kill -TERM "$app"; wait "$app"; exit 0' TERM
python3 /zoo/app.py &
app=$!
wait "$app"
