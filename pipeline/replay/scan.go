package replay

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// maxObject bounds an object and a line: no record comes near it, a page of search results can.
const maxObject = 64 << 20

// resyncPrefix is how many of the first bytes of one object tell where the next begins, when one is
// broken.
const resyncPrefix = 10

var (
	errNoObject  = errors.New("it is no JSON object")
	errInvalid   = errors.New("it is no valid JSON")
	errOpen      = errors.New("a JSON object that does not end")
	errLongThing = errors.New("it is longer than any record")
)

// An objectScanner finds the JSON objects in a text: one after another, one a line, or in arrays.
// It checks no more of the syntax than it takes to find an end, and after an object that is broken
// goes on with the next line, or with what begins as the objects before did.
type objectScanner struct {
	r      *bufio.Reader
	back   []byte // to be read again, before r
	object []byte // the latest; reused
	prefix []byte // with which objects here begin; nil until there was one
	at     position
}

// A position is that of the next byte.
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
	if len(s.back) > 0 {
		c, s.back = s.back[0], s.back[1:]
	} else {
		var err error
		if c, err = s.r.ReadByte(); err != nil {
			return 0, err
		}
	}
	s.at.pass(c)
	return c, nil
}

// next gives the next object, which is valid until the call after, and where it begins. broken says
// what is wrong with it, where there is something. err is io.EOF at the end, or the reader's.
func (s *objectScanner) next() (object []byte, at position, broken, err error) {
	s.object = s.object[:0]
	var c byte
	for { // between the objects
		at = s.at
		if c, err = s.byte(); err != nil {
			return nil, at, nil, err
		}
		switch c {
		case ' ', '\t', '\r', '\n', ',', '[', ']', 0x1e: // the last is that of RFC 7464
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
			// Where a value has ended, no object begins: the one before did not end.
			s.back = append([]byte{c}, s.back...)
			s.at = before
			s.resync(at)
			return s.object, at, errOpen, nil
		}
		s.object = append(s.object, c)
		switch {
		case inString && c == '\\':
			if c, err = s.byte(); err == nil { // at the end, the next round says so
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
			if s.hasAnother() && !json.Valid(s.object) { // a brace or a quotation mark is damaged, and what follows was taken for a part
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
			return s.object, at, errLongThing, nil
		}
	}
}

// hasAnother says whether there may be other objects in the latest one.
func (s *objectScanner) hasAnother() bool {
	return s.prefix != nil && bytes.Contains(s.object[1:], s.prefix) || listIn(s.object) > 0
}

// listIn is where, in an object that has a list of others and little before, the first of these
// begins; 0 for none.
func listIn(object []byte) int {
	return bytes.Index(object[:min(len(object), 256)], []byte("[{")) + 1
}

// resync goes back to where, in an object that is broken, another one seems to begin: it is then
// shorter.
func (s *objectScanner) resync(began position) {
	i := listIn(s.object)
	switch {
	case s.prefix != nil && bytes.Contains(s.object[1:], s.prefix):
		i = 1 + bytes.Index(s.object[1:], s.prefix)
	case i > 0:
		s.prefix = nil // those in the list begin in another way
	default:
		return
	}
	s.back = append(bytes.Clone(s.object[i:]), s.back...)
	s.object = s.object[:i]
	s.at = began
	for _, c := range s.object {
		s.at.pass(c)
	}
}

// skip passes over what begins with c and is no object, to the end of its line or the next object.
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
		if s.prefix != nil && c == '{' && len(s.object) > 0 && s.begins() {
			s.back = append([]byte{c}, s.back...)
			s.at = before
			return nil
		}
		if len(s.object) > maxObject {
			return nil
		}
	}
}

// begins says whether what comes after a brace begins as an object here does.
func (s *objectScanner) begins() bool {
	want := s.prefix[1:]
	have := s.back
	if len(have) < len(want) {
		more, _ := s.r.Peek(len(want) - len(have)) // what is short begins nothing
		have = append(bytes.Clone(have), more...)
	}
	return bytes.HasPrefix(have, want)
}

// A lineScanner finds messages of syslog: one a line, or with their length in front (RFC 6587
// §3.4.1).
type lineScanner struct {
	r    *bufio.Reader
	buf  []byte // the latest; reused
	line int    // of the next
}

// next gives the next message, which is valid until the call after, and the number of its line.
// long says that it is longer than any, and was cut. It returns io.EOF at the end.
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

// counted reads the length of a message that has it in front, and is 0 where none is there.
func (s *lineScanner) counted() int {
	const most = len("12345678 <191>1 ")
	head, _ := s.r.Peek(most)
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
	_, _ = s.r.Discard(digits + 1) // which was peeked at
	return n
}
