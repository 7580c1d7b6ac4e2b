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

// An Encoder writes records as the JSON objects that HTTPS and Elasticsearch drains get. It encodes
// what all records of an operation share once. Several goroutines may use it; the zero value is
// ready.
type Encoder struct {
	last atomic.Pointer[encoded] // what was asked for last, which most often is what is asked for next; nil before

	mu         sync.Mutex // guards operations
	operations recent[*Operation, *encoded]
}

// encoded is the part of a record's JSON that is the same for every record of an operation, from
// its first comma on. Nobody changes it.
type encoded struct {
	operation *Operation
	json      []byte
}

// AppendRecord appends one JSON object without a line end. Bytes of the log that are not valid
// UTF-8 become U+FFFD in "log", and "log_base64" has them all.
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
	var textEnd int // of the text, where it is how the log begins: what is escaped already is not again
	var valid, rest bool
	if beginsWith(r.Log, r.Text) {
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

// beginsWith says that text is the same memory as how log begins, as [Decoder.Segment] gives it,
// and that the content of the one in JSON is how that of the other begins: nothing but a byte of
// ASCII follows, so no rune goes on.
func beginsWith(log, text []byte) bool {
	n := len(text)
	return n > 0 && n <= len(log) && &log[0] == &text[0] && (n == len(log) || log[n] < utf8.RuneSelf)
}

// shared gives what all records of the operation share.
func (e *Encoder) shared(op *Operation) ([]byte, error) {
	if last := e.last.Load(); last != nil && last.operation == op {
		return last.json, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.operations.ask()
	known, ok := e.operations.now[op]
	if !ok {
		if known, ok = e.operations.before[op]; !ok {
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
	}{"1", "json", "operations/" + op.ID, op.Host, op.Layer, op.Service, op.Stack, op.App, op.AppID, "ssh",
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
	// time.Time.AppendFormat reads its layout anew for each record. Nanoseconds in 64 bits are of
	// years with four digits.
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

// plain holds the ASCII bytes that stand for themselves in a JSON string.
var plain = func() (t [utf8.RuneSelf]bool) {
	for c := byte(0x20); c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\' && c != 0x7f
	}
	return t
}()

// plainLength is how many bytes at the start of b are plain. It looks at eight of them together,
// and once more at some of them in the end.
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
		last := binary.LittleEndian.Uint64(b[len(b)-8:]) >> (8 * (i + 8 - len(b))) // what comes in is not plain
		i += bits.TrailingZeros64(special(last)) / 8
	default:
		for i < len(b) && b[i] < utf8.RuneSelf && plain[b[i]] {
			i++
		}
	}
	return i
}

// special has the highest bit of the first byte of x that is not plain, and perhaps of later ones:
// only they are borrowed from or carried to.
func special(x uint64) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quote, backslash := x^'"'*ones, x^'\\'*ones
	return (x | (x - 0x20*ones) | (x + ones) | (quote - ones) | (backslash - ones)) & highs
}

// AppendString appends b as a JSON string (RFC 8259) and says whether b was valid UTF-8; where it
// was not, each bad byte is U+FFFD. What [AppendEscaped] escapes is escaped too.
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
