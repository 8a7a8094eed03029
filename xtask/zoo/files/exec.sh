#!/bin/sh
exec python3 /zoo/app.py
