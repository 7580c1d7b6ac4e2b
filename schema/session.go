package schema

import "time"

// A Session says how an operation's session stands.
type Session struct {
	Operation *Operation `json:"operation"`
	// Gateway is the one that runs it, a name that lasts over its restarts.
	Gateway string `json:"gateway"`
	// Ended is when it ended; zero while it runs.
	Ended  time.Time `json:"ended,omitzero"`
	Reason string    `json:"reason,omitempty"`
	// EndedBy and EndedBecause are those of the end record: see [Detail].
	EndedBy      string `json:"ended_by,omitempty"`
	EndedBecause string `json:"ended_because,omitempty"`
	ExitStatus   *int   `json:"exit_status,omitempty"`
	Bytes        uint64 `json:"bytes,omitempty"`
}

// Buckets of what is wanted of sessions, and of the slots that they hold.
const (
	BucketKills = "kills"
	BucketSlots = "slots"
)

// A Slot is a place among the sessions that a stack may have at once. Who holds it renews it; what
// is not renewed is forgotten within a minute.
type Slot struct {
	Stack string `json:"stack"`
	// Number counts a stack's slots from 1. Above the limit, it is that of a session that goes on
	// although the limit was lowered.
	Number int `json:"number"`
	// Holder is unique for each session, and there before the Operation, which is "" until it is
	// known.
	Holder    string    `json:"holder"`
	Operation string    `json:"operation,omitempty"`
	App       string    `json:"app"`
	User      User      `json:"user"`
	Gateway   string    `json:"gateway"`
	Since     time.Time `json:"since"`
	// Bytes is what the session had shown when the slot was renewed last.
	Bytes uint64 `json:"bytes,omitempty"`
}

// A Kill is the wish that a session ends. The gateway that runs it ends it and takes the wish away.
type Kill struct {
	Operation string `json:"operation"`
	// By is who wishes it, in their own words; Because is the reason that they give, or "". Both are
	// of one line.
	By      string    `json:"by"`
	Because string    `json:"because,omitempty"`
	At      time.Time `json:"at"`
}
