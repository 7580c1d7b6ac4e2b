package schema

import "time"

// Names of the KV buckets that hold the desired and the reported state of the drains.
const (
	BucketControls = "controls"
	BucketStates   = "states"
)

// DrainControl is the desired state of a drain, as operators set it.
type DrainControl struct {
	Paused bool `json:"paused,omitempty"`
	// Rewind makes each worker of the drain continue after another sequence on LOGS. Workers apply
	// each Rewind.ID once.
	Rewind *Rewind `json:"rewind,omitempty"`
	// Gone stops all delivery to the drain.
	Gone *Gone `json:"gone,omitempty"`
}

// Gone records that a drain has reported its own permanent removal (HTTP 410), and when. Nothing is
// written to the drain until an operator resumes it or its settings change.
type Gone struct {
	Reason string    `json:"reason"`
	Status int       `json:"status,omitempty"`
	At     time.Time `json:"at"`
	// Settings is the salted fingerprint of the drain's settings at that time; Salt is its salt.
	Settings string `json:"settings"`
	Salt     string `json:"salt"`
}

// Rewind is a request to move a drain's position back or forward to a sequence on LOGS.
type Rewind struct {
	ID    string `json:"id"`
	After uint64 `json:"after"`
	// Skip makes a forward move abandon the undelivered records, which become gaps. Without Skip
	// they are delivered.
	Skip bool `json:"skip,omitempty"`
}

// States of a drain.
const (
	DrainDelivering = "delivering"
	DrainRetrying   = "retrying" // temporary failure, retried
	// DrainRejecting means that the drain can be reached and refuses the records of sessions, which
	// become dead letters: it has accepted none of the last ones.
	DrainRejecting     = "rejecting"
	DrainMisconfigured = "misconfigured" // fails until an operator changes its settings
	// DrainUnread means that the router cannot read the stream for the drain, for a reason other
	// than the drain itself.
	DrainUnread = "unread"
	DrainPaused = "paused"
	// DrainGone means that the drain has reported its own removal: see [Gone].
	DrainGone = "gone"
)

// DrainState is the state of one worker of a drain. A drain has one worker for each partition.
type DrainState struct {
	Drain     string `json:"drain"`
	Partition int    `json:"partition"`
	State     string `json:"state"`
	// LagRecords counts the undelivered records on LOGS, LagSegments their segments, and LagSeconds
	// is the age of the oldest one. LagAtLeast reports that LagRecords is a lower bound, because
	// counting has not finished.
	LagRecords  uint64  `json:"lag_records"`
	LagAtLeast  bool    `json:"lag_at_least,omitempty"`
	LagSegments uint64  `json:"lag_segments"`
	LagSeconds  float64 `json:"lag_seconds"`
	// Delivered counts the records since the worker started; Rate is the average over the last
	// seconds.
	Delivered uint64  `json:"delivered"`
	Rate      float64 `json:"records_per_second"`
	// LastError is the most recent error. It remains after the drain has recovered.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// NextTry is the time of the next retry; zero while the worker is not waiting for one.
	NextTry time.Time `json:"next_try,omitzero"`
	Updated time.Time `json:"updated"`
}
