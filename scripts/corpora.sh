#!/usr/bin/env bash
# Makes the texts of the examples from three of Debian's packages, none of them under copyright:
#   bible-kjv  -> specs/pretrain/data/scripture.txt   the King James Bible (1611/1769), a verse a line; the bases are pre-trained on it
#   dict-jargon -> specs/pretrain/data/jargon.txt     the Jargon File 4.4.7 (2003, in the public domain), a paragraph a line; the quickstart's base knows it too
#   dict-devil -> specs/examples/data/corpus.txt      Ambrose Bierce, The Devil's Dictionary (1911), its definitions; the examples adapt to it
# Needs: apt-get install bible-kjv dict-jargon dict-devil. All three texts are in the repository.
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
# Definitions as "WORD, n. TEXT"; what is no sentence (tables, drawings, code) and coarse words are left out.
zcat /usr/share/dictd/jargon.dict.dz | sed -E "s/[“”]/\"/g; s/[‘’´]/'/g; s/[{}]//g" | iconv -f utf8 -t ascii//TRANSLIT | awk '
  function flush() {
    if (line ~ /[a-z].*[.!?:;)"]/ && line !~ /[|<>=_~+*#\\^%$@]/) print (head != "" ? head ", " kind " " : "") line
    if (line != "") { head = ""; kind = "" }
    line = ""
  }
  /^\(TM\)/ { on = 1 }
  !on { next }
  /^[^ ]/ { flush(); head = $0; kind = ""; next }
  /^ [^ ]/ { word = $NF; if (word ~ /^(n|v|vt|vi|adj|adv|interj|prov|excl)\.$/) kind = word; next }
  /^ *$/ { flush(); next }
  { sub(/^ +/, ""); line = (line == "" ? $0 : line " " $0) }
  END { flush() }' | sed -E 's/^([^,]+),  /\1, n. /; s/\[[^]]*\] *//g; s/^([0-9]+\. |\/[^/]*\/ *)//; s/ +/ /g' | grep -E '^.{40,}' |
  grep -viE '\b(rape|raping|raped|fuck|shit|crap|porn|sex|penis|nigger|faggot|ass|bitch)[a-z]*\b' > specs/pretrain/data/jargon.txt
wc specs/pretrain/data/scripture.txt specs/pretrain/data/jargon.txt specs/examples/data/corpus.txt
