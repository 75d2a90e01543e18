/* The guard before an invoker: broken calls, two threads in one, loans of batches, calls that do not return. */
#include "guard_bed.h"

/* An invoker that does as it is told here. */
static const struct riffle_call_events *rude_events;
static void *rude_data;
static int done_in_begin, turns_fd;

static void
start_plugin(void)
{
	done_in_begin = 0;
	turns_fd = 0;
}

static int
r_call_begin(void *self, const struct riffle_call_spec *spec,
	const struct riffle_call_events *events, void *data, void **ret, struct riffle_error *err)
{
	(void)self, (void)spec, (void)err;
	rude_events = events;
	rude_data = data;
	if (done_in_begin)
		events->done(data, RIFFLE_E_DATA, NULL);
	*ret = made ? &made : NULL;
	return rc;
}

static int
r_push(void *call, struct riffle_batch *b, uint32_t first, uint32_t count, struct riffle_error *err)
{
	(void)call, (void)first, (void)count, (void)err;
	pushed = b;
	return rc;
}

static int
r_end(void *call, struct riffle_error *err)
{
	(void)call, (void)err;
	return rc;
}

static void
r_read(void *call, size_t bytes)
{
	(void)call, (void)bytes;
}

static void
r_cancel(void *call, int reason)
{
	(void)call, (void)reason;
	destroyed();
}

static int
r_join(void *self, struct riffle_error *err)
{
	(void)self, (void)err;
	return rc;
}

static int
r_turns_fd(void *self)
{
	(void)self;
	return turns_fd;
}

static int64_t
r_turn(void *self)
{
	(void)self;
	destroyed();
	return 7;
}

static const struct riffle_turns rude_turns = {.size = sizeof rude_turns,
	.join = r_join,
	.fd = r_turns_fd,
	.turn = r_turn,
	.leave = r_destroy};

static const void *
r_extension(void *self, const char *id)
{
	(void)self;
	return strcmp(id, RIFFLE_EXT_TURNS) == 0 ? &rude_turns : NULL;
}

static struct rfl_plugin invoker = {.kind = RIFFLE_KIND_INVOKER,
	.name = rude_name,
	.version = rude_version,
	.capabilities = UINT64_MAX,
	.ops.invoker = {.destroy = r_destroy,
		.capabilities = r_capabilities,
		.ready = r_end,
		.extension = r_extension,
		.call_begin = r_call_begin,
		.call_push = r_push,
		.call_end = r_end,
		.call_read = r_read,
		.call_cancel = r_cancel,
		.call_destroy = r_destroy}};

static void
core_output(void *data, struct riffle_batch *batch_out)
{
	struct bed *b = data;
	(void)batch_out;
	b->outputs++;
}

static void
core_writable(void *data)
{
	(void)data;
}

static void
core_replied(void *data, uint64_t count)
{
	(void)data, (void)count;
}

static void
core_done(void *data, int status, const struct riffle_error *err)
{
	struct bed *b = data;
	b->dones++;
	b->status = status;
	snprintf(b->done_text, sizeof b->done_text, "%s", err->text);
}

static const struct riffle_call_events core_events = {.size = sizeof core_events,
	.output = core_output,
	.writable = core_writable,
	.replied = core_replied,
	.done = core_done};

static void
begin(struct bed *b, enum rfl_guard_mode mode)
{
	const struct riffle_call_spec spec = {.size = sizeof spec, .output_count = 1};
	setup(b, &invoker, mode);
	sound_batch();
	assert_int_equal(
		b->calls->call_begin(b->guard, &spec, &core_events, b, &b->call, &b->err), 0);
}

/* A quarantined invoker's calls were ended by the guard, once. */
static void
end_faulty(struct bed *b, const char *fault)
{
	assert_fault(b, fault);
	assert_int_equal(b->dones, 1);
	b->calls->call_cancel(b->call, RIFFLE_E_CANCELLED);
	b->calls->call_destroy(b->call);
	b->calls->destroy(b->guard);
	assert_int_equal(rude_called, 0);
	rfl_guard_destroy(b->guard);
}

static void
test_calls(void **state)
{
	(void)state;
	struct bed b;
	begin(&b, RFL_GUARD_NORMAL);
	rude_events->output(rude_data, &batch);
	rude_events->done(rude_data, RIFFLE_OK, NULL);
	assert_int_equal(b.outputs + b.dones, 2);
	rude_events->done(rude_data, RIFFLE_OK, NULL);
	end_faulty(&b, "done after done [G07]");

	begin(&b, RFL_GUARD_NORMAL);
	rude_events->done(rude_data, RIFFLE_OK, NULL);
	rude_events->output(rude_data, &batch);
	assert_int_equal(b.outputs, 0);
	end_faulty(&b, "output after done [G07]");

	begin(&b, RFL_GUARD_NORMAL);
	rude_events->done(rude_data, 5, NULL);
	assert_int_equal(b.status, RIFFLE_E_FATAL);
	end_faulty(&b, "done with 5, which is not a status [G01]");

	begin(&b, RFL_GUARD_NORMAL);
	batch.record_size = 3;
	rude_events->output(rude_data, &batch);
	assert_int_equal(b.outputs, 0);
	end_faulty(&b, "output gave a batch whose record_size cannot be [G05]");

	begin(&b, RFL_GUARD_NORMAL);
	rc = 3;
	assert_int_equal(b.calls->call_push(b.call, &batch, 0, 2, &b.err), RIFFLE_E_FATAL);
	assert_non_null(strstr(b.done_text, "call_push took 3, 2 were offered"));
	end_faulty(&b, "call_push took 3, 2 were offered [G04]");
}

static void
test_a_call_that_was_destroyed_hears_nothing_more(void **state)
{
	(void)state;
	struct bed b;
	begin(&b, RFL_GUARD_NORMAL);
	void *old = rude_data;
	rude_events->done(rude_data, RIFFLE_OK, NULL);
	b.calls->call_destroy(b.call);
	assert_int_equal(rude_called, 1);
	rude_called = 0;
	/* Another call takes the place: the late event is not taken for one of its. */
	const struct riffle_call_spec spec = {.size = sizeof spec, .output_count = 1};
	b.dones = 0;
	assert_int_equal(b.calls->call_begin(b.guard, &spec, &core_events, &b, &b.call, &b.err), 0);
	assert_ptr_not_equal(old, rude_data);
	rude_events->output(old, &batch);
	assert_int_equal(b.outputs, 0);
	end_faulty(&b, "output for a call that was destroyed [G07]");
}

static void
test_beginnings(void **state)
{
	(void)state;
	struct bed b;
	const struct riffle_call_spec spec = {.size = sizeof spec, .output_count = 1};
	setup(&b, &invoker, RFL_GUARD_NORMAL);
	made = 0;
	assert_int_equal(b.calls->call_begin(b.guard, &spec, &core_events, &b, &b.call, &b.err), 0);
	end_faulty(&b, "call_begin said OK and made nothing [G02]");

	/* A failure is a failure: no call, no done. */
	setup(&b, &invoker, RFL_GUARD_NORMAL);
	rc = RIFFLE_E_UNAVAILABLE;
	assert_int_equal(b.calls->call_begin(b.guard, &spec, &core_events, &b, &b.call, &b.err),
		RIFFLE_E_UNAVAILABLE);
	assert_int_equal(b.dones, 0);
	rc = 0;
	rfl_guard_destroy(b.guard);

	setup(&b, &invoker, RFL_GUARD_NORMAL);
	done_in_begin = 1;
	rc = RIFFLE_E_DATA;
	assert_int_equal(b.calls->call_begin(b.guard, &spec, &core_events, &b, &b.call, &b.err), 0);
	end_faulty(&b, "call_begin failed, and said done all the same [G06]");
}

static void
test_turns(void **state)
{
	(void)state;
	struct bed b;
	begin(&b, RFL_GUARD_NORMAL);
	const struct riffle_turns *t = b.calls->extension(b.guard, RIFFLE_EXT_TURNS);
	assert_ptr_equal(t, rfl_guard_turns(b.guard));
	assert_int_equal(t->join(b.guard, &b.err), RIFFLE_OK);
	assert_int_equal(t->fd(b.guard), 0);
	assert_int_equal(t->turn(b.guard), 7);
	assert_int_equal(rude_called, 1);
	turns_fd = -3;
	assert_int_equal(t->fd(b.guard), -1);
	/* From here on nobody waits for it, and it is not called. */
	turns_fd = 0;
	assert_int_equal(t->fd(b.guard), -1);
	assert_true(t->turn(b.guard) == INT64_MAX);
	assert_int_equal(rude_called, 1);
	/* But for this, without which it could let go of nothing. */
	t->leave(b.guard);
	assert_int_equal(rude_called, 2);
	rude_called = 0;
	assert_int_equal(t->join(b.guard, &b.err), RIFFLE_E_FATAL);
	end_faulty(&b, "turns.fd returned -3 [G02]");

	begin(&b, RFL_GUARD_NORMAL);
	rc = -1000;
	assert_int_equal(rfl_guard_turns(b.guard)->join(b.guard, &b.err), RIFFLE_E_FATAL);
	rc = 0;
	end_faulty(&b, "turns.join returned -1000, which is not a status [G01]");
}

static pthread_barrier_t inside, leave;

static void
slow_output(void *data, struct riffle_batch *batch_out)
{
	core_output(data, batch_out);
	pthread_barrier_wait(&inside);
	pthread_barrier_wait(&leave);
}

static void *
say_output(void *arg)
{
	(void)arg;
	rude_events->output(rude_data, &batch);
	return NULL;
}

static void *
say_done(void *arg)
{
	(void)arg;
	rude_events->done(rude_data, RIFFLE_OK, NULL);
	return NULL;
}

static void
test_two_threads_in_one_call(void **state)
{
	(void)state;
	struct bed b;
	pthread_t one, two;
	struct riffle_call_events slow = core_events;
	const struct riffle_call_spec spec = {.size = sizeof spec, .output_count = 1};
	slow.output = slow_output;
	pthread_barrier_init(&inside, NULL, 2);
	pthread_barrier_init(&leave, NULL, 2);
	setup(&b, &invoker, RFL_GUARD_NORMAL);
	sound_batch();
	assert_int_equal(b.calls->call_begin(b.guard, &spec, &slow, &b, &b.call, &b.err), 0);
	pthread_create(&one, NULL, say_output, NULL);
	pthread_barrier_wait(&inside);
	pthread_create(&two, NULL, say_done, NULL);
	while (!rfl_guard_is_quarantined(b.guard, NULL))
		sched_yield();
	pthread_barrier_wait(&leave);
	pthread_join(one, NULL);
	pthread_join(two, NULL);
	end_faulty(&b, "done while another thread is in an event of that call [G09]");
}

static void
test_batches_are_let_go_once(void **state)
{
	(void)state;
	struct bed b;
	struct rfl_host host;
	struct rfl_clock clock;
	struct riffle_record r = {.value = {"v", 1}};
	rfl_clock_init(&clock);
	begin(&b, RFL_GUARD_NORMAL);
	rfl_host_init(&host, "section x", &clock);
	host.guard = b.guard;
	struct rfl_builder *build = rfl_builder_create();
	rfl_builder_add(build, &r, NULL, 0, NULL);
	struct riffle_batch *own = rfl_builder_finish(build);
	host.abi.batch_ref(&host.abi, own);
	host.abi.batch_unref(&host.abi, own);
	assert_false(rfl_guard_is_quarantined(b.guard, NULL));
	host.abi.batch_unref(&host.abi, own);
	assert_int_equal(own->record_count, 1);
	end_faulty(&b, "batch_unref let go of a batch of 1 records that no plugin holds [G10]");

	begin(&b, RFL_GUARD_NORMAL);
	host.guard = b.guard;
	host.is_creating = 1;
	host.abi.batch_ref(&host.abi, own);
	end_faulty(&b, "batch_ref was called in create [G11]");
	rfl_batch_unref(own);
	rfl_builder_destroy(build);
	rfl_host_fini(&host);
}

/* Under debug a plugin that reads a batch after its loan reads poison, and not what happens to be there. */
static void
test_loans_are_poisoned(void **state)
{
	(void)state;
	struct bed b;
	struct riffle_record r = {.value = {"precious", 8}};
	struct rfl_builder *build = rfl_builder_create();
	rfl_builder_add(build, &r, NULL, 0, NULL);
	rfl_builder_add(build, &r, NULL, 0, NULL);
	struct riffle_batch *own = rfl_builder_finish(build);
	begin(&b, RFL_GUARD_DEBUG);
	rc = 1;
	assert_int_equal(b.calls->call_push(b.call, own, 1, 1, &b.err), 1);
	assert_ptr_not_equal(pushed, own);
	const unsigned char *kept = (const unsigned char *)pushed->records;
	assert_int_equal(kept[0], 0xdb);
	assert_memory_equal(riffle_batch_at(own, 1)->value.ptr, "precious", 8);
	rc = 0;
	rude_events->done(rude_data, RIFFLE_OK, NULL);
	b.calls->call_destroy(b.call);
	rfl_guard_destroy(b.guard);
	rfl_batch_unref(own);
	rfl_builder_destroy(build);
}

static pthread_barrier_t hung;
static volatile int hung_for_ever = 1;
static void *lost_owner;

static int
hang_in_end(void *call, struct riffle_error *err)
{
	(void)call, (void)err;
	pthread_barrier_wait(&hung);
	while (hung_for_ever)
		pause();
	return RIFFLE_OK;
}

static void *
call_and_hang(void *arg)
{
	struct bed *b = arg;
	struct riffle_error err;
	rfl_guard_thread_owner(b);
	b->calls->call_end(b->call, &err);
	return NULL;
}

static void
note_lost(void *ctx, void *owner)
{
	(void)ctx;
	lost_owner = owner;
}

static void
test_a_call_that_does_not_return(void **state)
{
	(void)state;
	/* The thread outlives this function. */
	static struct bed b;
	static struct rfl_plugin hanging;
	const struct riffle_call_spec spec = {.size = sizeof spec, .output_count = 1};
	pthread_t thread;
	hanging = invoker;
	hanging.ops.invoker.call_end = hang_in_end;
	setup(&b, &hanging, RFL_GUARD_NORMAL);
	assert_int_equal(b.calls->call_begin(b.guard, &spec, &core_events, &b, &b.call, &b.err), 0);
	pthread_barrier_init(&hung, NULL, 2);
	pthread_create(&thread, NULL, call_and_hang, &b);
	pthread_barrier_wait(&hung);
	rfl_guard_tick(2, note_lost, NULL);
	rfl_guard_tick(2, note_lost, NULL);
	assert_null(lost_owner);
	rfl_guard_tick(2, note_lost, NULL);
	assert_ptr_equal(lost_owner, &b);
	assert_fault(&b, "call_end has not returned for 2 s [G08]");
	assert_int_equal(b.dones, 1);
	pthread_detach(thread);
}

static void
test_a_cancelled_call_that_is_never_done(void **state)
{
	(void)state;
	struct bed b;
	const struct riffle_header headers[] = {
		{.name = {"riffle-window-start", 19}, .value = {"1000", 4}},
		{.name = {"riffle-window-end", 17}, .value = {"2000", 4}},
		{.name = {"riffle-window-key", 17}, .value = {"a\nb", 3}},
	};
	const struct riffle_call_spec spec = {.size = sizeof spec,
		.output_count = 1,
		.attempt = 3,
		.headers = headers,
		.header_count = 3};
	lost_owner = NULL;
	setup(&b, &invoker, RFL_GUARD_NORMAL);
	assert_int_equal(b.calls->call_begin(b.guard, &spec, &core_events, &b, &b.call, &b.err), 0);
	for (int i = 0; i < 5; i++)
		rfl_guard_tick(2, note_lost, NULL);
	assert_false(rfl_guard_is_quarantined(b.guard, NULL));
	b.calls->call_cancel(b.call, RIFFLE_E_TIMEOUT);
	rude_called = 0;
	rfl_guard_tick(2, note_lost, NULL);
	rfl_guard_tick(2, note_lost, NULL);
	assert_false(rfl_guard_is_quarantined(b.guard, NULL));
	rfl_guard_tick(2, note_lost, NULL);
	assert_int_equal(b.status, RIFFLE_E_FATAL);
	assert_null(lost_owner);
	/* What comes after all is passed on to nobody. */
	rude_events->done(rude_data, RIFFLE_OK, NULL);
	end_faulty(&b, "done has not followed call_cancel for 2 s: window 1000 to 2000 of key a?b, "
		       "attempt 3 [G12]");

	/* Done in time, and another call in its place: the old cancel is not held against it. */
	begin(&b, RFL_GUARD_NORMAL);
	b.calls->call_cancel(b.call, RIFFLE_E_CANCELLED);
	rfl_guard_tick(2, note_lost, NULL);
	rude_events->done(rude_data, RIFFLE_E_CANCELLED, NULL);
	rfl_guard_tick(2, note_lost, NULL);
	rfl_guard_tick(2, note_lost, NULL);
	b.calls->call_destroy(b.call);
	assert_int_equal(b.calls->call_begin(b.guard, &spec, &core_events, &b, &b.call, &b.err), 0);
	rfl_guard_tick(2, note_lost, NULL);
	rfl_guard_tick(2, note_lost, NULL);
	rfl_guard_tick(2, note_lost, NULL);
	assert_false(rfl_guard_is_quarantined(b.guard, NULL));
	rude_events->done(rude_data, RIFFLE_OK, NULL);
	b.calls->call_destroy(b.call);
	rfl_guard_destroy(b.guard);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_a_call_that_was_destroyed_hears_nothing_more),
		cmocka_unit_test(test_beginnings),
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_two_threads_in_one_call),
		cmocka_unit_test(test_batches_are_let_go_once),
		cmocka_unit_test(test_loans_are_poisoned),
		cmocka_unit_test(test_a_call_that_does_not_return),
		cmocka_unit_test(test_a_cancelled_call_that_is_never_done),
	};
	return RUN("guard_calls", tests);
}
