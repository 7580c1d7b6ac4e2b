package receive

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Message is a syslog message (RFC 5424 §6). Header fields with the nil value "-" are empty.
type Message struct {
	Priority  int       `json:"priority"` // facility * 8 + severity
	Timestamp time.Time `json:"timestamp,omitzero"`
	Host      string    `json:"host,omitempty"`
	App       string    `json:"app,omitempty"`
	ProcID    string    `json:"proc_id,omitempty"`
	MsgID     string    `json:"msg_id,omitempty"`
	// Data is the structured data by SD-ID; nil if there is none.
	Data map[string]Element `json:"data,omitempty"`
	// Text is the MSG part without the optional byte order mark. Without that mark, its encoding is
	// unknown.
	Text string `json:"text"`
}

// Element maps parameter names to their values. A parameter may occur more than once (§6.3.3).
type Element map[string][]string

// Get returns the first value of a parameter, or "".
func (e Element) Get(name string) string {
	if values := e[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// Facility returns the message's facility, 0 to 23.
func (m *Message) Facility() int { return m.Priority / 8 }

// Severity returns the message's severity, 0 (emergency) to 7 (debug).
func (m *Message) Severity() int { return m.Priority % 8 }

// Maximum lengths of header fields and names (§6).
const (
	maxHost   = 255
	maxApp    = 48
	maxProcID = 128
	maxMsgID  = 32
	maxName   = 32
)

// ParseMessage parses a message according to RFC 5424 §6, strictly. The error names the violated
// rule and its position, and quotes nothing of the message. The result does not alias data.
func ParseMessage(data []byte) (*Message, error) {
	p := messageParser{data: data}
	m := new(Message)
	m.Priority = p.priority()
	p.token("VERSION", "1")
	p.space()
	m.Timestamp = p.timestamp()
	p.space()
	m.Host = p.field("HOSTNAME", maxHost)
	p.space()
	m.App = p.field("APP-NAME", maxApp)
	p.space()
	m.ProcID = p.field("PROCID", maxProcID)
	p.space()
	m.MsgID = p.field("MSGID", maxMsgID)
	p.space()
	m.Data = p.structuredData()
	if p.at < len(p.data) {
		p.space()
		m.Text = p.text()
	}
	if p.err != nil {
		return nil, p.err
	}
	return m, nil
}

// messageParser parses a message in one pass. It stops at the first error.
type messageParser struct {
	data []byte
	at   int
	err  error
}

func (p *messageParser) fail(rule string) {
	if p.err == nil {
		p.err = fmt.Errorf("not RFC 5424: byte %d: %w", p.at, errors.New(rule))
		p.data = p.data[:p.at]
	}
}

// peek returns the next byte, or 0 at the end.
func (p *messageParser) peek() byte {
	if p.at < len(p.data) {
		return p.data[p.at]
	}
	return 0
}

func (p *messageParser) accept(c byte) bool {
	if p.at < len(p.data) && p.data[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *messageParser) space() {
	if !p.accept(' ') {
		p.fail("a single space is required")
	}
}

func (p *messageParser) token(name, want string) {
	if !bytes.HasPrefix(p.data[p.at:], []byte(want)) {
		p.fail(name + " must be " + want)
		return
	}
	p.at += len(want)
}

func (p *messageParser) priority() int {
	if !p.accept('<') {
		p.fail("PRI must begin with \"<\"")
	}
	start, n := p.at, 0
	for c := p.peek(); '0' <= c && c <= '9' && p.at-start < 3; c = p.peek() {
		n = n*10 + int(c-'0')
		p.at++
	}
	switch {
	case p.at == start:
		p.fail("PRI must be a number")
	case n > 191:
		p.fail("PRI must be at most 191")
	case p.at-start > 1 && p.data[start] == '0':
		p.fail("PRI must have no leading zeros")
	case !p.accept('>'):
		p.fail("PRI must end with \">\"")
	}
	return n
}

// field reads a header field of visible ASCII (PRINTUSASCII); "-" is the nil value.
func (p *messageParser) field(name string, max int) string {
	start := p.at
	for c := p.peek(); '!' <= c && c <= '~'; c = p.peek() {
		p.at++
	}
	switch n := p.at - start; {
	case n == 0:
		p.fail(name + " must be visible ASCII, or \"-\"")
	case n > max:
		p.fail(fmt.Sprintf("%s must have at most %d bytes", name, max))
	}
	s := string(p.data[start:min(p.at, len(p.data))])
	if s == "-" {
		return ""
	}
	return s
}

// timestamp reads a TIMESTAMP (§6.2.3): RFC 3339 with an upper-case T and Z, at most six decimals
// and no leap second.
func (p *messageParser) timestamp() time.Time {
	start := p.at
	s := p.field("TIMESTAMP", len("2006-01-02T15:04:05.000000+00:00"))
	if s == "" {
		return time.Time{}
	}
	t, ok := parseTimestamp(s)
	if !ok {
		p.at = min(start, len(p.data))
		p.fail("TIMESTAMP must be as in 2026-03-01T09:30:00.000000Z")
	}
	return t
}

// parseTimestamp checks the format itself, since time.Parse is lenient about it, and lets
// time.Parse check the ranges of date and time.
func parseTimestamp(s string) (time.Time, bool) {
	const form = "0000-00-00T00:00:00"
	if len(s) <= len(form) || !hasForm(s[:len(form)], form) {
		return time.Time{}, false
	}
	rest := s[len(form):]
	if fraction, ok := strings.CutPrefix(rest, "."); ok {
		digits := 0
		for digits < len(fraction) && '0' <= fraction[digits] && fraction[digits] <= '9' {
			digits++
		}
		if digits < 1 || digits > 6 {
			return time.Time{}, false
		}
		rest = fraction[digits:]
	}
	if rest != "Z" {
		if !hasForm(rest, "+00:00") && !hasForm(rest, "-00:00") {
			return time.Time{}, false
		}
		if rest[1:3] > "23" || rest[4:6] > "59" { // time.Parse accepts 24 and 60
			return time.Time{}, false
		}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	return t, err == nil
}

// hasForm reports whether s equals form, in which each 0 stands for any digit.
func hasForm(s, form string) bool {
	if len(s) != len(form) {
		return false
	}
	for i := range len(s) {
		if form[i] == '0' {
			if s[i] < '0' || s[i] > '9' {
				return false
			}
		} else if s[i] != form[i] {
			return false
		}
	}
	return true
}

func (p *messageParser) structuredData() map[string]Element {
	if p.accept('-') {
		return nil
	}
	if p.peek() != '[' {
		p.fail("STRUCTURED-DATA must begin with \"[\", or be \"-\"")
	}
	elements := make(map[string]Element)
	for p.err == nil && p.accept('[') {
		id := p.name("SD-ID")
		if _, twice := elements[id]; twice {
			p.fail("SD-ID must be unique")
		}
		element := make(Element)
		for p.err == nil && p.accept(' ') {
			name := p.name("PARAM-NAME")
			if !p.accept('=') || !p.accept('"') {
				p.fail("PARAM-NAME must be followed by =\"")
			}
			element[name] = append(element[name], p.value())
		}
		if !p.accept(']') {
			p.fail("SD-ELEMENT must end with \"]\"")
		}
		elements[id] = element
	}
	return elements
}

// name reads an SD-NAME: visible ASCII except "=", "]" and the quotation mark.
func (p *messageParser) name(what string) string {
	start := p.at
	for c := p.peek(); '!' <= c && c <= '~' && c != '=' && c != ']' && c != '"'; c = p.peek() {
		p.at++
	}
	switch n := p.at - start; {
	case n == 0:
		p.fail(what + " must not be empty")
	case n > maxName:
		p.fail(fmt.Sprintf("%s must have at most %d bytes", what, maxName))
	}
	return string(p.data[start:min(p.at, len(p.data))])
}

// value reads a PARAM-VALUE after its opening quotation mark. A backslash that does not escape '"',
// '\' or ']' is a literal backslash (§6.3.3).
func (p *messageParser) value() string {
	var b []byte
	start := p.at
	for p.at < len(p.data) {
		switch c := p.data[p.at]; c {
		case '"':
			if !utf8.Valid(b) {
				p.at = start
				p.fail("PARAM-VALUE must be UTF-8")
				return ""
			}
			p.at++
			return string(b)
		case ']':
			p.fail("PARAM-VALUE must have a backslash before \"]\"")
			return ""
		case '\\':
			if p.at+1 < len(p.data) && strings.IndexByte(`"\]`, p.data[p.at+1]) >= 0 {
				p.at++
			}
		}
		b = append(b, p.data[p.at])
		p.at++
	}
	p.fail("PARAM-VALUE must end with a quotation mark")
	return ""
}

func (p *messageParser) text() string {
	if p.err != nil {
		return ""
	}
	text := p.data[p.at:]
	if rest, ok := bytes.CutPrefix(text, []byte("\xef\xbb\xbf")); ok {
		if !utf8.Valid(rest) {
			p.fail("MSG with a byte order mark must be UTF-8")
		}
		text = rest
	}
	return string(text)
}
