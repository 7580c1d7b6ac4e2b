package receive

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// framing is one of the two framings of RFC 6587.
type framing uint8

const (
	unknown       framing = iota
	octetCounting         // §3.4.1: "LENGTH MESSAGE", required over TLS by RFC 5425
	newline               // §3.4.2: "MESSAGE\n"
)

var (
	errFraming  = errors.New("neither octet counting (a length and a space) nor a line that begins with \"<\" (RFC 6587)")
	errTooLong  = errors.New("message too long")
	errEmpty    = errors.New("empty line instead of a message (RFC 6587 §3.4.2)")
	errCutShort = errors.New("the connection ended within a message")
)

// frameReader reads messages from a stream. The first byte determines the framing of the whole
// stream: a length begins with a digit, a message with "<".
type frameReader struct {
	r       *bufio.Reader
	max     int // maximum length of a message
	framing framing
	buf     []byte // the latest message; reused for the next one
}

func newFrameReader(r io.Reader, max int) *frameReader {
	return &frameReader{r: bufio.NewReader(r), max: max}
}

// next returns the next message, which is valid until the following call. It returns io.EOF if the
// stream ends after a complete message.
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

// counted reads a message, starting after the first digit of its length.
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
