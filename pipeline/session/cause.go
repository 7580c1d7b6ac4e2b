package session

import "errors"

// Causes with which the context of a session is cancelled (see context.Cause).
var (
	// ErrDisconnected: the client closed the session or the connection, so its output is no longer
	// seen.
	ErrDisconnected = errors.New("the client disconnected")
	// ErrShutdown: the gateway is stopping. The client is still connected and can be notified.
	ErrShutdown = errors.New("the gateway is stopping")
)
