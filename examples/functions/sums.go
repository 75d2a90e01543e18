// JSON lines, as a coprocess: each number doubled on output 0, their sum on output 1. "busy" fails a first attempt.
package main

import ("encoding/json"; "os"; "strconv")

type message struct {
	Type, Value string
	Window, Attempt, Total, Status int
	Outputs []struct{ Name string }
}

func main() {
	in, out, window := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout), message{}
	answer := func(i, n int) { out.Encode(map[string]string{"output": window.Outputs[i].Name, "value": strconv.Itoa(n)}) }
	for m := (message{}); in.Decode(&m) == nil; m = (message{}) {
		switch n, err := strconv.Atoi(m.Value); {
		case m.Type == "start": window = m
		case m.Type == "end":
			if window.Status == 0 { answer(1, window.Total) }
			out.Encode(map[string]any{"type": "status", "window": m.Window, "status": window.Status})
		case err == nil:
			window.Total += n
			answer(0, 2*n)
		case m.Value != "busy": window.Status = 1
		case window.Attempt == 1: window.Status = 75
		}
	}
}
