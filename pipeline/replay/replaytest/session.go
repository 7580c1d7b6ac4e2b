package replaytest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// Key creates a signing key.
func Key(t testing.TB) *enrich.Key {
	t.Helper()
	k, err := enrich.LoadKey(filepath.Join(t.TempDir(), "key.pem"), "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Began is the start time of all sessions.
var Began = time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)

// output is the output of a session, piece by piece: a prompt with a corrected typing error, a
// progress bar, a full-screen program, invalid UTF-8, and JSON and structured data that imitate
// ttydrain's.
var output = []string{
	"$ ", "l", "z", "\b \b", "s -l\r\n", "\x1b[01;34mbin\x1b[0m  run.sh\r\n", "10%\r50%\r", "100%\r\n", "gr\u00fc\u00df \u65e5", "\u672c\r\n", "bad \xff\xfe\xc3( bytes\r\n",
	"\x1b[?1049h\x1b[2J\x1b[1;1H~ VIM\x1b[2;1H~\x1b[?1049l", "{\"operation_id\":\"7\",\"sequence\":3,\"event\":\"end\"}\r\n",
	"[session@32473 operation_id=\"7\" sequence=\"3\"] operation_id=7 x\r\n", "\r\n", "Password: ", "\r\n", "a\tb\\\"]\r\n", "$ exit\r\n",
}

// slowOutput is the output of a slow session: text that is erased after a moment, invisible text, a
// control string and an edited command of several lines, panes, and the remains of a full-screen
// program's commands.
var slowOutput = []string{
	"$ ", "secret", "\r\x1b[Kls\r\n", "10%", "\r 50%", "\r100%\r\n", "\x1b[8mhidden", "\x1b[m output\r\n", "\x1b]2;for i in 1 2\ndo true\n", "done\x07$ ls\r\n",
	"$ for i in 1 2; do\r\n  rm $i\r\ndone", "\x1b[2A\r\x1b[11C7 8", "\x1b[2B\r\x1b[4C\r\n", "\x1b[?1049h\x1b[6;1H:s/a/b/\r1 substitution",
	"\x1b[1;1Hleft\x1b[1;40H│right", "\x1b[1;1HLEFT", "\x1b[?1049l", "\r\n", "🇩🇪\b\b", "e\u0301 \b", "x\r\n",
}

// Session is a session as produced by package enrich.
type Session struct {
	Operation *schema.Operation
	Records   []schema.Record
	Segments  [][]byte // as stored on LOGS
}

// Entries returns the records in the form for sinks.
func (s *Session) Entries() []sinks.Entry {
	var entries []sinks.Entry
	for i := range s.Records {
		entries = append(entries, sinks.Entry{Operation: s.Operation, Record: &s.Records[i]})
	}
	return entries
}

// Options select the properties of a session.
type Options struct {
	Pieces int  // number of outputs
	Open   bool // the session has not ended
	Gap    bool // a part was not recorded
	Twist  bool // a different output
	Long   bool // a long command and long lines, if Pieces is at least 23
	Slow   bool // output with pauses, at which it remains visible
	// Input is the session's input, which is recorded. The session also transfers a file then.
	Input []string
	// Killed has an operator end the session, with a reason.
	Killed bool
	// Checkpoint has the enricher add a checkpoint after every so many outputs; 0 for none.
	Checkpoint int
	// Terminal gives a session with an odd ID a terminal.
	Terminal bool
}

// long has lines whose bytes need different amounts of space in the forms of a record.
var long = []string{
	strings.Repeat("0123456789 abcde ", 800) + "\r\n", strings.Repeat("gr\u00fc\u00df \u65e5\u672c \\\"]", 300) + "\r\n", strings.Repeat("\xc3", 7000) + "\r\n",
	strings.Repeat("operation_id=42 part=2/3 ", 200) + "\r\n",
}

// NewSession creates a session. With an odd ID it has no terminal and writes to both output
// streams.
func NewSession(t testing.TB, key *enrich.Key, id string, o Options) *Session {
	t.Helper()
	interactive := o.Terminal || (id[len(id)-1]-'0')%2 == 0
	user := schema.User{ID: "u-" + id, Name: "Ada " + id, Email: "ada" + id + "@example.com"}
	document, err := key.Mint("https://auth.example.com", user, Began)
	if err != nil {
		t.Fatal(err)
	}
	op := &schema.Operation{ID: id, Stack: "default", App: "web", AppID: "17", Service: "web-cmd", Layer: "app", Host: "gateway-1",
		Container: "session-" + id, User: user, UserDocument: document, Command: "bash -l", Interactive: interactive, Started: Began,
		Origin: schema.Origin{
			Address: "192.0.2.7", Client: "SSH-2.0-OpenSSH_9.9", Method: schema.MethodCertificate,
			Key: "SHA256:9JrWZkoUJDIcyoVKhOOLDYJgKwjPcBr0AJ3aJ0vE5kc", Serial: "17", CA: "SHA256:Uf1kR9aDIcyoVKhOOLDYJgKwjPcBr0AJ3aJ0vE5kc0",
		}}
	if interactive {
		op.Width, op.Height = 80, 24
	}
	pieces := slices.Clone(output)
	if o.Long {
		op.Command = "bash -c '" + strings.Repeat(`printf "%s\n" "[$x]" `, 300) + "'"
		pieces = append(pieces, long...)
	}
	transcript, err := enrich.New(op, key, Began)
	if err != nil {
		t.Fatal(err)
	}
	at := Began
	pause := 1234567 * time.Nanosecond
	if o.Slow {
		pieces, pause = slowOutput, 345678901*time.Nanosecond
	}
	next := func() time.Time { at = at.Add(pause); return at }
	start, err := schema.StartFrame(next(), op)
	if err != nil {
		t.Fatal(err)
	}
	chunk := &schema.Chunk{Frames: []schema.Frame{start}}
	add := func() {
		if err := transcript.Add(chunk, at); err != nil {
			t.Fatal(err)
		}
		chunk.Ordinal++
		chunk.Offset, chunk.Events = transcript.Received().Bytes, transcript.Received().Events
		chunk.Frames = nil
	}
	detail := func(kind schema.FrameKind, d schema.Detail) {
		f, err := schema.DetailFrame(kind, next(), &d)
		if err != nil {
			t.Fatal(err)
		}
		chunk.Frames = append(chunk.Frames, f)
	}
	for i := range o.Pieces {
		piece := pieces[i%len(pieces)]
		if o.Twist && i == 5 {
			piece = "no " + piece
		}
		kind := schema.FrameStdout
		if i%7 == 6 && !interactive {
			kind = schema.FrameStderr
		}
		chunk.Frames = append(chunk.Frames, schema.Frame{Kind: kind, Time: next().UnixNano(), Payload: fmt.Appendf(nil, "%s%s", piece, map[bool]string{true: id}[i%5 == 0])})
		if i%11 == 3 && interactive {
			detail(schema.FrameResize, schema.Detail{Width: 100 + i, Height: 40})
		}
		add()
		if o.Checkpoint > 0 && i%o.Checkpoint == o.Checkpoint-1 { // the enricher's clock is of no importance to the records
			transcript.Expire(Began)
			transcript.Expire(Began.Add(time.Hour))
		}
	}
	if lost := uint64(9); o.Gap {
		detail(schema.FrameGap, schema.Detail{Bytes: &lost, Reason: "the stream was full"})
	}
	end := schema.Detail{Reason: "exit"}
	if o.Killed {
		end = schema.Detail{Reason: "killed", EndedBy: "Grace " + id, EndedBecause: "maintenance " + id}
	}
	if len(o.Input) > 0 {
		for _, in := range o.Input {
			detail(schema.FrameInput, schema.Detail{Input: []byte(in)})
		}
		given := strings.Join(o.Input, "")
		size, sum := uint64(len(given)), sha256.Sum256([]byte(given))
		detail(schema.FrameTransfer, schema.Detail{Path: "/tmp/gr\u00fc\u00df \"]", Direction: schema.Upload, Size: &size, SHA256: hex.EncodeToString(sum[:])})
		end.InputBytes, end.InputSHA256 = &size, hex.EncodeToString(sum[:])
	}
	if status := 130; !o.Open {
		end.ExitStatus = &status
		detail(schema.FrameEnd, end)
	}
	add()
	s := &Session{Operation: op}
	var d schema.Decoder
	for transcript.Ready() {
		taken, err := transcript.Take()
		if err != nil {
			t.Fatal(err)
		}
		segment, err := d.Segment(taken.Data)
		if err != nil {
			t.Fatal(err)
		}
		s.Records = append(s.Records, segment.Records...)
		s.Segments = append(s.Segments, taken.Data)
	}
	return s
}

// GapEntry returns the record of a gap in the copy of a drain, signed by a key; nil for none.
func GapEntry(t testing.TB, sign func(typ string, object any) (string, error), op *schema.Operation, gap schema.Gap) sinks.Entry {
	t.Helper()
	record := gap.Record()
	if sign != nil {
		signature, err := sign(schema.SignedGap, schema.ClaimOf(op.ID, "siem", record))
		if err != nil {
			t.Fatal(err)
		}
		record.Detail.Signature = signature
	}
	return sinks.Entry{Operation: op, Record: record}
}
