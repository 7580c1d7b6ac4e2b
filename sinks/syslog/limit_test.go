package syslog

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// random makes records of any event whose values are of any length and any bytes, with the longest
// names.
type random struct{ *rand.Rand }

func (r random) bytes(most int) []byte {
	b := make([]byte, r.IntN(most+1))
	kind := r.IntN(5)
	for i := range b {
		switch kind {
		case 0: // any bytes: three of four of them become U+FFFD
			b[i] = byte(r.Uint32())
		case 1: // what has to be escaped in structured data
			b[i] = "\"\\]"[r.IntN(3)]
		case 2:
			b[i] = 0xc3
		default:
			b[i] = byte(' ' + r.IntN(95))
		}
	}
	if kind == 4 { // characters of several bytes
		return []byte(strings.Repeat([]string{"ü", "界", "🚀", "\u202e", "e\u0301", "\ufffd"}[r.IntN(6)], len(b)/3))
	}
	return b
}

func (r random) record() *schema.Record {
	yes, status, total := true, -2147483648, uint64(math.MaxUint64)
	record := &schema.Record{Event: schema.Event(r.IntN(5)), Stream: schema.Stderr, Partial: true, Sequence: r.Uint64(), Offset: math.MaxUint64,
		Time: r.Int64N(4e18), Text: r.bytes(20_000)}
	if record.Event == schema.EventOutput {
		record.Log, record.Timing = r.bytes(20_000), r.bytes(r.IntN(60_000)+1)
		return record
	}
	text := func() string { return string(r.bytes(r.IntN(40_000) + 1)) }
	record.Detail = &schema.Detail{Interactive: &yes, Width: math.MaxInt, Height: math.MaxInt, ExitStatus: &status, Bytes: &total, LastSequence: math.MaxUint64,
		Uncertain: true, Command: text(), Reason: text(), EndedBy: text(), EndedBecause: text(), Signature: text()}
	return record
}

func (r random) options() Options {
	o := Options{MaxMessageBytes: []int{0, MinMaxMessageBytes, MinMaxMessageBytes + r.IntN(6000), MaxMaxMessageBytes}[r.IntN(4)], Exact: r.IntN(2) == 0}
	o.Token = strings.Repeat("T", r.IntN(1+cmp.Or(o.MaxMessageBytes, DefaultMaxMessageBytes)/8))
	if o.Token != "" && r.IntN(2) == 0 {
		o.TokenEnterprise = math.MaxInt32
	}
	o.Framing = Framing(r.IntN(2))
	return o
}

// TestParts: whatever a record holds, no message is longer than the limit, and the parts joined are
// the message that it would be without one.
func TestParts(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := random{rand.New(rand.NewPCG(seed, 0))}
	records, parted := 300, 0
	if testing.Short() {
		records = 60
	}
	for range records {
		o := r.options()
		op := &schema.Operation{ID: strings.Repeat([]string{"4", `"`, "界"}[r.IntN(3)], 128), App: strings.Repeat("a", 100), Host: strings.Repeat("h", 300)}
		entry := sinks.Entry{Operation: op, Record: r.record()}
		if err := (Options{Address: "h:1", Token: o.Token, TokenEnterprise: o.TokenEnterprise, MaxMessageBytes: o.MaxMessageBytes}).Check(); err != nil {
			t.Fatal(err)
		}
		got := whole(t, o, entry)
		unlimited := newBatch(o)
		unlimited.maxMessage = math.MaxInt
		messages, err := syslogtest.Split(unlimited.encode([]sinks.Entry{entry}), o.Framing == Newline)
		if err != nil || len(messages) != 1 {
			t.Fatalf("%d messages: %v", len(messages), err)
		}
		if len(messages[0]) > cmp.Or(o.MaxMessageBytes, DefaultMaxMessageBytes) {
			parted++
		}
		want, err := syslogtest.Parse(withoutElement(o, messages[0]))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("limit %d: the parts joined differ from the message:\n%.2000q\n%.2000q", o.MaxMessageBytes, fmt.Sprint(got), fmt.Sprint(want))
		}
	}
	if parted < records/5 {
		t.Errorf("only %d of %d records were in parts", parted, records)
	}
}

// TestPartsReadable: the first parts have the record's text, cut between characters, and each part
// says which it is.
func TestPartsReadable(t *testing.T) {
	r := &schema.Record{Sequence: 7, Time: at, Text: []byte(strings.Repeat("Zeile 1 ü ", 700)), Log: bytes.Repeat([]byte("Zeile 1 ü "), 700)}
	messages, err := syslogtest.Split(encoded(t, Options{Exact: true, MaxMessageBytes: 4096}, sinks.Entry{Operation: operation(), Record: r}), false)
	if err != nil || len(messages) < 4 {
		t.Fatalf("%d messages: %v", len(messages), err)
	}
	for i, m := range messages {
		lead := fmt.Sprintf("] operation_id=42 part=%d/%d ", i+1, len(messages))
		_, text, ok := strings.Cut(string(m), lead)
		if !ok || (i < 2) != (len(text) > 2000) {
			t.Errorf("part %d: %d bytes of text in %q, want it behind %q", i+1, len(text), m, lead)
		}
	}
}

// TestGoldenParts holds the bytes of parts on the wire: copies that have them have to stay
// readable.
func TestGoldenParts(t *testing.T) {
	entries := session()[:2]
	entries[0].Record.Detail.Command = "printf '%s\n' " + strings.Repeat(`"grüße [世界]" \ `, 50)
	entries[1].Record.Text = []byte(strings.Repeat("grüße, 世界 ", 150))
	entries[1].Record.Log = []byte(strings.Repeat("grüße, 世界\t", 90) + "\r\n")
	entries[1].Record.Timing = []byte("0:5" + strings.Repeat(" 1200:22", 90))
	for _, framing := range []Framing{OctetCounting, Newline} {
		file := filepath.Join("testdata", []string{"parts", "newline-parts"}[framing]+".golden")
		got := encoded(t, Options{Framing: framing, Exact: framing == Newline, Token: "t0k3n", MaxMessageBytes: MinMaxMessageBytes}, entries...)
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) || !strings.Contains(string(got), ` part="2/`) {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
	}
}

// TestInstalledSizes: servers as installed take messages of the default's length whole.
func TestInstalledSizes(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			drain := server.start(t, syslogtest.Options{Newline: server.framing == Newline})
			sink := open(t, Options{Address: drain.Address, TLS: drain.TLS(), Framing: server.framing, Exact: true})
			defer sink.Close()
			batch := numbered(1, 80, 0)
			for i := range batch {
				r := batch[i].Record
				r.Text = bytes.Repeat([]byte("界"), 2520+i) // the shortest one fits, and from one on there are two parts
				r.Log = []byte("x")
			}
			write(t, sink, batch)
			holds(t, drain, len(batch))
			longest, parts := 0, 0
			for _, m := range drain.Lines(t, len(batch)+1) {
				longest = max(longest, len(m.Raw))
				if strings.Contains(m.Raw, " part=") {
					parts++
				}
			}
			if longest > DefaultMaxMessageBytes || longest < DefaultMaxMessageBytes-4 || parts == 0 || parts == len(batch)*2 {
				t.Errorf("the longest message has %d bytes, %d parts", longest, parts)
			}
		})
	}
}

// TestNoRoom: a record whose parts would not fit either is reported, and all others are delivered.
func TestNoRoom(t *testing.T) {
	drain := syslogtest.StartRsyslog(t, syslogtest.Options{})
	sink := open(t, Options{Address: drain.Address, TLS: drain.TLS()})
	defer sink.Close()
	batch := numbered(1, 4, 50)
	other := operation()
	other.ID = strings.Repeat("4", DefaultMaxMessageBytes)
	batch[1].Operation = other
	e := sinks.AsError(sink.Write(t.Context(), batch))
	if e.Verdict != sinks.TooLarge || len(e.Items) != 1 || e.Items[0].Index != 1 || !strings.Contains(e.Message(), "raise max_message_bytes") {
		t.Fatalf("%+v", e)
	}
	if e := sinks.AsError(sink.Write(t.Context(), batch[1:2])); e.Verdict != sinks.TooLarge || len(e.Items) != 1 {
		t.Fatalf("%+v", e)
	}
	sink.batch.encode(batch[1:])
	if n := sink.batch.confirmed(0); n != 0 {
		t.Errorf("of no bytes, %d entries are confirmed", n)
	}
	var got []uint64
	for _, g := range received(t, drain, 3) {
		got = append(got, g.Sequence)
	}
	if !slices.Equal(got, []uint64{1, 3, 4}) {
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
		{Options{MaxMessageBytes: MinMaxMessageBytes - 1}, "is not from 2048 to 131072"},
		{Options{MaxMessageBytes: MaxMaxMessageBytes + 1}, "is not from 2048 to 131072"},
		{Options{Token: strings.Repeat("hunter", 200)}, "expected at most 1000"},
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
