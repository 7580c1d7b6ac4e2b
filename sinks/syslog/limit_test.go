package syslog

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// TestMessageBytes: a message that is too long goes without what can be left out, and says so.
func TestMessageBytes(t *testing.T) {
	entry := sinks.Entry{Operation: operation(), Record: &schema.Record{Sequence: 1, Time: at,
		Text: []byte("the text"), Log: bytes.Repeat([]byte("log"), 100), Timing: bytes.Repeat([]byte("0:1 "), 100)}}
	size := func(o Options, x extent) int {
		b, err := newBatch(o)
		if err != nil {
			t.Fatal(err)
		}
		return len(b.encoder.append(nil, b.priority, entry.Operation, entry.Record, x))
	}
	exact := Options{Exact: true}
	for _, c := range []struct {
		name        string
		exact       bool
		limit       int
		omitted     string
		log, timing bool
		sent        bool
	}{
		{"no limit", true, 0, "", true, true, true},
		{"it fits", true, size(exact, whole), "", true, true, true},
		{"one byte too long", true, size(exact, whole) - 1, "timing", true, false, true},
		{"it fits without its timing", true, size(exact, withoutTiming), "timing", true, false, true},
		{"it fits without its bytes", true, size(exact, withoutTiming) - 1, "timing log_base64", false, false, true},
		{"it just fits without its bytes", true, size(exact, withoutLog), "timing log_base64", false, false, true},
		{"it does not fit", true, size(exact, withoutLog) - 1, "", false, false, false},
		{"it fits, not exact", false, size(Options{}, whole), "", false, false, true},
		{"it does not fit, not exact", false, size(Options{}, whole) - 1, "", false, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := newBatch(Options{Exact: c.exact, MaxMessageBytes: c.limit})
			if err != nil {
				t.Fatal(err)
			}
			messages, err := syslogtest.Split(b.encode([]sinks.Entry{entry}), false)
			if err != nil || (len(messages) == 1) != c.sent {
				t.Fatalf("%d messages: %v", len(messages), err)
			}
			if !c.sent {
				e := sinks.AsError(b.refused())
				if e.Verdict != sinks.TooLarge || len(e.Items) != 1 || e.Items[0].Index != 0 || e.Items[0].Verdict != sinks.TooLarge || !strings.Contains(e.Reason, "not sent: its message has") {
					t.Errorf("%+v", e)
				}
				return
			}
			if err := b.refused(); err != nil {
				t.Error(err)
			}
			p, err := syslogtest.Parse(messages[0])
			if err != nil {
				t.Fatal(err)
			}
			session := p.Params["session@32473"]
			if session["omitted"] != c.omitted || (session["log_base64"] != "") != c.log || (session["timing"] != "") != c.timing || !strings.HasSuffix(p.Text, "the text") {
				t.Errorf("%s", messages[0])
			}
			if c.limit > 0 && len(messages[0]) > c.limit {
				t.Errorf("%d bytes, the limit is %d", len(messages[0]), c.limit)
			}
		})
	}
}

// TestTooLongAmongOthers: what is too long is told, and all else is delivered; the next batch too.
func TestTooLongAmongOthers(t *testing.T) {
	drain := syslogtest.StartRsyslog(t, syslogtest.Options{})
	sink := open(t, Options{Address: drain.Address, TLS: drain.TLS(), MaxMessageBytes: 1000})
	defer sink.Close()
	batch := numbered(1, 6, 50)
	for _, i := range []int{1, 4} {
		batch[i] = numbered(i+1, 1, 2000)[0]
	}
	e := sinks.AsError(sink.Write(t.Context(), batch))
	if e.Verdict != sinks.TooLarge || len(e.Items) != 2 || e.Items[0].Index != 1 || e.Items[1].Index != 4 {
		t.Fatalf("%+v", e)
	}
	if e := sinks.AsError(sink.Write(t.Context(), batch[4:5])); e.Verdict != sinks.TooLarge || len(e.Items) != 1 {
		t.Fatalf("%+v", e)
	}
	write(t, sink, numbered(7, 1, 50))
	var got []uint64
	for _, g := range received(t, drain, 5) {
		got = append(got, g.Sequence)
	}
	if len(got) != 5 || got[0] != 1 || got[1] != 3 || got[2] != 4 || got[3] != 6 || got[4] != 7 {
		t.Errorf("the server has %v", got)
	}
}

// TestTokenElement: a real server understands messages with a token as structured data, even one
// that is longer than a name may be.
func TestTokenElement(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			drain := server.start(t, syslogtest.Options{Newline: server.framing == Newline})
			for _, token := range []string{"t0k3n", "a-token_of/64.characters~1234567890123456789012345678901234567890"} {
				o := Options{Address: drain.Address, TLS: drain.TLS(), Framing: server.framing, Token: token, TokenEnterprise: 41058}
				line := string(encoded(t, o, numbered(1, 1, 50)...))
				if !strings.Contains(line, " output ["+token+"@41058][session@32473 operation_id=") || strings.Count(line, token) != 1 {
					t.Fatalf("%s", line)
				}
			}
			sink := open(t, Options{Address: drain.Address, TLS: drain.TLS(), Framing: server.framing, Token: "t0k3n", TokenEnterprise: 41058})
			defer sink.Close()
			write(t, sink, numbered(1, 3, 50))
			holds(t, drain, 3)
		})
	}
}

func TestTokenOptions(t *testing.T) {
	for _, c := range []struct {
		options Options
		want    string
	}{
		{Options{TokenEnterprise: 41058}, "token is missing"},
		{Options{TokenEnterprise: -1}, "negative"},
		{Options{MaxMessageBytes: -1}, "negative"},
		{Options{TokenEnterprise: 41058, Token: "hunter2@41058"}, "structured data cannot have"},
		{Options{TokenEnterprise: 41058, Token: `hunter2"`}, "structured data cannot have"},
		{Options{TokenEnterprise: 41058, Token: "hunter 2"}, "one word"},
	} {
		c.options.Address = "h:1"
		err := c.options.Check()
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%+v: %v, want …%s…", c.options.MaxMessageBytes, err, c.want)
		}
	}
}
