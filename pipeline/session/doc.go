// Package session runs the sessions that users open through the gateway: one ephemeral container or
// sandbox for each, recorded from its first byte to its end.
//
// # The promise
//
// A byte is shown only after it is durably recorded. What a session writes to its terminal, or to
// its standard output and error, is published to the TTY stream, and reaches the client when the
// stream has acknowledged it (write-ahead). Terminal input is never recorded: the terminal echoes
// it exactly where the user sees it. Without a terminal, the end record has the size and digest of
// the input, and record_stdin records the input itself (input.go). If the stream refuses output for
// ten seconds, the session ends; the message that reports this is the only output that is shown
// without being recorded. A session that cannot be recorded does not start.
//
// # From request to end record
//
// The gateway calls [Manager.Run] with an authenticated [Request] and the client's [IO]. Run
//
//   - takes one of the stack's slots, which limit concurrent sessions over all gateways (slots.go);
//   - stores the [schema.Operation], whose ID is the session's ID everywhere, with the user
//     document;
//   - starts a capture and records the start event, the banner included;
//   - lets the app's [Runtime] start the command, and connects its [Process] to capture and client;
//   - ends the session for the first of: exit, disconnect, expiry, a kill request, an output limit,
//     shutdown of the gateway, or a failure to record;
//   - records the end event, waits until it is stored, and releases the slot.
//
// The capture (capture.go) is the path of every byte: publish makes chunks of what was read,
// confirm waits for the acknowledgements in order, show writes to the client. A client that reads
// slowly holds back the program, as a terminal does, and never the recording of what was read. A
// refused chunk is retried, and no further chunk is published until it is stored, so that one
// refusal causes at most one gap.
//
// Ends that cannot be recorded at once are recorded later: by [Manager.Tend] while the gateway
// runs, by [Manager.Drain] when it stops, and by [Manager.Recover] after it was killed.
//
// # Limits
//
// The governor (governor.go) limits the rate and amount of output of each session, user and stack,
// and holds output back while the space to record it is scarce, so that sessions with little output
// go on. Nothing is ever dropped: a program that writes too fast waits.
//
// # Runtimes
//
// Package sandbox runs sessions in Linux namespaces on the gateway's host, package docker in
// containers of a Docker daemon. A new runtime is a package that implements [Runtime] and [Process]
// and passes the conformance suite in package sessiontest. Its name goes into the constants and the
// enum of App.Runtime in pipeline/config/config.go, its settings next to them, into
// schema/config.schema.json and into the table in pipeline/config/reload/settings.go; and the
// runtime itself into the table of runtimes in cmd/ttydrain/gateway.go and into verify.go beside
// it. The package knows no message bus: [Publisher], [Store] and [Slots] are implemented on top of
// package bus.
package session
