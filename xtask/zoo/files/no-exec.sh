#!/bin/sh
python3 /zoo/app.py
