#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""named_tests.py DOCUMENT - every test that the document names, as `file::test`, exists."""
import pathlib
import re
import sys

tests = pathlib.Path(__file__).resolve().parents[2]
names = re.findall(r"`([\w/.-]+\.(?:c|py))::(\w+)`", pathlib.Path(sys.argv[1]).read_text())
missing = [f"{file}::{test}" for file, test in names
           if not (tests / file).exists() or not re.search(
               rf"^(static void {test}\(void \*\*state\)|def {test}\()", (tests / file).read_text(), re.M)]
for name in missing:
    print(f"{sys.argv[1]}: there is no test {name}")
if not names:
    print(f"{sys.argv[1]}: names no test")
sys.exit(bool(missing or not names))
