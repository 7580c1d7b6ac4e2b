package schema

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// An Encoder writes records as the JSON objects that HTTPS and Elasticsearch drains get. It encodes
// what all records of an operation share once. It is for one goroutine; the zero value is ready.
type Encoder struct {
	operations map[*Operation][]byte
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

// shared is the part of a record's JSON that is the same for every record of the operation,
// from its first comma on.
func (e *Encoder) shared(op *Operation) ([]byte, error) {
	if shared, ok := e.operations[op]; ok {
		return shared, nil
	}
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
	shared = shared[:len(shared)-1]
	if e.operations == nil || len(e.operations) >= maxOperations {
		e.operations = make(map[*Operation][]byte)
	}
	e.operations[op] = shared
	return shared, nil
}

// AppendTime appends a time in nanoseconds since 1970 as RFC 3339 in UTC with nine decimals, so that
// times sort as text.
func AppendTime(dst []byte, nanoseconds int64) []byte {
	return time.Unix(0, nanoseconds).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000000Z")
}

// plain holds the ASCII bytes that stand for themselves in a JSON string.
var plain = func() (t [utf8.RuneSelf]bool) {
	for c := byte(0x20); c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\' && c != 0x7f
	}
	return t
}()

// AppendString appends b as a JSON string (RFC 8259) and says whether b was valid UTF-8; where it
// was not, each bad byte is U+FFFD. DEL and the line separators U+2028 and U+2029 are escaped too,
// for receivers that split at them.
func AppendString(dst, b []byte) (_ []byte, valid bool) {
	const digits = "0123456789abcdef"
	valid = true
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(b); {
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
