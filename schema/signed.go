package schema

import "encoding/json"

// Types (typ) of what ttydrain signs as compact JWS (RFC 7515), besides user documents. A signature
// of one type never counts as another.
const (
	SignedStart = "ttydrain-start+jwt" // SignedOperation, in a start record
	SignedEnd   = "ttydrain-end+jwt"   // Totals, in an end record
	// SignedCheckpoint is of Totals, in a checkpoint record.
	SignedCheckpoint = "ttydrain-checkpoint+jwt"
	SignedGap        = "ttydrain-gap+jwt" // GapClaim, in a gap record
	// SignedReport is of the Claim of a report, as package report documents it.
	SignedReport = "ttydrain-report+jwt"
	// SignedDelegation is of a Delegation, in the header "delegation" of what the key signs.
	SignedDelegation = "ttydrain-delegation+jwt"
)

// SignedOperation holds the claims in the signature of a start record.
type SignedOperation struct {
	Operation map[string]string `json:"operation"` // [Operation.Fields]
}

// Totals holds the claims in the signature of an end or a checkpoint record.
type Totals struct {
	Operation  string `json:"operation_id"`
	Sequence   uint64 `json:"sequence"` // of this record, which is the number of records
	Bytes      uint64 `json:"bytes"`    // of the session so far, including missing ones
	Digest     string `json:"digest"`
	TextDigest string `json:"text_digest"`
	// OperationDigest is the [FieldsDigest] of the operation, whose start is signed then. The other
	// two are the [FieldDigests]. All are absent if an enricher that did not know them had a part in
	// the session.
	OperationDigest string `json:"operation_digest,omitempty"`
	FieldsDigest    string `json:"fields_digest,omitempty"`
	TimingDigest    string `json:"timing_digest,omitempty"`
}

// GapClaim holds the claims in the signature of a gap record: all of its content. The process that
// notes the gap signs it: the enricher, or the router where a drain did not get records.
type GapClaim struct {
	Operation string `json:"operation_id"`
	// Drain is the drain that did not get records; "" for bytes that were not recorded.
	Drain string `json:"drain,omitempty"`
	First uint64 `json:"first_sequence"` // of the record itself, or of the first missing one
	Last  uint64 `json:"last_sequence,omitempty"`
	// Offset, Bytes, Reason, Uncertain and the digests are those of the record.
	Offset     uint64 `json:"offset"`
	Bytes      uint64 `json:"bytes"`
	Reason     string `json:"reason"` // as in [SyslogText]
	Uncertain  bool   `json:"uncertain,omitempty"`
	Time       int64  `json:"time_us"` // microseconds since 1970 UTC
	Digest     string `json:"digest"`
	TextDigest string `json:"text_digest"`
}

// ClaimOf returns the claim of a gap record.
func ClaimOf(operation, drain string, r *Record) GapClaim {
	c := GapClaim{
		Operation: operation, Drain: drain, First: r.Sequence, Offset: r.Offset, Bytes: r.Span(), Time: r.Time / 1000,
		Digest: r.Digest.String(), TextDigest: r.TextDigest.String(),
	}
	if r.Detail != nil {
		c.Last, c.Reason, c.Uncertain = r.Detail.LastSequence, SyslogText(r.Detail.Reason), r.Detail.Uncertain
	}
	return c
}

// Delegation is the permission of a key to sign what has one type.
type Delegation struct {
	Type string          `json:"delegated_type"`
	Key  json.RawMessage `json:"key"` // public, as a JSON Web Key (RFC 7517)
}

// HeaderDelegation is the header of a JWS with the delegation of its key, which is no key of the
// key set itself.
const HeaderDelegation = "delegation"
