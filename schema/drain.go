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
	// Rewind makes each worker of the drain deliver again what comes after a sequence on LOGS. Its ID tells one
	// rewind from the next.
	Rewind *Rewind `json:"rewind,omitempty"`
}

// A Rewind is a position to go back (or forward) to.
type Rewind struct {
	ID    string `json:"id"`
	After uint64 `json:"after"`
}

// How a drain stands.
const (
	DrainDelivering    = "delivering"
	DrainRetrying      = "retrying"      // the cause should pass by itself
	DrainMisconfigured = "misconfigured" // somebody must change its settings
	DrainPaused        = "paused"
)

// A DrainState is how one worker of a drain stands, of which there is one for each partition.
type DrainState struct {
	Drain     string `json:"drain"`
	Partition int    `json:"partition"`
	State     string `json:"state"`
	// LagSegments are on LOGS and not delivered; LagSeconds is the age of the oldest of them.
	LagSegments uint64  `json:"lag_segments"`
	LagSeconds  float64 `json:"lag_seconds"`
	// Delivered counts records since the worker began; Rate is of the last seconds.
	Delivered uint64  `json:"delivered"`
	Rate      float64 `json:"records_per_second"`
	// LastError is the last that went wrong, and when; it stays after the drain has recovered.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	Updated     time.Time `json:"updated"`
}
