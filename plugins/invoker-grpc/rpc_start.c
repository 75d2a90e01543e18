/* The StartFrame: names and types of a call, by protobuf-c. */
#include "rpc.h"

#include <riff.pb-c.h>

#include <stdlib.h>

/*
 * riff's invokers die of an empty list, and want a type that they can make, so a processor without
 * outputs has one that nobody reads.
 */
static char unread_name[] = "none", unread_type[] = "application/json";

static char **
copy_pointers(const char *const *list, uint32_t count)
{
	char **copy = rpc_alloc((count + 1) * sizeof *copy);
	for (uint32_t i = 0; i < count; i++)
		copy[i] = (char *)(uintptr_t)list[i];
	return copy;
}

grpc_slice
rpc_start_frame(const struct riffle_call_spec *spec)
{
	Streaming__StartFrame start = STREAMING__START_FRAME__INIT;
	Streaming__InputSignal signal = STREAMING__INPUT_SIGNAL__INIT;
	char **inputs = copy_pointers(spec->input_names, spec->input_count);
	char **outputs = copy_pointers(spec->output_names, spec->output_count);
	char **types = copy_pointers(spec->output_types, spec->output_count);
	if (spec->output_count == 0) {
		outputs[0] = unread_name;
		types[0] = unread_type;
	}
	start.inputnames = inputs;
	start.n_inputnames = spec->input_count;
	start.outputnames = outputs;
	start.expectedcontenttypes = types;
	start.n_outputnames = start.n_expectedcontenttypes =
		spec->output_count > 0 ? spec->output_count : 1;
	signal.frame_case = STREAMING__INPUT_SIGNAL__FRAME_START;
	signal.start = &start;
	grpc_slice slice = grpc_slice_malloc(streaming__input_signal__get_packed_size(&signal));
	streaming__input_signal__pack(&signal, GRPC_SLICE_START_PTR(slice));
	free(inputs);
	free(outputs);
	free(types);
	return slice;
}
