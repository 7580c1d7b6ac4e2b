package schema

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// FrameKind is the kind of a frame.
type FrameKind uint8

const (
	FrameStdout   FrameKind = iota // bytes of the terminal, or of standard output
	FrameStderr                    // bytes of standard error, without a terminal
	FrameStart                     // the session began; Payload is the JSON of the Operation
	FrameResize                    // Payload is the JSON of a Detail with Width and Height
	FrameEnd                       // the session ended; Payload is the JSON of a Detail
	FrameGap                       // bytes were lost here; Payload is the JSON of a Detail with Bytes and Reason
	FrameInput                     // input of a session without a terminal; Payload is the JSON of a Detail with Input
	FrameTransfer                  // a file was transferred; Payload is the JSON of a Detail with Path, Direction, Size and SHA256
)

// IsOutput reports whether the frame holds bytes that were shown.
func (k FrameKind) IsOutput() bool { return k == FrameStdout || k == FrameStderr }

// Stream returns the stream of an output frame.
func (k FrameKind) Stream() Stream {
	if k == FrameStderr {
		return Stderr
	}
	return Stdout
}

// Frame is the data or event of one moment in a session.
type Frame struct {
	Kind    FrameKind
	Time    int64 // nanoseconds since 1970 UTC
	Payload []byte
}

// Chunk is one message of the TTY stream: a few frames of one operation.
type Chunk struct {
	// Ordinal counts an operation's chunks from 0. A reader that finds one missing waits for it,
	// because a retried publish can arrive after its successor.
	Ordinal uint64
	// Offset counts the bytes of each stream in the preceding chunks, Events the event frames in
	// them.
	Offset [2]uint64
	Events uint64
	Frames []Frame
}

const (
	// chunkVersion is the version of chunks with frames that version 1 does not have. Other chunks
	// have version 1.
	chunkVersion   = 2
	segmentVersion = 4
)

// ErrVersion is returned for a message that a later version of ttydrain wrote.
var ErrVersion = errors.New("written by a later version of ttydrain: upgrade this one first")

// ErrCorrupt is returned for a message that is not in the expected format.
var ErrCorrupt = errors.New("not a message of ttydrain, or a damaged one")

// AppendChunk appends the binary form of c:
//
//	version 1 or 2 | uvarint ordinal | uvarint offset of stdout, of stderr | uvarint events |
//	varint time of the first frame |
//	frames to the end: kind byte | varint nanoseconds since the frame before | uvarint length | payload
func AppendChunk(dst []byte, c *Chunk) []byte {
	version := byte(1)
	for i := range c.Frames {
		if c.Frames[i].Kind > FrameGap {
			version = chunkVersion
		}
	}
	dst = append(dst, version)
	dst = binary.AppendUvarint(dst, c.Ordinal)
	dst = binary.AppendUvarint(dst, c.Offset[Stdout])
	dst = binary.AppendUvarint(dst, c.Offset[Stderr])
	dst = binary.AppendUvarint(dst, c.Events)
	var last int64
	if len(c.Frames) > 0 {
		last = c.Frames[0].Time
	}
	dst = binary.AppendVarint(dst, last)
	for i := range c.Frames {
		f := &c.Frames[i]
		dst = append(dst, byte(f.Kind))
		dst = binary.AppendVarint(dst, f.Time-last)
		dst = binary.AppendUvarint(dst, uint64(len(f.Payload)))
		dst = append(dst, f.Payload...)
		last = f.Time
	}
	return dst
}

// ChunkOverhead returns the maximum size of the binary form of a chunk with that many frames, apart
// from their payloads.
func ChunkOverhead(frames int) int {
	return 1 + 5*binary.MaxVarintLen64 + frames*(1+2*binary.MaxVarintLen64)
}

// DecodeChunk decodes the output of [AppendChunk]. The payloads alias data. c.Frames is reused.
func DecodeChunk(data []byte, c *Chunk) error {
	r := reader{data: data}
	version, err := r.version(chunkVersion)
	if err != nil {
		return fmt.Errorf("decode chunk: %w", err)
	}
	c.Ordinal = r.uvarint()
	c.Offset[Stdout] = r.uvarint()
	c.Offset[Stderr] = r.uvarint()
	c.Events = r.uvarint()
	at := r.varint()
	c.Frames = c.Frames[:0]
	for len(r.data) > 0 && !r.bad {
		kind := FrameKind(r.byte())
		at += r.varint()
		payload := r.bytes()
		if kind > FrameTransfer || version < 2 && kind > FrameGap {
			r.bad = true
		}
		c.Frames = append(c.Frames, Frame{Kind: kind, Time: at, Payload: payload})
	}
	if r.bad {
		return fmt.Errorf("decode chunk: %w", ErrCorrupt)
	}
	return nil
}

// StartFrame returns the first frame of a session.
func StartFrame(at time.Time, op *Operation) (Frame, error) { return jsonFrame(FrameStart, at, op) }

// DetailFrame returns a frame with a Detail, such as a resize, end or gap frame.
func DetailFrame(kind FrameKind, at time.Time, d *Detail) (Frame, error) {
	return jsonFrame(kind, at, d)
}

func jsonFrame(kind FrameKind, at time.Time, v any) (Frame, error) {
	payload, err := json.Marshal(v)
	if err != nil {
		return Frame{}, fmt.Errorf("encode frame: %w", err)
	}
	return Frame{Kind: kind, Time: at.UnixNano(), Payload: payload}, nil
}

// reader consumes fields from the front of a message. A field that is not there sets bad.
type reader struct {
	data []byte
	bad  bool
}

// version reads the version of a message; want is the latest version that can be decoded.
func (r *reader) version(want byte) (byte, error) {
	switch v := r.byte(); {
	case r.bad || v == 0:
		return 0, ErrCorrupt
	case v > want:
		return 0, ErrVersion
	default:
		return v, nil
	}
}

func (r *reader) byte() byte {
	if len(r.data) == 0 {
		r.bad = true
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.bad, r.data = true, nil
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.data)
	if n <= 0 {
		r.bad, r.data = true, nil
		return 0
	}
	r.data = r.data[n:]
	return v
}

// bytes reads a length and that many bytes, which alias the message.
func (r *reader) bytes() []byte { return r.take(r.uvarint()) }

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.data)) {
		r.bad, r.data = true, nil
		return nil
	}
	b := r.data[:n:n]
	r.data = r.data[n:]
	return b
}

// Start returns the operation of a session's first chunk.
func (c *Chunk) Start() (*Operation, error) {
	if len(c.Frames) == 0 || c.Frames[0].Kind != FrameStart {
		return nil, fmt.Errorf("a session's first chunk has no start: %w", ErrCorrupt)
	}
	op := new(Operation)
	if err := json.Unmarshal(c.Frames[0].Payload, op); err != nil {
		return nil, fmt.Errorf("decode the start of a session: %w", ErrCorrupt)
	}
	return op, nil
}
