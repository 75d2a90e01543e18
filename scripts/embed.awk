# C source that holds the files it is given as texts: doc/riffle.1.in becomes rfl_page_riffle_1[].
function close_text() { if (open) print ";"; open = 1 }
BEGIN { print "#include \"cli/page.h\"" }
FNR == 1 {
	close_text()
	name = FILENAME
	sub(/.*\//, "", name)
	sub(/\.in$/, "", name)
	gsub(/[^a-z0-9]/, "_", name)
	print "const char rfl_page_" name "[] ="
}
{
	gsub(/\\/, "&&")
	gsub(/"/, "\\042")
	print "\t\"" $0 "\\n\""
}
END { print ";" }
