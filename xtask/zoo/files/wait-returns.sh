#!/bin/bash
# A trap makes `wait` return: the script ends while the child still works.
trap 'kill -TERM "$child"' TERM
python3 /zoo/app.py TERM 20 &
child=$!
wait "$child"
