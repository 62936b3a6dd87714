#!/usr/bin/env python3
"""Prints the phrases that the demo model knows, as JSON: vocabulary.py FOLDER_OF_CONCEPTS"""
import json
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import concepts  # noqa: E402

print(json.dumps(concepts.NAMES))
