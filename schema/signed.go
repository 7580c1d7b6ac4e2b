package schema

// Types (typ) of what ttydrain signs as compact JWS (RFC 7515), besides user documents. A signature
// of one type never counts as another.
const (
	SignedStart = "ttydrain-start+jwt" // SignedOperation, in a start record
	SignedEnd   = "ttydrain-end+jwt"   // Totals, in an end record
)

// SignedOperation is what the signature of a start record covers.
type SignedOperation struct {
	Operation map[string]string `json:"operation"` // [Operation.Fields]
}

// Totals are what the signature of an end record covers.
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
