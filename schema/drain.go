package schema

import "time"

// Buckets of what is wanted of the drains, and how they stand.
const (
	BucketControls = "controls"
	BucketStates   = "states"
)

// A DrainControl is what operators want of a drain.
type DrainControl struct {
	Paused bool `json:"paused,omitempty"`
	// Rewind makes each worker of the drain deliver again what comes after a sequence on LOGS. Its ID
	// tells one rewind from the next.
	Rewind *Rewind `json:"rewind,omitempty"`
	// Gone makes the workers write nothing more.
	Gone *Gone `json:"gone,omitempty"`
}

// Gone says that a drain has told that it has ceased to exist, and when. Nothing is written to it
// until an operator resumes it, or its settings are others than then.
type Gone struct {
	Reason string    `json:"reason"`
	Status int       `json:"status,omitempty"`
	At     time.Time `json:"at"`
	// Settings is the fingerprint that the drain's settings had, made with the salt.
	Settings string `json:"settings"`
	Salt     string `json:"salt"`
}

// A Rewind is a position to go back to, or forward.
type Rewind struct {
	ID    string `json:"id"`
	After uint64 `json:"after"`
	// Skip lets it go forward past records that the drain does not have: they become gaps. Without
	// it they are delivered.
	Skip bool `json:"skip,omitempty"`
}

// How a drain stands.
const (
	DrainDelivering    = "delivering"
	DrainRetrying      = "retrying"      // the cause should pass by itself
	DrainMisconfigured = "misconfigured" // somebody must change its settings
	// DrainUnread: the router cannot read the stream for the drain, for a reason that is not the
	// drain's.
	DrainUnread = "unread"
	DrainPaused = "paused"
	// DrainGone: the drain says that it has ceased to exist. It is left alone until somebody resumes
	// it or changes its settings.
	DrainGone = "gone"
)

// A DrainState is how one worker of a drain stands, of which there is one for each partition.
type DrainState struct {
	Drain     string `json:"drain"`
	Partition int    `json:"partition"`
	State     string `json:"state"`
	// LagRecords are on LOGS, in LagSegments, and not delivered; LagSeconds is how long ago the first
	// of them was shown. LagAtLeast says that LagRecords is still being counted, and may be more.
	LagRecords  uint64  `json:"lag_records"`
	LagAtLeast  bool    `json:"lag_at_least,omitempty"`
	LagSegments uint64  `json:"lag_segments"`
	LagSeconds  float64 `json:"lag_seconds"`
	// Delivered counts records since the worker began; Rate is of the last seconds.
	Delivered uint64  `json:"delivered"`
	Rate      float64 `json:"records_per_second"`
	// LastError is the last that went wrong, and when; it stays after the drain has recovered.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// NextTry is when a drain that fails is tried again; zero where it does not wait for that.
	NextTry time.Time `json:"next_try,omitzero"`
	Updated time.Time `json:"updated"`
}
