package session

import "errors"

// Why the context of a session was cancelled, as context.Cause tells it.
var (
	// ErrDisconnected: the client closed the session or went away, and nobody sees its output any
	// more.
	ErrDisconnected = errors.New("the client disconnected")
	// ErrShutdown: the gateway is stopping. The client is still there and can be told.
	ErrShutdown = errors.New("the gateway is stopping")
)
