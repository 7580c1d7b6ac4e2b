package schema

import "time"

// Session is the state of an operation's session.
type Session struct {
	Operation *Operation `json:"operation"`
	// Gateway is the name of the gateway that runs the session. It stays the same over restarts.
	Gateway string `json:"gateway"`
	// Ended is the time of the session's end; zero while it runs.
	Ended  time.Time `json:"ended,omitzero"`
	Reason string    `json:"reason,omitempty"`
	// EndedBy and EndedBecause are those of the end record: see [Detail].
	EndedBy      string `json:"ended_by,omitempty"`
	EndedBecause string `json:"ended_because,omitempty"`
	ExitStatus   *int   `json:"exit_status,omitempty"`
	Bytes        uint64 `json:"bytes,omitempty"`
}

// Names of the KV buckets for requests to kill sessions, and for the slots that sessions hold.
const (
	BucketKills = "kills"
	BucketSlots = "slots"
)

// Slot is one of the sessions that a stack may run at once. The session's gateway renews its slot;
// a slot that is not renewed is freed within a minute.
type Slot struct {
	Stack string `json:"stack"`
	// Number counts a stack's slots from 1. It is above the limit if the limit was lowered while
	// the session was running.
	Number int `json:"number"`
	// Holder is unique for each session. It is set before Operation, which is "" until it is known.
	Holder    string    `json:"holder"`
	Operation string    `json:"operation,omitempty"`
	App       string    `json:"app"`
	User      User      `json:"user"`
	Gateway   string    `json:"gateway"`
	Since     time.Time `json:"since"`
	// Bytes is the session's byte count at the last renewal.
	Bytes uint64 `json:"bytes,omitempty"`
}

// Kill is an operator's request to end a session. The gateway that runs the session ends it and
// deletes the request.
type Kill struct {
	Operation string `json:"operation"`
	// By names the operator, and Because is the operator's reason, or "". Both are free text of one
	// line.
	By      string    `json:"by"`
	Because string    `json:"because,omitempty"`
	At      time.Time `json:"at"`
}
