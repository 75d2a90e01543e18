/* The way from sections to the model, for the files of this folder. */
#ifndef RFL_CONF_RESOLVE_H
#define RFL_CONF_RESOLVE_H

#include "conf/keys.h"
#include "conf/load.h"
#include "conf/reader.h"

struct rfl_resolve {
	struct rfl_conf *conf;
	struct rfl_conf_memory *arena;
	struct rfl_doc doc;
	const struct rfl_conf_finder *finder;
	int plugin_refused;
	int calls_nothing;
};

/* load.c: one typed value of an entry, or of the option's default where e is NULL. 0, or -1 after a finding. */
int rfl_resolve_value(struct rfl_resolve *r, struct rfl_entry *e, const struct riffle_option *o,
	struct riffle_value *ret);
/* The value of a core key of a section; its default where it is not written. */
struct riffle_value rfl_resolve_key(struct rfl_resolve *r, struct rfl_section *s, const char *key);
struct rfl_entry *rfl_entry_of(struct rfl_section *s, const char *key); /* marks it as used */
/*
 * A value that could not be read, which a finding says: nothing may be found from it. rfl_resolve_key calls
 * rfl_mark_broken for what it cannot type, the grammars of values for what they cannot read. NULL is a no-op.
 */
void rfl_mark_broken(struct rfl_entry *e);
int rfl_is_broken(const struct rfl_section *s, const char *key); /* 0 where the key is not there */

/*
 * plugin_options.c: finds the plugin named at e, types its options in section s, runs its check. Every
 * key of s that neither the core nor the plugin knows is an error. rfl_resolve_plugin returns 0 or -1 after
 * findings, rfl_resolve_options what the plugin can do as it is set. stream and provider of *config are the caller's.
 */
int rfl_resolve_plugin(struct rfl_resolve *r, struct rfl_section *s, struct rfl_entry *e,
	uint32_t kind, const char *type, struct rfl_conf_plugin *ret_plugin);
uint64_t rfl_resolve_options(struct rfl_resolve *r, struct rfl_section *s,
	const struct rfl_conf_plugin *plugin, uint32_t section, struct riffle_config *config);

/* window.c: the grammars of window and on-error */
int rfl_resolve_window(
	struct rfl_resolve *r, struct rfl_entry *e, const char *text, struct rfl_window_conf *ret);
int rfl_resolve_on_error(struct rfl_resolve *r, struct rfl_entry *e, const char *text,
	struct rfl_on_error_conf *ret);

/* load.c: a key that no table of its section has; words are those that would be right there. */
void rfl_unknown_key(struct rfl_resolve *r, struct rfl_section *s, struct rfl_entry *e,
	const char *const *words, size_t count);

/* time.c: time, by, late, and what belongs to them */
void rfl_resolve_time(struct rfl_resolve *r, struct rfl_section *s, struct rfl_processor_conf *p);
/* The resolved settings in one spelling, whatever the file wrote. */
char *rfl_window_canonical(struct rfl_conf_memory *a, const struct rfl_processor_conf *p);

/* processor.c; a stream that is defined, or NULL after a finding at e */
const struct rfl_stream_conf *rfl_resolve_stream(
	struct rfl_resolve *r, struct rfl_entry *e, const char *name);
void rfl_resolve_processor(struct rfl_resolve *r, struct rfl_section *s);
/* test.c, after all processors */
void rfl_resolve_test(struct rfl_resolve *r, struct rfl_section *s);
/* check.c: what only shows when everything is there: guarantees, cycles. */
void rfl_resolve_check(struct rfl_resolve *r);
void rfl_check_processor(
	struct rfl_resolve *r, struct rfl_section *s, const struct rfl_processor_conf *p);

#endif
