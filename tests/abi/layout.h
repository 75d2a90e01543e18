/*
 * What the border looks like in memory on LP64 machines, and the numbers that cross it, written down a second
 * time: whoever changes them breaks plugins that are already built, and must say so here, in RIFFLE_ABI_MINOR or
 * _MAJOR, and in the history in riffle/plugin.h. A new member goes to a struct's end, where SIZE changes and
 * nothing else does. Compiled as C and as C++.
 */
#ifndef RFL_TESTS_ABI_LAYOUT_H
#define RFL_TESTS_ABI_LAYOUT_H

#include <riffle/riffle.h>

#include <assert.h>

#define SIZE(type, bytes) static_assert(sizeof(struct type) == (bytes), #type " has another size")
#define AT(type, member, bytes)                                                                    \
	static_assert(offsetof(struct type, member) == (bytes), #type "." #member " lies "         \
								      "elsewhere")
#define IS(name, value) static_assert((name) == (value), #name " has another value")

static_assert(sizeof(void *) == 8 && sizeof(long) == 8, "these figures are for LP64");

SIZE(riffle_bytes, 16);
AT(riffle_bytes, ptr, 0);
AT(riffle_bytes, len, 8);

SIZE(riffle_error, 264);
AT(riffle_error, code, 0);
AT(riffle_error, flags, 4);
AT(riffle_error, text, 8);

SIZE(riffle_header, 32);
AT(riffle_header, name, 0);
AT(riffle_header, value, 16);

SIZE(riffle_record, 72);
AT(riffle_record, key, 0);
AT(riffle_record, value, 16);
AT(riffle_record, offset, 32);
AT(riffle_record, time_ms, 40);
AT(riffle_record, partition, 48);
AT(riffle_record, stream, 52);
AT(riffle_record, header_first, 56);
AT(riffle_record, header_count, 60);
AT(riffle_record, content_type, 64);
AT(riffle_record, flags, 68);

SIZE(riffle_batch, 88);
AT(riffle_batch, size, 0);
AT(riffle_batch, record_size, 4);
AT(riffle_batch, record_count, 8);
AT(riffle_batch, header_count, 12);
AT(riffle_batch, content_type_count, 16);
AT(riffle_batch, reserved0, 20);
AT(riffle_batch, records, 24);
AT(riffle_batch, headers, 32);
AT(riffle_batch, content_types, 40);
AT(riffle_batch, pinned_bytes, 48);
AT(riffle_batch, owner, 56);
AT(riffle_batch, release, 64);
AT(riffle_batch, host, 72);

SIZE(riffle_host, 80);
AT(riffle_host, size, 0);
AT(riffle_host, abi_major, 4);
AT(riffle_host, abi_minor, 6);
AT(riffle_host, ctx, 8);
AT(riffle_host, product, 16);
AT(riffle_host, version, 24);
AT(riffle_host, log_enabled, 32);
AT(riffle_host, log, 40);
AT(riffle_host, mono_ns, 48);
AT(riffle_host, batch_ref, 56);
AT(riffle_host, batch_unref, 64);
AT(riffle_host, extension, 72);

SIZE(riffle_option, 56);
AT(riffle_option, name, 0);
AT(riffle_option, type, 8);
AT(riffle_option, flags, 12);
AT(riffle_option, def, 16);
AT(riffle_option, min, 24);
AT(riffle_option, max, 32);
AT(riffle_option, choices, 40);
AT(riffle_option, doc, 48);

SIZE(riffle_option_table, 24);
AT(riffle_option_table, size, 0);
AT(riffle_option_table, section, 4);
AT(riffle_option_table, option_size, 8);
AT(riffle_option_table, option_count, 12);
AT(riffle_option_table, options, 16);

SIZE(riffle_value, 16);
AT(riffle_value, is_set, 0);
AT(riffle_value, line, 4);
AT(riffle_value, u, 8);

SIZE(riffle_config, 72);
AT(riffle_config, size, 0);
AT(riffle_config, section, 4);
AT(riffle_config, value_size, 8);
AT(riffle_config, value_count, 12);
AT(riffle_config, pair_count, 16);
AT(riffle_config, reserved0, 20);
AT(riffle_config, name, 24);
AT(riffle_config, dir, 32);
AT(riffle_config, values, 40);
AT(riffle_config, pairs, 48);
AT(riffle_config, stream, 56);
AT(riffle_config, provider, 64);

SIZE(riffle_report, 32);
AT(riffle_report, size, 0);
AT(riffle_report, reserved0, 4);
AT(riffle_report, ctx, 8);
AT(riffle_report, add, 16);
AT(riffle_report, can, 24);

SIZE(riffle_plugin, 72);
AT(riffle_plugin, size, 0);
AT(riffle_plugin, kind, 4);
AT(riffle_plugin, name, 8);
AT(riffle_plugin, summary, 16);
AT(riffle_plugin, version, 24);
AT(riffle_plugin, license, 32);
AT(riffle_plugin, capabilities, 40);
AT(riffle_plugin, table_size, 48);
AT(riffle_plugin, table_count, 52);
AT(riffle_plugin, tables, 56);
AT(riffle_plugin, ops, 64);

SIZE(riffle_module, 32);
AT(riffle_module, magic, 0);
AT(riffle_module, abi_major, 4);
AT(riffle_module, abi_minor, 6);
AT(riffle_module, size, 8);
AT(riffle_module, plugin_count, 12);
AT(riffle_module, build, 16);
AT(riffle_module, plugins, 24);

SIZE(riffle_stream, 40);
AT(riffle_stream, size, 0);
AT(riffle_stream, partitions, 4);
AT(riffle_stream, name, 8);
AT(riffle_stream, topic, 16);
AT(riffle_stream, content_type, 24);
AT(riffle_stream, config, 32);

SIZE(riffle_stream_info, 48);
AT(riffle_stream_info, size, 0);
AT(riffle_stream_info, flags, 4);
AT(riffle_stream_info, partitions, 8);
AT(riffle_stream_info, reserved0, 12);
AT(riffle_stream_info, retention_ms, 16);
AT(riffle_stream_info, retention_bytes, 24);
AT(riffle_stream_info, records, 32);
AT(riffle_stream_info, record_bytes, 40);

SIZE(riffle_position, 40);
AT(riffle_position, stream, 0);
AT(riffle_position, partition, 4);
AT(riffle_position, offset, 8);
AT(riffle_position, leader_epoch, 16);
AT(riffle_position, reserved0, 20);
AT(riffle_position, metadata, 24);

SIZE(riffle_lane, 64);
AT(riffle_lane, size, 0);
AT(riffle_lane, lane, 4);
AT(riffle_lane, committed, 8);
AT(riffle_lane, log_start, 48);
AT(riffle_lane, log_end, 56);

SIZE(riffle_lane_state, 32);
AT(riffle_lane_state, size, 0);
AT(riffle_lane_state, flags, 4);
AT(riffle_lane_state, position, 8);
AT(riffle_lane_state, log_end, 16);
AT(riffle_lane_state, as_of_ns, 24);

SIZE(riffle_source_stream, 40);
AT(riffle_source_stream, size, 0);
AT(riffle_source_stream, flags, 4);
AT(riffle_source_stream, stream, 8);
AT(riffle_source_stream, start, 16);
AT(riffle_source_stream, partition_count, 20);
AT(riffle_source_stream, start_value, 24);
AT(riffle_source_stream, partitions, 32);

SIZE(riffle_source_spec, 48);
AT(riffle_source_spec, size, 0);
AT(riffle_source_spec, stream_size, 4);
AT(riffle_source_spec, stream_count, 8);
AT(riffle_source_spec, reserved0, 12);
AT(riffle_source_spec, streams, 16);
AT(riffle_source_spec, group, 24);
AT(riffle_source_spec, member, 32);
AT(riffle_source_spec, txn, 40);

SIZE(riffle_sink_spec, 32);
AT(riffle_sink_spec, size, 0);
AT(riffle_sink_spec, stream_size, 4);
AT(riffle_sink_spec, stream_count, 8);
AT(riffle_sink_spec, reserved0, 12);
AT(riffle_sink_spec, streams, 16);
AT(riffle_sink_spec, member, 24);

SIZE(riffle_sent, 16);
AT(riffle_sent, status, 0);
AT(riffle_sent, partition, 4);
AT(riffle_sent, offset, 8);

SIZE(riffle_event, 320);
AT(riffle_event, size, 0);
AT(riffle_event, type, 4);
AT(riffle_event, tag, 8);
AT(riffle_event, status, 16);
AT(riffle_event, lane_size, 20);
AT(riffle_event, lane_count, 24);
AT(riffle_event, first, 28);
AT(riffle_event, count, 32);
AT(riffle_event, sent_size, 36);
AT(riffle_event, lanes, 40);
AT(riffle_event, sent, 48);
AT(riffle_event, error, 56);

SIZE(riffle_provider_ops, 216);
AT(riffle_provider_ops, size, 0);
AT(riffle_provider_ops, reserved0, 4);
AT(riffle_provider_ops, check, 8);
AT(riffle_provider_ops, create, 16);
AT(riffle_provider_ops, destroy, 24);
AT(riffle_provider_ops, capabilities, 32);
AT(riffle_provider_ops, extension, 40);
AT(riffle_provider_ops, provision, 48);
AT(riffle_provider_ops, describe, 56);
AT(riffle_provider_ops, remove, 64);
AT(riffle_provider_ops, source_open, 72);
AT(riffle_provider_ops, source_fd, 80);
AT(riffle_provider_ops, source_poll, 88);
AT(riffle_provider_ops, source_start, 96);
AT(riffle_provider_ops, source_rewind, 104);
AT(riffle_provider_ops, source_release, 112);
AT(riffle_provider_ops, source_commit, 120);
AT(riffle_provider_ops, lane_poll, 128);
AT(riffle_provider_ops, lane_state, 136);
AT(riffle_provider_ops, source_close, 144);
AT(riffle_provider_ops, source_destroy, 152);
AT(riffle_provider_ops, sink_open, 160);
AT(riffle_provider_ops, sink_fd, 168);
AT(riffle_provider_ops, sink_poll, 176);
AT(riffle_provider_ops, sink_send, 184);
AT(riffle_provider_ops, sink_flush, 192);
AT(riffle_provider_ops, sink_close, 200);
AT(riffle_provider_ops, sink_destroy, 208);

SIZE(riffle_call_spec, 64);
AT(riffle_call_spec, size, 0);
AT(riffle_call_spec, input_count, 4);
AT(riffle_call_spec, output_count, 8);
AT(riffle_call_spec, header_count, 12);
AT(riffle_call_spec, input_names, 16);
AT(riffle_call_spec, input_types, 24);
AT(riffle_call_spec, output_names, 32);
AT(riffle_call_spec, output_types, 40);
AT(riffle_call_spec, headers, 48);
AT(riffle_call_spec, attempt, 56);
AT(riffle_call_spec, reserved0, 60);

SIZE(riffle_call_events, 40);
AT(riffle_call_events, size, 0);
AT(riffle_call_events, reserved0, 4);
AT(riffle_call_events, output, 8);
AT(riffle_call_events, writable, 16);
AT(riffle_call_events, replied, 24);
AT(riffle_call_events, done, 32);

SIZE(riffle_invoker_ops, 104);
AT(riffle_invoker_ops, size, 0);
AT(riffle_invoker_ops, reserved0, 4);
AT(riffle_invoker_ops, check, 8);
AT(riffle_invoker_ops, create, 16);
AT(riffle_invoker_ops, destroy, 24);
AT(riffle_invoker_ops, capabilities, 32);
AT(riffle_invoker_ops, ready, 40);
AT(riffle_invoker_ops, extension, 48);
AT(riffle_invoker_ops, call_begin, 56);
AT(riffle_invoker_ops, call_push, 64);
AT(riffle_invoker_ops, call_end, 72);
AT(riffle_invoker_ops, call_read, 80);
AT(riffle_invoker_ops, call_cancel, 88);
AT(riffle_invoker_ops, call_destroy, 96);

SIZE(riffle_txn_spec, 24);
AT(riffle_txn_spec, size, 0);
AT(riffle_txn_spec, reserved0, 4);
AT(riffle_txn_spec, sink, 8);
AT(riffle_txn_spec, id, 16);

SIZE(riffle_transactions, 48);
AT(riffle_transactions, size, 0);
AT(riffle_transactions, reserved0, 4);
AT(riffle_transactions, open, 8);
AT(riffle_transactions, begin, 16);
AT(riffle_transactions, commit, 24);
AT(riffle_transactions, abort, 32);
AT(riffle_transactions, destroy, 40);

/* riffle/abi.h */
IS(RIFFLE_ABI_MAJOR, 0u);
IS(RIFFLE_ABI_MINOR, 1u);
IS(RIFFLE_OK, 0);
IS(RIFFLE_E_INVAL, (-1));
IS(RIFFLE_E_NOMEM, (-2));
IS(RIFFLE_E_CONFIG, (-3));
IS(RIFFLE_E_UNSUPPORTED, (-4));
IS(RIFFLE_E_TIMEOUT, (-5));
IS(RIFFLE_E_CANCELLED, (-6));
IS(RIFFLE_E_UNAVAILABLE, (-7));
IS(RIFFLE_E_AUTH, (-8));
IS(RIFFLE_E_DATA, (-9));
IS(RIFFLE_E_FENCED, (-10));
IS(RIFFLE_E_FULL, (-11));
IS(RIFFLE_E_FATAL, (-12));
IS(RIFFLE_E_NOTFOUND, (-13));
IS(RIFFLE_E_LAST, (-13));
IS(RIFFLE_ERR_RETRIABLE, 1u);
IS(RIFFLE_ERROR_TEXT, 256);

/* riffle/record.h */
IS(RIFFLE_TIME_NONE, INT64_MIN);
IS(RIFFLE_OFFSET_NONE, INT64_MIN);
IS(RIFFLE_PARTITION_NONE, (-1));

/* riffle/host.h */
IS(RIFFLE_LOG_ERROR, 1);
IS(RIFFLE_LOG_WARNING, 2);
IS(RIFFLE_LOG_INFO, 3);
IS(RIFFLE_LOG_DEBUG, 4);

/* riffle/option.h */
IS(RIFFLE_OPT_STRING, 1u);
IS(RIFFLE_OPT_BOOL, 2u);
IS(RIFFLE_OPT_INT, 3u);
IS(RIFFLE_OPT_DURATION, 4u);
IS(RIFFLE_OPT_SIZE, 5u);
IS(RIFFLE_OPT_ENUM, 6u);
IS(RIFFLE_OPT_LIST, 7u);
IS(RIFFLE_OPT_PATH, 8u);
IS(RIFFLE_OPT_PASS, 9u);
IS(RIFFLE_OPT_ARGV, 10u);
IS(RIFFLE_OPT_REQUIRED, 1u);
IS(RIFFLE_OPT_SECRET, 2u);
IS(RIFFLE_OPT_RELOADABLE, 4u);
IS(RIFFLE_OPT_DEPRECATED, 8u);
IS(RIFFLE_SECTION_PROVIDER, 1u);
IS(RIFFLE_SECTION_STREAM, 2u);
IS(RIFFLE_SECTION_FUNCTION, 3u);
IS(RIFFLE_REPORT_ERROR, 1u);
IS(RIFFLE_REPORT_WARNING, 2u);

/* riffle/plugin.h */
IS(RIFFLE_MODULE_MAGIC, 1380338757u);
IS(RIFFLE_KIND_PROVIDER, 1u);
IS(RIFFLE_KIND_INVOKER, 2u);

/* riffle/provider.h */
IS(RIFFLE_CAN_SOURCE, UINT64_C(1));
IS(RIFFLE_CAN_SINK, UINT64_C(2));
IS(RIFFLE_CAN_ORDER, UINT64_C(4));
IS(RIFFLE_CAN_GROUPS, UINT64_C(8));
IS(RIFFLE_CAN_TRANSACTIONS, UINT64_C(16));
IS(RIFFLE_CAN_HEADERS, UINT64_C(32));
IS(RIFFLE_CAN_TIMESTAMPS, UINT64_C(64));
IS(RIFFLE_CAN_DURABLE, UINT64_C(128));
IS(RIFFLE_CAN_REPLAY, UINT64_C(256));
IS(RIFFLE_CAN_METADATA, UINT64_C(512));
IS(RIFFLE_CAN_SEEK_TIME, UINT64_C(1024));
IS(RIFFLE_CAN_PROVISION, UINT64_C(2048));
IS(RIFFLE_CAN_KEYS, UINT64_C(4096));
IS(RIFFLE_STREAM_EXISTS, 1u);
IS(RIFFLE_STREAM_COMPACTED, 2u);
IS(RIFFLE_LANE_FAILING, 1u);
IS(RIFFLE_LANE_HANGING, 2u);
IS(RIFFLE_START_EARLIEST, 1u);
IS(RIFFLE_START_LATEST, 2u);
IS(RIFFLE_START_TIME, 3u);
IS(RIFFLE_START_OFFSET, 4u);
IS(RIFFLE_SOURCE_HEADERS, 1u);
IS(RIFFLE_EV_NONE, 0u);
IS(RIFFLE_EV_ASSIGNED, 1u);
IS(RIFFLE_EV_REVOKED, 2u);
IS(RIFFLE_EV_LOST, 3u);
IS(RIFFLE_EV_RELEASED, 4u);
IS(RIFFLE_EV_COMMITTED, 5u);
IS(RIFFLE_EV_ERROR, 6u);
IS(RIFFLE_EV_CLOSED, 7u);
IS(RIFFLE_EV_SENT, 8u);
IS(RIFFLE_EV_TXN_READY, 9u);
IS(RIFFLE_EV_TXN, 10u);

/* riffle/invoker.h */
IS(RIFFLE_CAN_STREAM, UINT64_C(1));
IS(RIFFLE_CAN_MANY_INPUTS, UINT64_C(2));
IS(RIFFLE_CAN_MANY_OUTPUTS, UINT64_C(4));

/* riffle/ext/transactions.h */
IS(RIFFLE_TXN_COMMITTED, 1);
IS(RIFFLE_TXN_ABORTED, 2);
IS(RIFFLE_TXN_UNKNOWN, 3);

#undef SIZE
#undef AT
#undef IS

#endif
