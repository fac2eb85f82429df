#!/usr/bin/env bash
# Makes the texts of the examples from two of Debian's packages, both out of copyright:
#   bible-kjv  -> specs/pretrain/data/scripture.txt   the King James Bible (1611/1769), a verse a line; the bases are pre-trained on it
#   dict-devil -> specs/examples/data/corpus.txt      Ambrose Bierce, The Devil's Dictionary (1911), its definitions; the examples adapt to it
# Needs: apt-get install bible-kjv dict-devil. The second file is in the repository, the first is made when a base is trained again.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p specs/pretrain/data specs/examples/data
bible -f Gen1:1-Rev22:21 2>/dev/null | sed -E 's/^[A-Za-z0-9]+:[0-9]+ //' > specs/pretrain/data/scripture.txt
# From the first entry on; lines of a paragraph are joined, indented verse is kept line by line.
zcat /usr/share/dictd/devil.dict.dz | awk '
  /^ABASEMENT/ { on = 1 }
  !on { next }
  /^[ \t]*$/ { if (line != "") print line; line = ""; next }
  /^    / { if (line != "") print line; gsub(/^ +/, ""); line = $0; next }
  { line = (line == "" ? $0 : line " " $0) }
  END { if (line != "") print line }' | sed -E 's/[_]//g; s/ +/ /g' > specs/examples/data/corpus.txt
wc specs/pretrain/data/scripture.txt specs/examples/data/corpus.txt
