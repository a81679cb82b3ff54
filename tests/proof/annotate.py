#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""annotate.py SOURCE FOLDER - copies of what is proved, with what the provers need to know inside;
annotate.py --functions - the names of the functions that are proved

A place is known by its function and the text there; one that is not there any more is an error.
"""
import pathlib
import re
import sys

PROVED = ("vhost_mem_find", "vhost_mem_uva", "vhost_mem_gpa")

PLACES = {
    "vhost_mem.c": [
        ("vhost_mem_find", "while (lo < hi) {", """
            loop invariant 0 <= lo <= hi <= mem->n_regions;
            loop invariant \\forall integer k; 0 <= k < lo ==> mem->regions[k].gpa <= gpa;
            loop invariant \\forall integer k; hi <= k < mem->n_regions ==> gpa < mem->regions[k].gpa;
            loop assigns lo, hi;
            loop variant hi - lo;"""),
        ("vhost_mem_find", "return r;", """
            assert holds(mem, lo - 1, gpa, len);"""),
        ("vhost_mem_uva", "for (uint32_t i = 0;", """
            loop invariant 0 <= i <= mem->n_regions;
            loop assigns i;
            loop variant mem->n_regions - i;"""),
        ("vhost_mem_uva", "return r->host + off;", """
            assert mem->regions[i].host == r->host && off + len <= mem->regions[i].size;"""),
    ],
    "vhost_mem.h": [
        ("vhost_mem_gpa", "return hint->host + off;", """
            assert hint->gpa <= gpa && off == gpa - hint->gpa; */
            /*@ assert gpa + len <= hint->gpa + hint->size && off < hint->size;"""),
        ("vhost_mem_gpa", "return r->host + (gpa - r->gpa);", """
            assert \\exists integer i; 0 <= i < mem->n_regions && r == &mem->regions[i] &&
                   r->gpa <= gpa < r->gpa + r->size && gpa + len <= r->gpa + r->size;"""),
    ],
}


def annotate(text, name, function, line, clauses):
    start = re.search(rf"^[a-z][^;{{}}/]*\b{function}\([^;{{]*\)\n{{", text, re.M)
    at = text.find(line, start.end()) if start else -1
    if at < 0 or "\n}\n" in text[start.end():at]:
        sys.exit(f"{name}: {function}() has no '{line}'")
    return text[:at] + f"/*@{clauses} */\n\t" + text[at:]


if sys.argv[1] == "--functions":
    print(",".join(PROVED))
    sys.exit()
source, folder = map(pathlib.Path, sys.argv[1:])
for path in [source / "vhost_mem.c", *source.glob("*.h"), *(source.parent / "include").glob("*.h")]:
    text = path.read_text()
    for place in PLACES.get(path.name, ()):
        text = annotate(text, path.name, *place)
    # Frama-C does not know _Atomic (translate.c drops the qualifier, here goes the type specifier),
    # and the provers cannot follow an address through void *.
    text = text.replace("_Atomic(", "__typeof__(")
    text = re.sub(r"void \*(vhost_mem_(uva|gpa)\()", r"uint8_t *\1", text)
    (folder / path.name).write_text(text)
