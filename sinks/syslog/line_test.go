package syslog

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func encoded(t testing.TB, o Options, entries ...sinks.Entry) []byte {
	t.Helper()
	return newBatch(o).encode(entries)
}

var at = time.Date(2026, 3, 14, 15, 9, 26, 535897932, time.UTC).UnixNano()

func operation() *schema.Operation {
	return &schema.Operation{ID: "42", Stack: "default", App: "web", Host: "gateway-1.example.com",
		User: schema.User{ID: "u-1", Name: `Ada "Countess" Lovelace`, Email: "ada@example.com"}}
}

func session() []sinks.Entry {
	op := operation()
	yes, status, total, lost := true, 130, uint64(51), uint64(4096)
	records := []schema.Record{
		{Event: schema.EventStart, Text: []byte("session started"), Detail: &schema.Detail{
			Interactive: &yes, Width: 80, Height: 24, Command: "echo \"]\\ \x1b[31m\nübel \u202egnp"}},
		{Text: []byte("total 48  grüße, 世界"), Log: []byte("total\t48  grüße, 世界\r\n"), Timing: []byte("0:5 1200:22")},
		{Text: []byte("$ "), Log: []byte("\x1b[1m$ \xff"), Timing: []byte("0:7"), Partial: true, Offset: 27},
		{Text: []byte("error"), Log: []byte("error\n"), Timing: []byte("0:6"), Stream: schema.Stderr, Offset: 34},
		{Event: schema.EventResize, Text: []byte("terminal resized to 132×43"), Detail: &schema.Detail{Width: 132, Height: 43}, Offset: 40},
		{Event: schema.EventGap, Text: []byte("4096 bytes are missing"), Detail: &schema.Detail{Bytes: &lost, Reason: "the stream was full"}, Offset: 40},
		{Event: schema.EventEnd, Text: []byte("session ended"), Detail: &schema.Detail{
			ExitStatus: &status, Reason: "exit", Bytes: &total, Signature: "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"}, Offset: 51},
	}
	var entries []sinks.Entry
	for i := range records {
		r := &records[i]
		r.Sequence, r.Time = uint64(i+1), at+int64(i)*1e6
		for j := range r.Digest {
			r.Digest[j], r.TextDigest[j] = byte(i), byte(16+i)
		}
		entries = append(entries, sinks.Entry{Operation: op, Record: r})
	}
	return entries
}

// TestGolden holds the bytes on the wire: what a server was once set up for does not change.
func TestGolden(t *testing.T) {
	for _, test := range []struct {
		name    string
		options Options
	}{
		{"octet", Options{}},
		{"newline", Options{Framing: Newline}},
		{"token", Options{Token: "t0k3n", Facility: "authpriv", Severity: "notice"}},
		{"exact", Options{Exact: true}},
		{"newline-token-exact", Options{Framing: Newline, Token: "t0k3n", Exact: true, Severity: "err"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join("testdata", test.name+".golden")
			got := encoded(t, test.options, session()...)
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			messages, err := syslogtest.Split(got, test.options.Framing == Newline)
			if err != nil || len(messages) != len(session()) {
				t.Fatalf("%d messages, want %d: %v", len(messages), len(session()), err)
			}
			for i, m := range messages {
				p, err := syslogtest.Parse(m)
				if err != nil {
					t.Fatalf("message %d: %v: %q", i, err, m)
				}
				if log, has := p.Params["session@32473"]["log_base64"]; has != (test.options.Exact && len(session()[i].Record.Log) > 0) {
					t.Errorf("message %d: log_base64 is there: %v", i, has)
				} else if has && log != base64.StdEncoding.EncodeToString(session()[i].Record.Log) {
					t.Errorf("message %d: log_base64 is %s", i, log)
				}
			}
		})
	}
}

func TestHostileText(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"plain", "total 48", "total 48"},
		{"spaces", "  a  ", "  a  "},
		{"empty", "", ""},
		{"escape sequence", "a\x1b[31mred", "a\ufffd[31mred"},
		{"operating system command", "\x1b]0;title\a", "\ufffd]0;title\ufffd"},
		{"C1 control sequence", "a\u009b31m", "a\ufffd31m"},
		{"C1 byte", "a\x9b31m", "a\ufffd31m"},
		{"NUL", "a\x00b", "a\ufffdb"},
		{"DEL", "a\x7fb", "a\ufffdb"},
		{"tab", "a\tb", "a b"},
		{"newline forges a line", "a\n<0>1 - - - - - - forged", "a\ufffd<0>1 - - - - - - forged"},
		{"carriage return", "100%\rforged", "100%\ufffdforged"},
		{"length forges a frame", "\n57 <0>1 - - - - - - forged", "\ufffd57 <0>1 - - - - - - forged"},
		{"next line", "a\u0085b", "a\ufffdb"},
		{"line and paragraph separator", "a\u2028b\u2029c", "a b c"},
		{"structured data", `"][meta sequenceId="1"] [x@1 y="z"]`, `"][meta sequenceId="1"] [x@1 y="z"]`},
		{"invalid UTF-8", "a\xffb\xc3", "a\ufffdb\ufffd"},
		{"overlong newline", "a\xc0\x8ab", "a\ufffd\ufffdb"},
		{"surrogate", "a\xed\xa0\x80b", "a\ufffd\ufffd\ufffdb"},
		{"override", "a\u202eb\u2066c", "a\u202eb\u2066c"},
		{"replacement character", "a\ufffdb", "a\ufffdb"},
		{"beyond the basic plane", "🚀", "🚀"},
		{"long", strings.Repeat("0123456789abcdef", 400), strings.Repeat("0123456789abcdef", 400)},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &schema.Record{Sequence: 1, Time: at, Text: []byte(test.text)}
			p := parseOne(t, Options{Token: "tok"}, sinks.Entry{Operation: operation(), Record: r})
			if want := "tok operation_id=42 " + test.want; p.Text != want {
				t.Errorf("got  %q\nwant %q", p.Text, want)
			}
			if got, want := p.Params["session@32473"]["altered"], test.text != test.want; (got == "true") != want {
				t.Errorf("altered is %q, want %v", got, want)
			}
		})
	}
}

func TestHostileFields(t *testing.T) {
	op := operation()
	op.Host, op.App, op.ID = strings.Repeat("h", 300), "two words\nüñ", `4"2]`+"\x1b"
	p := parseOne(t, Options{}, sinks.Entry{Operation: op, Record: &schema.Record{Event: schema.EventStart, Sequence: 1, Time: at}})
	for _, c := range []struct{ name, got, want string }{
		{"HOSTNAME", p.Hostname, strings.Repeat("h", 255)},
		{"APP-NAME", p.App, "two_words___"},
		{"PROCID", p.ProcID, `4"2]_`},
		{"operation_id", p.Params["session@32473"]["operation_id"], `4"2]` + "\ufffd"},
		{"MSG", p.Text, `operation_id=4"2]_ `},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, c.got, c.want)
		}
	}
	p = parseOne(t, Options{}, sinks.Entry{Operation: &schema.Operation{}, Record: &schema.Record{Time: at}})
	if p.Hostname != "-" || p.App != "-" || p.ProcID != "-" {
		t.Errorf("empty fields are %q, %q, %q", p.Hostname, p.App, p.ProcID)
	}
}

func TestSequenceID(t *testing.T) {
	for sequence, want := range map[uint64]string{0: "1", 1: "1", 2: "2", 2147483647: "2147483647", 2147483648: "1", 1<<64 - 1: "3"} {
		p := parseOne(t, Options{}, sinks.Entry{Operation: operation(), Record: &schema.Record{Sequence: sequence, Time: at}})
		if got := p.Params["meta"]["sequenceId"]; got != want {
			t.Errorf("sequence %d: sequenceId %s, want %s", sequence, got, want)
		}
		if got, want := p.Params["session@32473"]["sequence"], fmt.Sprint(sequence); got != want {
			t.Errorf("sequence %s, want %s", got, want)
		}
	}
}

func parseOne(t testing.TB, o Options, e sinks.Entry) *syslogtest.Parsed {
	t.Helper()
	messages, err := syslogtest.Split(encoded(t, o, e), o.Framing == Newline)
	if err != nil {
		t.Fatal(err)
	}
	if len(messages) != 1 {
		t.Fatalf("%d messages of one record: %q", len(messages), messages)
	}
	p, err := syslogtest.Parse(messages[0])
	if err != nil {
		t.Fatalf("%v: %q", err, messages[0])
	}
	return p
}

// whole returns the message of the record in an entry, joined where it is in parts.
func whole(t testing.TB, o Options, e sinks.Entry) *syslogtest.Parsed {
	t.Helper()
	messages, err := syslogtest.Split(encoded(t, o, e), o.Framing == Newline)
	if err != nil {
		t.Fatal(err)
	}
	var joiner syslogtest.Joiner
	for i, m := range messages {
		if limit := cmp.Or(o.MaxMessageBytes, DefaultMaxMessageBytes); len(m) > limit {
			t.Fatalf("a message has %d bytes, the limit is %d: %q", len(m), limit, m)
		}
		p, err := syslogtest.Parse(withoutElement(o, m))
		if err == nil {
			p, err = joiner.Add(p)
		}
		if err != nil {
			t.Fatalf("%v: %q", err, m)
		}
		if p != nil && i != len(messages)-1 {
			t.Fatalf("there are messages behind those of the record: %q", messages[i+1:])
		}
		if p != nil {
			return p
		}
	}
	t.Fatalf("%d messages do not make a record", len(messages))
	return nil
}

// withoutElement removes the element of the token, whose name may be longer than RFC 5424 allows.
func withoutElement(o Options, message []byte) []byte {
	if o.TokenEnterprise == 0 {
		return message
	}
	return bytes.Replace(message, fmt.Appendf(nil, "[%s@%d]", o.Token, o.TokenEnterprise), nil, 1)
}

// FuzzLine: whatever a record holds, it is one message on the wire, with what it should have in it.
func FuzzLine(f *testing.F) {
	f.Add([]byte("text\n<0>1 - - - - - - forged"), []byte("log\xff"), "host", "app", "42", "Ada", "c\"]\\md", uint64(1), at, uint8(0), true, true)
	f.Add([]byte("\u2028\u009b\x1b[31m"), []byte{}, "", " ", "\n", "\u202e", "][x y=\"", uint64(1<<63), int64(-1), uint8(1), false, false)
	f.Add([]byte("\xed\xa0\x80"), []byte("\n"), strings.Repeat("ü", 300), "a b", "]", "\\", "\\\"", uint64(2147483648), int64(1<<62), uint8(3), true, false)
	f.Fuzz(func(t *testing.T, text, log []byte, host, app, id, name, command string, sequence uint64, at int64, event uint8, exact, newline bool) {
		o := Options{Exact: exact, Token: "tok"}
		if newline {
			o.Framing = Newline
		}
		op := &schema.Operation{ID: id, App: app, Host: host, User: schema.User{Name: name, Email: name}}
		r := &schema.Record{Event: schema.Event(event % 5), Sequence: sequence, Time: at, Text: text, Log: log, Timing: text,
			Detail: &schema.Detail{Command: command, Reason: command, Signature: name}}
		p := whole(t, o, sinks.Entry{Operation: op, Record: r})
		_, body, ok := strings.Cut(p.Text, "tok operation_id="+p.ProcID+" ")
		if !ok {
			t.Fatalf("MSG is %q", p.Text)
		}
		if p.Params["session@32473"]["altered"] == "" && body != string(text) {
			t.Fatalf("TEXT is %q and not %q, without altered", body, text)
		}
		if want := base64.StdEncoding.EncodeToString(log); exact && p.Params["session@32473"]["log_base64"] != want {
			t.Fatalf("log_base64 is %q, want %q", p.Params["session@32473"]["log_base64"], want)
		}
		if got := p.Params["session@32473"]["command"]; utf8.RuneCountInString(got) != utf8.RuneCountInString(command) {
			t.Fatalf("command is %q of %q", got, command)
		}
	})
}
