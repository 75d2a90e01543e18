/*
 * Content types, compared as RFC 2045 and RFC 6838 have it: without regard to case, parameters
 * left aside, structured suffixes (+json) and wildcards understood.
 */
#ifndef RFL_WIRE_CONTENT_TYPE_H
#define RFL_WIRE_CONTENT_TYPE_H

#define RFL_CONTENT_TYPE_DEFAULT "application/octet-stream"

int rfl_content_type_valid(const char *s); /* type/subtype, each a token; parameters may follow */
/*
 * Is actual one of what expected names? A star in expected stands for any type, any subtype, or,
 * before a suffix, for any subtype that has it. "application/json" also takes
 * "application/vnd.x+json".
 */
int rfl_content_type_matches(const char *expected, const char *actual);

#endif
