package schema

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"errors"
	"hash"
)

// FieldDigests are the running SHA-256 digests of what the digests of bytes and texts do not cover.
// Both begin with the digest of the operation's [Operation.Fields], or, after a checkpoint, with
// their own value there. Then, for each record in the order of the sequence:
//
//	fields: event byte | flags byte | big-endian microseconds since 1970 (8)
//	        [uvarint length, details of an event as in AppendFields]
//	timing: [uvarint length, timing of output]
//
// The flags are 1 for standard error and 2 for a partial line. The event is its number. Timing has
// a digest of its own, since not every form of a record has it. The bytes never change: signatures
// cover the digests.
//
// It must not be used concurrently. The zero value is not ready: see [NewFieldDigests].
type FieldDigests struct {
	fields, timing running
}

// NewFieldDigests returns the digests before the first record of an operation.
func NewFieldDigests(operation Digest) *FieldDigests {
	d := &FieldDigests{running{hash: sha256.New()}, running{hash: sha256.New()}}
	d.Restart(operation, operation)
	return d
}

// Restart begins again, with the digests that a checkpoint has signed.
func (d *FieldDigests) Restart(fields, timing Digest) {
	d.fields.restart(fields)
	d.timing.restart(timing)
}

// Flags of a record in the canonical bytes.
const (
	canonicalStderr  = 1
	canonicalPartial = 2
)

// Add adds a record.
func (d *FieldDigests) Add(r *Record) error {
	flags := byte(0)
	if r.Stream == Stderr {
		flags |= canonicalStderr
	}
	if r.Partial {
		flags |= canonicalPartial
	}
	b := append(d.fields.buf, byte(r.Event), flags)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Time/1000))
	if r.Event == EventOutput {
		d.fields.buf = b
		d.fields.flushFull()
		d.timing.buf = appendBytes(d.timing.buf, r.Timing)
		d.timing.flushFull()
		return nil
	}
	fields, err := r.Detail.fields()
	if err != nil {
		return err
	}
	d.fields.buf = appendBytes(b, AppendFields(nil, fields))
	d.fields.flushFull()
	return nil
}

// Sums returns the digests of all records so far.
func (d *FieldDigests) Sums() (fields, timing Digest) { return d.fields.sum(), d.timing.sum() }

// AppendState appends the state, from which [FieldDigests.Restore] continues.
func (d *FieldDigests) AppendState(dst []byte) ([]byte, error) {
	dst, err := d.fields.appendState(dst)
	if err != nil {
		return dst, err
	}
	return d.timing.appendState(dst)
}

// Restore replaces the state by one that AppendState has written, and returns what follows it.
func (d *FieldDigests) Restore(state []byte) (rest []byte, err error) {
	if rest, err = d.fields.restore(state); err != nil {
		return nil, err
	}
	return d.timing.restore(rest)
}

// running is a hash whose input is collected, since hashing a few bytes at a time is slow.
type running struct {
	hash hash.Hash
	buf  []byte
}

const maxRunning = 2 << 10

func (r *running) flush() {
	r.hash.Write(r.buf)
	r.buf = r.buf[:0]
}

func (r *running) flushFull() {
	if len(r.buf) >= maxRunning {
		r.flush()
	}
}

func (r *running) restart(with Digest) {
	r.hash.Reset()
	r.buf = append(r.buf[:0], with[:]...)
}

func (r *running) sum() (d Digest) {
	r.flush()
	r.hash.Sum(d[:0])
	return d
}

// The state of a SHA-256 as the standard library marshals it: a name, the state itself, the block
// that is not full, and the number of bytes. Most of the block is empty.
const (
	hashName  = "sha\x03"
	hashState = sha256.Size
	hashBlock = sha256.BlockSize
	hashSize  = len(hashName) + hashState + hashBlock + 8
)

var errHashState = errors.New("the state of a digest is not readable")

// appendState appends the state without the empty part of its block:
//
//	state (32) | uvarint number of bytes | those of the last block
func (r *running) appendState(dst []byte) ([]byte, error) {
	r.flush()
	b, err := r.hash.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return dst, err
	}
	if len(b) != hashSize || !bytes.HasPrefix(b, []byte(hashName)) {
		return dst, errHashState
	}
	b = b[len(hashName):]
	n := binary.BigEndian.Uint64(b[hashState+hashBlock:])
	dst = append(dst, b[:hashState]...)
	dst = binary.AppendUvarint(dst, n)
	return append(dst, b[hashState:hashState+int(n%hashBlock)]...), nil
}

func (r *running) restore(state []byte) (rest []byte, err error) {
	in := reader{data: state}
	b := append([]byte(hashName), in.take(hashState)...)
	n := in.uvarint()
	block := in.take(n % hashBlock)
	if in.bad {
		return nil, errHashState
	}
	b = append(append(b, block...), make([]byte, hashBlock-len(block))...)
	b = binary.BigEndian.AppendUint64(b, n)
	r.buf = r.buf[:0]
	return in.data, r.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(b)
}
