package schema

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
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
// what all records of an operation share once. Several goroutines may use it; the zero value is ready.
type Encoder struct {
	last atomic.Pointer[encoded] // what was asked for last, which most often is what is asked for next; nil before

	mu         sync.Mutex // guards operations
	operations recent[*Operation, *encoded]
}

// encoded is the part of a record's JSON that is the same for every record of an operation, from its first comma on. Nobody
// changes it.
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
	dst = append(dst, `","log":`...)
	dst, valid := AppendString(dst, r.Log)
	if !valid {
		dst = append(dst, `,"log_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, r.Log)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"text":`...)
	dst, _ = AppendString(dst, r.Text)
	if r.Partial {
		dst = append(dst, `,"partial":true`...)
	}
	dst = append(dst, `,"digest":"`...)
	dst = hex.AppendEncode(dst, r.Digest[:])
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
			dst = append(dst, detail[1:len(detail)-1]...)
		}
	}
	return append(dst, '}'), nil
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
	return shared[:len(shared)-1], nil
}

// AppendTime appends a time in nanoseconds since 1970 as RFC 3339 in UTC with nine decimals, so that
// times sort as text.
func AppendTime(dst []byte, nanoseconds int64) []byte {
	t := time.Unix(0, nanoseconds).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	// time.Time.AppendFormat reads its layout anew for each record. Nanoseconds in 64 bits are of years with four digits.
	var b [len("2006-01-02T15:04:05.000000000Z")]byte
	digits(b[0:4], year)
	b[4] = '-'
	digits(b[5:7], int(month))
	b[7] = '-'
	digits(b[8:10], day)
	b[10] = 'T'
	digits(b[11:13], hour)
	b[13] = ':'
	digits(b[14:16], minute)
	b[16] = ':'
	digits(b[17:19], second)
	b[19] = '.'
	digits(b[20:29], t.Nanosecond())
	b[29] = 'Z'
	return append(dst, b[:]...)
}

// digits fills b with the decimal digits of n.
func digits(b []byte, n int) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
}

// plain holds the ASCII bytes that stand for themselves in a JSON string.
var plain = func() (t [utf8.RuneSelf]bool) {
	for c := byte(0x20); c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\' && c != 0x7f
	}
	return t
}()

// plainBytes is how many of the first eight bytes are plain, before one that is not. It looks at them together: a byte's highest
// bit is set in the end where it is not plain, or one before it.
func plainBytes(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	x := binary.LittleEndian.Uint64(b)
	quote, backslash, del := x^'"'*ones, x^'\\'*ones, x^0x7f*ones
	return bits.TrailingZeros64((x|(x-0x20*ones)|(quote-ones)|(backslash-ones)|(del-ones))&highs) / 8
}

// AppendString appends b as a JSON string (RFC 8259) and says whether b was valid UTF-8; where it
// was not, each bad byte is U+FFFD. DEL and the line separators U+2028 and U+2029 are escaped too,
// for receivers that split at them.
func AppendString(dst, b []byte) (_ []byte, valid bool) {
	const digits = "0123456789abcdef"
	valid = true
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(b); {
		for len(b)-i >= 8 {
			n := plainBytes(b[i:])
			i += n
			if n < 8 {
				break
			}
		}
		if i == len(b) {
			break
		}
		if c := b[i]; c < utf8.RuneSelf {
			if plain[c] {
				i++
				continue
			}
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
		if r == '\u2028' || r == '\u2029' {
			dst = append(dst, b[start:i]...)
			dst = append(dst, '\\', 'u', '2', '0', '2', digits[r&15])
			i += size
			start = i
			continue
		}
		i += size
	}
	dst = append(dst, b[start:]...)
	return append(dst, '"'), valid
}
