package syslogtest

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A Parsed is a message taken apart by RFC 5424.
type Parsed struct {
	Priority                     int
	Timestamp                    time.Time
	Hostname, App, ProcID, MsgID string
	// Params are the values of the structured data, without escapes, by SD-ID and name.
	Params map[string]map[string]string
	Text   string // MSG
}

var (
	// timestamp is that of RFC 5424 §6.2.3, as far as a regular expression goes.
	timestamp = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$`)
	header    = [...]struct {
		name  string
		limit int
	}{{"HOSTNAME", 255}, {"APP-NAME", 48}, {"PROCID", 128}, {"MSGID", 32}}
)

// Parse takes a message apart and is stricter than servers are: every rule of RFC 5424 §6 has to be
// kept, the message has to be UTF-8 without a byte order mark, and no control character may be in
// it.
func Parse(raw []byte) (*Parsed, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("it is not UTF-8")
	}
	for _, r := range string(raw) {
		if r < ' ' || 0x7f <= r && r <= 0x9f || r == 0x2028 || r == 0x2029 {
			return nil, fmt.Errorf("it has the control character %U", r)
		}
	}
	var p Parsed
	rest, ok := strings.CutPrefix(string(raw), "<")
	pri, rest, ok2 := strings.Cut(rest, ">")
	n, err := strconv.Atoi(pri)
	if !ok || !ok2 || err != nil || n < 0 || n > 191 || strconv.Itoa(n) != pri {
		return nil, errors.New("PRI is not a number from 0 to 191 in angle brackets")
	}
	p.Priority = n
	word := func() string {
		var w string
		w, rest, ok = strings.Cut(rest, " ")
		return w
	}
	if word() != "1" || !ok {
		return nil, errors.New("VERSION is not 1")
	}
	at := word()
	if p.Timestamp, err = time.Parse(time.RFC3339Nano, at); err != nil || !timestamp.MatchString(at) {
		return nil, fmt.Errorf("TIMESTAMP %q is not one", at)
	}
	for i, field := range []*string{&p.Hostname, &p.App, &p.ProcID, &p.MsgID} {
		*field = word()
		if !ok || *field == "" || len(*field) > header[i].limit || strings.ContainsFunc(*field, notPrintable) {
			return nil, fmt.Errorf("%s %q is not 1 to %d printable ASCII characters", header[i].name, *field, header[i].limit)
		}
	}
	if p.Params, rest, err = parseData(rest); err != nil {
		return nil, err
	}
	if rest == "" {
		return &p, nil
	}
	if p.Text, ok = strings.CutPrefix(rest, " "); !ok {
		return nil, errors.New("there is no space behind STRUCTURED-DATA")
	}
	if strings.HasPrefix(p.Text, "\ufeff") {
		return nil, errors.New("MSG begins with a byte order mark")
	}
	return &p, nil
}

func notPrintable(r rune) bool { return r <= ' ' || r > '~' }

// parseData parses STRUCTURED-DATA (RFC 5424 §6.3).
func parseData(s string) (params map[string]map[string]string, rest string, err error) {
	params = make(map[string]map[string]string)
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		return params, rest, nil
	}
	for strings.HasPrefix(s, "[") {
		end := strings.IndexAny(s, " ]")
		if end < 0 {
			return nil, "", errors.New("STRUCTURED-DATA does not end")
		}
		id := s[1:end]
		if !isName(id) || params[id] != nil {
			return nil, "", fmt.Errorf("SD-ID %q is not valid, or there twice", id)
		}
		params[id] = make(map[string]string)
		for s = s[end:]; strings.HasPrefix(s, " "); {
			name, more, ok := strings.Cut(s[1:], `="`)
			if !ok || !isName(name) {
				return nil, "", fmt.Errorf("PARAM-NAME %q is not valid", name)
			}
			if _, twice := params[id][name]; twice {
				return nil, "", fmt.Errorf("PARAM-NAME %q is there twice", name)
			}
			if params[id][name], s, err = parseValue(more); err != nil {
				return nil, "", err
			}
		}
		if !strings.HasPrefix(s, "]") {
			return nil, "", fmt.Errorf("SD-ELEMENT %q does not end", id)
		}
		s = s[1:]
	}
	if len(params) == 0 {
		return nil, "", errors.New("there is no STRUCTURED-DATA")
	}
	return params, s, nil
}

// parseValue parses a PARAM-VALUE and the quote after it.
func parseValue(s string) (value, rest string, err error) {
	var b bytes.Buffer
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return b.String(), s[i+1:], nil
		case ']':
			return "", "", errors.New("PARAM-VALUE has a ] that is not escaped")
		case '\\':
			if i++; i == len(s) || !strings.ContainsRune(`"\]`, rune(s[i])) {
				return "", "", errors.New("PARAM-VALUE has a backslash that escapes nothing")
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("PARAM-VALUE does not end")
}

// isName reports whether s is an SD-NAME.
func isName(s string) bool {
	return s != "" && len(s) <= 32 && !strings.ContainsFunc(s, func(r rune) bool {
		return notPrintable(r) || r == '=' || r == ']' || r == '"'
	})
}

// Split divides the bytes of a connection into messages. Framing has to be exact to the last byte.
func Split(data []byte, newline bool) (messages [][]byte, err error) {
	for len(data) > 0 {
		if newline {
			message, rest, ok := bytes.Cut(data, []byte("\n"))
			if !ok {
				return nil, errors.New("the last message does not end with a newline")
			}
			messages, data = append(messages, message), rest
			continue
		}
		length, rest, ok := bytes.Cut(data, []byte(" "))
		n, err := strconv.Atoi(string(length))
		if !ok || err != nil || n < 1 || strconv.Itoa(n) != string(length) || n > len(rest) {
			return nil, fmt.Errorf("message %d is not framed by its length", len(messages))
		}
		messages, data = append(messages, rest[:n]), rest[n:]
	}
	return messages, nil
}
