package enrich

import (
	"fmt"

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
}

func newProof(op *schema.Operation) *proof {
	digest := schema.FieldsDigest(op.Fields())
	return &proof{digest, schema.NewFieldDigests(digest)}
}

// proofVersion is the first byte of a proof's state. A state of another version is ignored.
const proofVersion = 1

// appendState appends the state that a successor continues with:
//
//	version 1 | digest of the operation (32) | state of the digests
func (p *proof) appendState(dst []byte) ([]byte, error) {
	if p == nil {
		return dst, nil
	}
	dst = append(append(dst, proofVersion), p.operation[:]...)
	return p.digests.AppendState(dst)
}

// readProof decodes what appendState wrote; nil for anything else.
func readProof(state []byte) *proof {
	p := proof{digests: schema.NewFieldDigests(schema.Digest{})}
	if len(state) < 1+len(p.operation) || state[0] != proofVersion {
		return nil
	}
	n := copy(p.operation[:], state[1:])
	if rest, err := p.digests.Restore(state[1+n:]); err != nil || len(rest) > 0 {
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

// signEnd returns the signature of an end.
func (t *Transcript) signEnd(end *schema.Record) (string, error) {
	totals := schema.Totals{
		Operation: t.operation.ID, Sequence: end.Sequence, Bytes: t.offset, Digest: end.Digest.String(), TextDigest: end.TextDigest.String(),
	}
	if p := t.proof; p != nil {
		fields, timing := p.digests.Sums()
		totals.OperationDigest, totals.FieldsDigest, totals.TimingDigest = p.operation.String(), fields.String(), timing.String()
	}
	signature, err := t.signer.Sign(schema.SignedEnd, totals)
	if err != nil {
		return "", fmt.Errorf("operation %s: sign the end: %w", t.operation.ID, err)
	}
	return signature, nil
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
