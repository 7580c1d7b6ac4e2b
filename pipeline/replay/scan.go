package replay

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// maxObject bounds the length of an object and of a line. Records are much shorter; a page of
// search results can come close.
const maxObject = 64 << 20

// resyncPrefix is the number of bytes at the beginning of an object that are used to find the next
// object after a damaged one.
const resyncPrefix = 10

var (
	errNoObject = errors.New("not a JSON object")
	errInvalid  = errors.New("invalid JSON")
	errOpen     = errors.New("unterminated JSON object")
	errTooLong  = errors.New("longer than any record")
)

// objectScanner finds the JSON objects in a text: concatenated, one per line, or in arrays. It only
// parses as much as is needed to find an object's end. After a damaged object it continues at the
// next line, or where the text looks like the beginning of the previous objects.
type objectScanner struct {
	r      *bufio.Reader
	unread []byte // read before r
	object []byte // the latest object; reused
	prefix []byte // the beginning of the objects in this text; nil until one was read
	at     position
}

// position is the position of the next byte.
type position struct{ line, column int }

func (p *position) pass(c byte) {
	if c == '\n' {
		p.line++
		p.column = 1
		return
	}
	p.column++
}

func newObjectScanner(r *bufio.Reader) *objectScanner {
	return &objectScanner{r: r, at: position{1, 1}}
}

func (s *objectScanner) byte() (byte, error) {
	var c byte
	if len(s.unread) > 0 {
		c, s.unread = s.unread[0], s.unread[1:]
	} else {
		var err error
		if c, err = s.r.ReadByte(); err != nil {
			return 0, err
		}
	}
	s.at.pass(c)
	return c, nil
}

// next returns the next object, which is valid until the following call, and its position. broken
// describes a damaged object. err is io.EOF at the end, or the reader's error.
func (s *objectScanner) next() (object []byte, at position, broken, err error) {
	s.object = s.object[:0]
	var c byte
	for { // between the objects
		at = s.at
		if c, err = s.byte(); err != nil {
			return nil, at, nil, err
		}
		switch c {
		case ' ', '\t', '\r', '\n', ',', '[', ']', 0x1e: // 0x1e: RFC 7464
			continue
		case 0xef, 0xbb, 0xbf: // a byte order mark
			continue
		}
		break
	}
	if c != '{' {
		err := s.skip(c)
		return s.object, at, errNoObject, err
	}
	s.object = append(s.object, c)
	depth, inString, last := 1, false, c
	for {
		before := s.at
		c, err := s.byte()
		if errors.Is(err, io.EOF) {
			s.resync(at)
			return s.object, at, errOpen, nil
		}
		if err != nil {
			return nil, at, nil, err
		}
		if c == '{' && !inString && last != ':' && last != '[' && last != ',' {
			// An object cannot begin after a value, so the current object is unterminated.
			s.unread = append([]byte{c}, s.unread...)
			s.at = before
			s.resync(at)
			return s.object, at, errOpen, nil
		}
		s.object = append(s.object, c)
		switch {
		case inString && c == '\\':
			if c, err = s.byte(); err == nil { // the next iteration handles io.EOF
				s.object = append(s.object, c)
			}
		case inString && c == '\n':
			s.resync(at)
			return s.object, at, errOpen, nil
		case c == '"':
			inString = !inString
			last = c
		case inString, c == ' ', c == '\t', c == '\r', c == '\n':
		case c == '{', c == '[':
			depth++
			last = c
		case c == '}', c == ']':
			depth--
			last = c
		default:
			last = c
		}
		if depth == 0 {
			if s.mayContainObject() && !json.Valid(s.object) { // a damaged brace or quotation mark has merged several objects
				s.resync(at)
				return s.object, at, errInvalid, nil
			}
			if s.prefix == nil {
				s.prefix = bytes.Clone(s.object[:min(resyncPrefix, len(s.object))])
			}
			return s.object, at, nil, nil
		}
		if len(s.object) > maxObject {
			s.resync(at)
			return s.object, at, errTooLong, nil
		}
	}
}

// mayContainObject reports whether the current object may contain other objects.
func (s *objectScanner) mayContainObject() bool {
	return s.prefix != nil && bytes.Contains(s.object[1:], s.prefix) || listIn(s.object) > 0
}

// listIn returns the offset of the first element in an object that consists mainly of a list of
// objects, or 0.
func listIn(object []byte) int {
	return bytes.Index(object[:min(len(object), 256)], []byte("[{")) + 1
}

// resync truncates a damaged object where another one seems to begin, so that it is read next.
func (s *objectScanner) resync(began position) {
	i := listIn(s.object)
	switch {
	case s.prefix != nil && bytes.Contains(s.object[1:], s.prefix):
		i = 1 + bytes.Index(s.object[1:], s.prefix)
	case i > 0:
		s.prefix = nil // objects in the list have another prefix
	default:
		return
	}
	s.unread = append(bytes.Clone(s.object[i:]), s.unread...)
	s.object = s.object[:i]
	s.at = began
	for _, c := range s.object {
		s.at.pass(c)
	}
}

// skip skips data that is not an object, to the end of the line or to the next object. c is its
// first byte.
func (s *objectScanner) skip(c byte) error {
	for {
		s.object = append(s.object, c)
		before := s.at
		var err error
		if c, err = s.byte(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if c == '\n' {
			return nil
		}
		if s.prefix != nil && c == '{' && len(s.object) > 0 && s.atPrefix() {
			s.unread = append([]byte{c}, s.unread...)
			s.at = before
			return nil
		}
		if len(s.object) > maxObject {
			return nil
		}
	}
}

// atPrefix reports whether the input after a brace continues like the other objects.
func (s *objectScanner) atPrefix() bool {
	want := s.prefix[1:]
	have := s.unread
	if len(have) < len(want) {
		more, _ := s.r.Peek(len(want) - len(have)) // shorter input does not match
		have = append(bytes.Clone(have), more...)
	}
	return bytes.HasPrefix(have, want)
}

// lineScanner finds syslog messages: one per line, or with octet counting (RFC 6587 §3.4.1).
type lineScanner struct {
	r    *bufio.Reader
	buf  []byte // the latest message; reused
	line int    // number of the next line
}

// next returns the next message, which is valid until the following call, and its line number. long
// reports that the message was truncated because it is too long. The error is io.EOF at the end.
func (s *lineScanner) next() (message []byte, line int, long bool, err error) {
	line = s.line
	if n := s.counted(); n > 0 {
		if cap(s.buf) < n {
			s.buf = make([]byte, n)
		}
		s.buf = s.buf[:n]
		got, err := io.ReadFull(s.r, s.buf)
		s.line += bytes.Count(s.buf[:got], []byte("\n"))
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return s.buf[:got], line, false, nil
		}
		if err != nil {
			return nil, line, false, err
		}
		return bytes.TrimRight(s.buf, "\r\n"), line, false, nil
	}
	s.buf = s.buf[:0]
	for {
		part, err := s.r.ReadSlice('\n')
		if len(s.buf)+len(part) <= maxObject {
			s.buf = append(s.buf, part...)
		} else {
			long = true
		}
		switch {
		case err == nil:
			s.line++
			return bytes.TrimRight(s.buf, "\r\n"), line, long, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(s.buf) > 0:
			return s.buf, line, long, nil
		default:
			return nil, line, long, err
		}
	}
}

// counted reads the length of a message with octet counting. It returns 0 if there is none.
func (s *lineScanner) counted() int {
	const maxHead = len("12345678 <191>1 ")
	head, _ := s.r.Peek(maxHead)
	digits, n := 0, 0
	for digits < len(head) && digits < 8 && '0' <= head[digits] && head[digits] <= '9' {
		n = n*10 + int(head[digits]-'0')
		digits++
	}
	rest := head[digits:]
	if digits == 0 || head[0] == '0' || n > maxObject || !bytes.HasPrefix(rest, []byte(" <")) {
		return 0
	}
	pri, after, ok := bytes.Cut(rest[2:], []byte(">"))
	if !ok || len(pri) == 0 || len(pri) > 3 || !bytes.HasPrefix(after, []byte("1")) {
		return 0
	}
	_, _ = s.r.Discard(digits + 1) // cannot fail after Peek
	return n
}
