package enrich

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// A Signer signs what a session's copies are verified with.
type Signer interface {
	// Sign signs an object, as JSON, with a type of package schema, such as [schema.SignedEnd].
	Sign(typ string, object any) (string, error)
}

// proof is the running state of what a session's signatures cover besides the digests of bytes and
// texts. It is nil for a session that an enricher of a version without it has begun or continued:
// its end then is signed as that version did.
type proof struct {
	operation schema.Digest // of the signed start
	digests   *schema.FieldDigests
	signed    uint64    // sequence of the last checkpoint, or of the start
	last      int64     // time of the last record
	since     time.Time // when there was something to sign that is not signed; zero for nothing
}

const (
	// checkpointRecords is the number of records after which a checkpoint follows. Signing one takes
	// about 60 µs, and so 12 ns a record.
	checkpointRecords = 5000
	// checkpointAge is the time after which a checkpoint follows an unsigned record. It is shorter
	// than the enricher keeps a session without output in memory.
	checkpointAge = 4 * time.Minute
)

func newProof(op *schema.Operation) *proof {
	digest := schema.FieldsDigest(op.Fields())
	return &proof{operation: digest, digests: schema.NewFieldDigests(digest)}
}

// proofVersion is the first byte of a proof's state. A state of another version is ignored.
const proofVersion = 1

// appendState appends the state that a successor continues with:
//
//	version 1 | digest of the operation (32) | state of the digests | uvarint sequence of the last
//	checkpoint
func (p *proof) appendState(dst []byte) ([]byte, error) {
	if p == nil {
		return dst, nil
	}
	dst = append(append(dst, proofVersion), p.operation[:]...)
	dst, err := p.digests.AppendState(dst)
	return binary.AppendUvarint(dst, p.signed), err
}

// readProof decodes what appendState wrote; nil for anything else.
func readProof(state []byte) *proof {
	p := proof{digests: schema.NewFieldDigests(schema.Digest{})}
	if len(state) < 1+len(p.operation) || state[0] != proofVersion {
		return nil
	}
	n := copy(p.operation[:], state[1:])
	rest, err := p.digests.Restore(state[1+n:])
	if err != nil {
		return nil
	}
	var size int
	if p.signed, size = binary.Uvarint(rest); size <= 0 || size < len(rest) {
		return nil
	}
	return &p
}

// signStart returns the signature of a start; "" for a session without a proof.
func (t *Transcript) signStart() (string, error) {
	if t.proof == nil {
		return "", nil
	}
	signature, err := t.signer.Sign(schema.SignedStart, schema.SignedOperation{Operation: t.operation.Fields()})
	if err != nil {
		return "", fmt.Errorf("operation %s: sign the start: %w", t.operation.ID, err)
	}
	return signature, nil
}

// signTotals returns the signature of an end or a checkpoint.
func (t *Transcript) signTotals(typ string, r *schema.Record) (string, error) {
	if t.signer == nil {
		return "", nil
	}
	totals := schema.Totals{
		Operation: t.operation.ID, Sequence: r.Sequence, Bytes: t.offset, Digest: r.Digest.String(), TextDigest: r.TextDigest.String(),
	}
	if p := t.proof; p != nil {
		fields, timing := p.digests.Sums()
		totals.OperationDigest, totals.FieldsDigest, totals.TimingDigest = p.operation.String(), fields.String(), timing.String()
	}
	signature, err := t.signer.Sign(typ, totals)
	if err != nil {
		return "", fmt.Errorf("operation %s: sign: %w", t.operation.ID, err)
	}
	return signature, nil
}

// signCheckpoint returns the signature of a checkpoint, after which the digests begin again with
// what it signs.
func (t *Transcript) signCheckpoint(r *schema.Record) (string, error) {
	signature, err := t.signTotals(schema.SignedCheckpoint, r)
	if err != nil {
		return "", err
	}
	p := t.proof
	p.digests.Restart(p.digests.Sums())
	p.signed, p.since = r.Sequence, time.Time{}
	return signature, nil
}

// unsigned returns the number of records that no checkpoint covers yet. The start and the end are
// signed themselves.
func (t *Transcript) unsigned() uint64 {
	if t.proof == nil || t.ended {
		return 0
	}
	return t.sequence - min(t.sequence, max(t.proof.signed, 1))
}

// expireUnsigned adds a checkpoint if there have been unsigned records for checkpointAge.
func (t *Transcript) expireUnsigned(now time.Time) {
	switch p := t.proof; {
	case t.unsigned() == 0:
	case p.since.IsZero():
		p.since = now
	case now.Sub(p.since) >= checkpointAge:
		t.checkpoint()
	}
}

// checkpoint adds a checkpoint, with the time of the record before it.
func (t *Transcript) checkpoint() {
	t.err = errors.Join(t.err, t.event(schema.EventCheckpoint, t.proof.last, new(schema.Detail)))
}

// signGap returns the signature of a gap.
func (t *Transcript) signGap(gap *schema.Record) (string, error) {
	if t.proof == nil {
		return "", nil
	}
	signature, err := t.signer.Sign(schema.SignedGap, schema.ClaimOf(t.operation.ID, "", gap))
	if err != nil {
		return "", fmt.Errorf("operation %s: sign a gap: %w", t.operation.ID, err)
	}
	return signature, nil
}
