package receive

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// A framing is one of the two ways in which RFC 6587 puts messages on a stream.
type framing uint8

const (
	unknown       framing = iota
	octetCounting         // §3.4.1: "LENGTH MESSAGE", which RFC 5425 demands over TLS
	newline               // §3.4.2: "MESSAGE\n"
)

var (
	errFraming  = errors.New("neither octet counting (a length and a space) nor a line that begins with \"<\" (RFC 6587)")
	errTooLong  = errors.New("message too long")
	errEmpty    = errors.New("empty line where a message must be (RFC 6587 §3.4.2)")
	errCutShort = errors.New("the connection ended within a message")
)

// A frameReader takes messages off a stream. The first byte tells the framing of all: a length
// begins with a digit, a message with "<".
type frameReader struct {
	r       *bufio.Reader
	max     int // greatest length of a message
	framing framing
	buf     []byte // the latest message; reused for the next
}

func newFrameReader(r io.Reader, max int) *frameReader {
	return &frameReader{r: bufio.NewReader(r), max: max}
}

// next returns the next message, which is valid until the call after. It returns io.EOF where the
// stream ends after a message.
func (f *frameReader) next() ([]byte, error) {
	first, err := f.r.ReadByte()
	if err != nil {
		return nil, err
	}
	if f.framing == unknown {
		switch {
		case '1' <= first && first <= '9':
			f.framing = octetCounting
		case first == '<':
			f.framing = newline
		default:
			return nil, errFraming
		}
	}
	f.buf = f.buf[:0]
	if f.framing == newline {
		f.r.UnreadByte() // never fails after ReadByte
		return f.line()
	}
	return f.counted(first)
}

// counted reads a message after the first digit of its length.
func (f *frameReader) counted(first byte) ([]byte, error) {
	if first < '1' || first > '9' {
		return nil, errFraming
	}
	length := int(first - '0')
	for {
		if length > f.max {
			return nil, fmt.Errorf("%w: more than %d bytes", errTooLong, f.max)
		}
		c, err := f.r.ReadByte()
		switch {
		case err != nil:
			return nil, cutShort(err)
		case c == ' ':
			if cap(f.buf) < length {
				f.buf = make([]byte, length)
			}
			f.buf = f.buf[:length]
			if _, err := io.ReadFull(f.r, f.buf); err != nil {
				return nil, cutShort(err)
			}
			return f.buf, nil
		case c < '0' || c > '9':
			return nil, errFraming
		}
		length = length*10 + int(c-'0')
	}
}

func (f *frameReader) line() ([]byte, error) {
	for {
		part, err := f.r.ReadSlice('\n')
		f.buf = append(f.buf, part...)
		if err == nil {
			f.buf = f.buf[:len(f.buf)-1]
		}
		switch {
		case len(f.buf) > f.max:
			return nil, fmt.Errorf("%w: more than %d bytes", errTooLong, f.max)
		case err == nil && len(f.buf) == 0:
			return nil, errEmpty
		case err == nil:
			return f.buf, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, cutShort(err)
		}
	}
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCutShort
	}
	return fmt.Errorf("%w: %w", errCutShort, err)
}
