#!/bin/sh
# JSON lines, as a coprocess: each number doubled on output 0, their sum on output 1. "busy" fails a first attempt.
exec jq -cn --unbuffered '
foreach (inputs | .value //= "") as $in ({};
	if $in.type == "start" then
		{start: $in, total: 0, status: 0}
	elif $in.type == "record" and ($in.value | test("^[0-9]+$")) then
		.total += ($in.value | tonumber)
	elif $in.type == "record" and $in.value != "busy" then
		. + {status: 1, message: "not a number: \($in.value)"}
	elif $in.type == "record" and .start.attempt == 1 then
		. + {status: 75, message: "busy"}
	else . end;
	if $in.type == "record" and ($in.value | test("^[0-9]+$")) then
		{output: .start.outputs[0].name, key: $in.key, value: "\(2 * ($in.value | tonumber))"}
	elif $in.type == "end" then
		(select(.status == 0) | {output: .start.outputs[1].name, value: "\(.total)"}),
		{type: "status", window: $in.window, status, message}
	else empty end)'
