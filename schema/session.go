package schema

import "time"

// A Session says how an operation's session stands.
type Session struct {
	Operation *Operation `json:"operation"`
	// Gateway is the one that runs it, a name that lasts over its restarts.
	Gateway string `json:"gateway"`
	// Ended is when it ended; zero while it runs.
	Ended      time.Time `json:"ended,omitzero"`
	Reason     string    `json:"reason,omitempty"`
	ExitStatus *int      `json:"exit_status,omitempty"`
	Bytes      uint64    `json:"bytes,omitempty"`
}
