#!/usr/bin/env node
// JSON lines, as a coprocess: each number doubled on output 0, their sum on output 1. "busy" fails a first attempt.
const lines = require("readline").createInterface({ input: process.stdin });
const say = (message) => process.stdout.write(JSON.stringify(message) + "\n");
let start, total, failure;

lines.on("line", (line) => {
  const message = JSON.parse(line);
  if (message.type === "start") {
    [start, total, failure] = [message, 0, null];
  } else if (message.type === "record") {
    if (/^\d+$/.test(message.value)) {
      total += Number(message.value);
      say({ output: start.outputs[0].name, key: message.key, value: String(2 * Number(message.value)) });
    } else if (message.value !== "busy") {
      failure = { status: 1, message: "not a number: " + message.value };
    } else if (start.attempt === 1) {
      failure = { status: 75, message: "busy" };
    }
  } else if (message.type === "end") {
    if (!failure) say({ output: start.outputs[1].name, value: String(total) });
    say({ type: "status", window: message.window, status: 0, ...failure });
  }
});
