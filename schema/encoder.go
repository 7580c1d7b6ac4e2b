package schema

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Encoder writes records as the JSON objects that HTTPS and Elasticsearch drains receive. It
// encodes the fields that all records of an operation share only once. It is safe for concurrent
// use, and the zero value is ready to use.
type Encoder struct {
	last atomic.Pointer[encoded] // the operation encoded last, usually the next one too; nil at first

	mu         sync.Mutex // guards operations
	operations recent[*Operation, *encoded]
}

// encoded is the part of a record's JSON that is the same for every record of an operation,
// starting with a comma. It is immutable.
type encoded struct {
	operation *Operation
	json      []byte
}

// AppendRecord appends one JSON object without a line end. If the log is not valid UTF-8, its
// invalid bytes are replaced by U+FFFD in "log", and "log_base64" holds the exact bytes.
func (e *Encoder) AppendRecord(dst []byte, op *Operation, r *Record) ([]byte, error) {
	shared, err := e.shared(op)
	if err != nil {
		return dst, err
	}
	dst = append(dst, `{"@timestamp":"`...)
	start := len(dst)
	dst = AppendTime(dst, r.Time)
	end := len(dst)
	dst = append(dst, `","time":"`...)
	dst = append(dst, dst[start:end]...)
	dst = append(dst, '"')
	dst = append(dst, shared...)
	dst = append(dst, `,"event":"`...)
	dst = append(dst, r.Event.String()...)
	dst = append(dst, `","stream":"`...)
	dst = append(dst, r.Stream.String()...)
	dst = append(dst, `","sequence":`...)
	dst = strconv.AppendUint(dst, r.Sequence, 10)
	dst = append(dst, `,"offset":"`...)
	dst = strconv.AppendUint(dst, r.Offset, 10)
	dst = append(dst, `","log":"`...)
	start = len(dst)
	var textEnd int // end of the escaped text if it is a prefix of the log, so that it is escaped once
	var valid, rest bool
	if sharesPrefix(r.Log, r.Text) {
		dst, valid = appendContent(dst, r.Text)
		textEnd = len(dst)
		dst, rest = appendContent(dst, r.Log[len(r.Text):])
		valid = valid && rest
	} else {
		dst, valid = appendContent(dst, r.Log)
	}
	dst = append(dst, '"')
	if !valid {
		dst = append(dst, `,"log_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, r.Log)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"text":"`...)
	if textEnd > 0 {
		dst = append(dst, dst[start:textEnd]...)
	} else {
		dst, _ = appendContent(dst, r.Text)
	}
	dst = append(dst, '"')
	if r.Partial {
		dst = append(dst, `,"partial":true`...)
	}
	dst = append(dst, `,"digest":"`...)
	dst = r.Digest.AppendHex(dst)
	dst = append(dst, '"')
	if len(r.Timing) > 0 {
		dst = append(dst, `,"timing":"`...)
		dst = append(dst, r.Timing...)
		dst = append(dst, '"')
	}
	if r.Detail != nil {
		detail, err := json.Marshal(r.Detail)
		if err != nil {
			return dst, fmt.Errorf("encode record: %w", err)
		}
		if len(detail) > 2 { // not {}
			dst = append(dst, ',')
			dst = AppendEscaped(dst, detail[1:len(detail)-1])
		}
	}
	return append(dst, '}'), nil
}

// sharesPrefix reports whether text is a prefix of log in the same memory, as [Decoder.Segment]
// returns it, and whether its JSON is then a prefix of the log's JSON. The latter holds only if an
// ASCII byte or nothing follows, so that no rune spans the boundary.
func sharesPrefix(log, text []byte) bool {
	n := len(text)
	return n > 0 && n <= len(log) && &log[0] == &text[0] && (n == len(log) || log[n] < utf8.RuneSelf)
}

// shared returns the JSON that all records of the operation share.
func (e *Encoder) shared(op *Operation) ([]byte, error) {
	if last := e.last.Load(); last != nil && last.operation == op {
		return last.json, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.operations.lookUp()
	known, ok := e.operations.current[op]
	if !ok {
		if known, ok = e.operations.previous[op]; !ok {
			shared, err := encodeShared(op)
			if err != nil {
				return nil, err
			}
			known = &encoded{op, shared}
		}
		e.operations.put(op, known)
	}
	e.last.Store(known)
	return known.json, nil
}

func encodeShared(op *Operation) ([]byte, error) {
	shared, err := json.Marshal(struct {
		Version   string `json:"@version"`
		Type      string `json:"type"`
		File      string `json:"file"`
		Host      string `json:"host"`
		Layer     string `json:"layer"`
		Service   string `json:"service"`
		Stack     string `json:"stack"`
		App       string `json:"app"`
		AppID     string `json:"app_id"`
		Source    string `json:"source"`
		Container string `json:"container"`
		ID        string `json:"operation_id"`
		UserName  string `json:"operation_user_name"`
		UserEmail string `json:"operation_user_email"`
		Document  string `json:"APTIBLE_USER_DOCUMENT"`
	}{recordVersion, "json", "operations/" + op.ID, op.Host, op.Layer, op.Service, op.Stack, op.App, op.AppID, "ssh",
		op.Container, op.ID, op.User.Name, op.User.Email, op.UserDocument})
	if err != nil {
		return nil, fmt.Errorf("encode operation: %w", err)
	}
	shared[0] = ','
	return AppendEscaped(nil, shared[:len(shared)-1]), nil
}

// AppendTime appends a time in nanoseconds since 1970 as RFC 3339 in UTC with nine decimals, so
// that times sort as text.
func AppendTime(dst []byte, nanoseconds int64) []byte {
	t := time.Unix(0, nanoseconds).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	nano := t.Nanosecond()
	// time.Time.AppendFormat parses its layout again for each record. Nanoseconds in 64 bits only
	// span years of four digits.
	b := [...]byte{19: '.', 29: 'Z'}
	b[4], b[7], b[10], b[13], b[16] = '-', '-', 'T', ':', ':'
	two(b[0:2], year/100)
	two(b[2:4], year%100)
	two(b[5:7], int(month))
	two(b[8:10], day)
	two(b[11:13], hour)
	two(b[14:16], minute)
	two(b[17:19], second)
	b[20] = byte('0' + nano/100_000_000)
	two(b[21:23], nano/1_000_000%100)
	two(b[23:25], nano/10_000%100)
	two(b[25:27], nano/100%100)
	two(b[27:29], nano%100)
	return append(dst, b[:]...)
}

// two writes the two decimal digits of n, which is less than 100, to b.
func two(b []byte, n int) {
	const digits = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748" +
		"49505152535455565758596061626364656667686970717273747576777879808182838485868788899091929394959697" +
		"9899"
	copy(b, digits[2*n:2*n+2])
}

// plain holds the ASCII bytes that need no escape in a JSON string.
var plain = func() (t [utf8.RuneSelf]bool) {
	for c := byte(0x20); c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\' && c != 0x7f
	}
	return t
}()

// plainLength returns the length of the prefix of b whose bytes are all plain. It examines eight
// bytes at a time; at the end it examines the last eight, some of them for the second time.
func plainLength(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	switch {
	case i == len(b):
	case len(b) >= 8:
		last := binary.LittleEndian.Uint64(b[len(b)-8:]) >> (8 * (i + 8 - len(b))) // the shift fills with zeros, which are not plain
		i += bits.TrailingZeros64(special(last)) / 8
	default:
		for i < len(b) && b[i] < utf8.RuneSelf && plain[b[i]] {
			i++
		}
	}
	return i
}

// special sets the highest bit of the first byte of x that is not plain. Higher bits may be set
// wrongly, through a borrow or a carry from that byte.
func special(x uint64) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quote, backslash := x^'"'*ones, x^'\\'*ones
	return (x | (x - 0x20*ones) | (x + ones) | (quote - ones) | (backslash - ones)) & highs
}

// AppendString appends b as a JSON string (RFC 8259) and reports whether b was valid UTF-8. Each
// invalid byte becomes U+FFFD. It escapes the same characters as [AppendEscaped].
func AppendString(dst, b []byte) (_ []byte, valid bool) {
	dst = append(dst, '"')
	dst, valid = appendContent(dst, b)
	return append(dst, '"'), valid
}

// appendContent is AppendString without the quotes.
func appendContent(dst, b []byte) (_ []byte, valid bool) {
	const digits = "0123456789abcdef"
	valid = true
	start := 0
	for i := 0; i < len(b); {
		if i += plainLength(b[i:]); i == len(b) {
			break
		}
		if c := b[i]; c < utf8.RuneSelf {
			dst = append(dst, b[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			valid = false
			dst = append(dst, b[start:i]...)
			dst = append(dst, "\ufffd"...)
			i++
			start = i
			continue
		}
		if escapedInJSON(r) {
			dst = appendUnicode(append(dst, b[start:i]...), r)
			i += size
			start = i
			continue
		}
		i += size
	}
	return append(dst, b[start:]...), valid
}
