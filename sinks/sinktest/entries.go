package sinktest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// operations is the maximum number of operations in one call of Entries.
const operations = 5

// PartialSize is the size of the lines that Entries cuts, as the enricher does.
const PartialSize = 16 << 10

// Entries makes n records as the enricher makes them: of several operations, interleaved, each with
// sequences, offsets and running digests from its start on, and with everything in them that a
// terminal can show: UTF-8, bytes that are not, escape sequences, NULs, line separators, quotes,
// empty lines and lines that were cut. Operations that have room for it end.
//
// The same seed yields the same entries, and different seeds operations with different IDs. Two
// calls share no memory.
func Entries(seed uint64, n int) []sinks.Entry {
	random := rand.New(rand.NewPCG(seed, 0x7474796472616966))
	sessions := make([]*session, min(operations, max(n, 1)))
	for i := range sessions {
		sessions[i] = newSession(seed, i)
	}
	left := make([]int, len(sessions)) // records still to be made, for each session
	for i := range n {
		left[i%len(left)]++
	}
	entries := make([]sinks.Entry, 0, n)
	for len(entries) < n {
		i := random.IntN(len(sessions))
		// A burst, as one segment of the enricher's would be.
		for burst := 1 + random.IntN(7); burst > 0 && left[i] > 0; burst-- {
			left[i]--
			entries = append(entries, sessions[i].next(random, left[i]))
		}
	}
	return entries
}

// A session makes the records of one operation.
type session struct {
	operation *schema.Operation
	at        int64
	sequence  uint64
	offset    uint64
	// digest and text run over the bytes and over the texts.
	digest, text hash.Hash
}

func newSession(seed uint64, i int) *session {
	id := strconv.FormatUint(seed%1e15*10+uint64(i), 10)
	started := time.Date(2026, 3, 14, 15, 9, 26, 535897932, time.UTC).Add(time.Duration(i) * time.Minute)
	users := []schema.User{
		{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"},
		{ID: "u-2", Name: `Grace "Amazing" Hopper`, Email: "grace@example.com"},
		{ID: "u-3", Name: "Zoë 山田", Email: "zoë@example.com"},
	}
	user := users[i%len(users)]
	return &session{
		operation: &schema.Operation{
			ID: id, Stack: "default", App: []string{"web", "worker"}[i%2], AppID: strconv.Itoa(100 + i%2),
			Service: "ssh", Layer: "app", Host: "gateway-1.example.com", Container: "session-" + id,
			User: user, UserDocument: "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJpZCI6Ii" + strings.Repeat("x", 300) + "." + strings.Repeat("y", 86),
			Interactive: true, Width: 80, Height: 24,
			Started: started, Expires: started.Add(7 * 24 * time.Hour),
		},
		at: started.UnixNano(), digest: sha256.New(), text: sha256.New(),
	}
}

// next makes the session's next record, after which left more will come.
func (s *session) next(random *rand.Rand, left int) sinks.Entry {
	switch {
	case s.sequence == 0:
		interactive := true
		return s.event(schema.EventStart, "session "+s.operation.ID+" started: terminal of 80×24",
			&schema.Detail{Interactive: &interactive, Width: 80, Height: 24})
	case left == 0 && s.sequence >= 3:
		status, total := 130, s.offset
		return s.event(schema.EventEnd, "session ended: exit status 130 (exit)", &schema.Detail{ExitStatus: &status,
			Reason: "exit", Bytes: &total, Signature: "eyJhbGciOiJFUzI1NiJ9." + strings.Repeat("z", 120) + "." + strings.Repeat("s", 86)})
	}
	switch k := random.IntN(200); k {
	case 0:
		missing := uint64(4096)
		return s.event(schema.EventGap, "4096 bytes are missing: the stream was full", &schema.Detail{Bytes: &missing, Reason: "the stream was full"})
	case 1, 2:
		return s.event(schema.EventResize, "terminal resized to 132×43", &schema.Detail{Width: 132, Height: 43})
	case 3:
		return s.output(strings.Repeat("0123456789abcde ", PartialSize/16), strings.Repeat("0123456789abcde ", PartialSize/16), true)
	case 4:
		// All bytes that are not valid UTF-8 by themselves, and a sequence that is cut short.
		var log strings.Builder
		for b := 0x80; b <= 0xff; b++ {
			log.WriteByte(byte(b))
		}
		log.WriteString("\xe2\x82\r\n")
		return s.output(log.String(), strings.Repeat("\ufffd", 129), false)
	default:
		// Every kind of line comes, in order, before chance takes over.
		i := int(s.sequence-1) % len(lines)
		if s.sequence > uint64(len(lines)) {
			i = random.IntN(len(lines))
		}
		return s.output(lines[i].log, lines[i].text, lines[i].partial)
	}
}

// lines are outputs of terminals, and their texts.
var lines = []struct {
	log, text string
	partial   bool
}{
	{log: "total 48\r\n", text: "total 48"},
	{log: "\x1b[0m\x1b[01;34mapp\x1b[0m  \x1b[01;32mrun.sh\x1b[0m  Gemfile\r\n", text: "app  run.sh  Gemfile"},
	{log: "\r\n", text: ""},
	{log: "grüße, 世界 🚀 e\u0301\r\n", text: "grüße, 世界 🚀 e\u0301"},
	{log: "bad \xff\xfe bytes and \xc3( one cut \xf0\x9f\x9a\r\n", text: "bad \ufffd\ufffd bytes and \ufffd( one cut \ufffd"},
	{log: "a NUL\x00 and a bell\a\r\n", text: "a NUL and a bell"},
	{log: "lsx\b\x1b[K -la\r\n", text: "ls -la"},
	{log: `{"quoted": "back\\slash", 'single': ` + "`tick`}\r\n", text: `{"quoted": "back\\slash", 'single': ` + "`tick`}"},
	{log: "separators \u2028 and \u2029 of lines, \u0085 too\r\n", text: "separators   and   of lines,  too"},
	{log: "\x1b]0;title of the window\a$ ", text: "$ ", partial: true},
	{log: "exit\r\n", text: "exit"},
	{log: "10%\r 50%\r100%\r\n", text: "100%"},
	{log: "<script>alert('&amp;')</script> ]]> % ${HOME} \\u0041 \"] x=\"1\r\n", text: "<script>alert('&amp;')</script> ]]> % ${HOME} \\u0041 \"] x=\"1"},
	{log: "\ufeffa byte order mark, then a tab:\tend\x7f\n", text: "\ufeffa byte order mark, then a tab:    end"},
	{log: "2026-03-14T15:09:26Z INFO request method=GET path=/api/v1/users status=200 duration=12ms\r\n", text: "2026-03-14T15:09:26Z INFO request method=GET path=/api/v1/users status=200 duration=12ms"},
}

func (s *session) output(log, text string, partial bool) sinks.Entry {
	r := s.record(schema.EventOutput, text)
	r.Partial = partial
	r.Log = []byte(log)
	r.Timing = fmt.Appendf(nil, "0:%d", len(log))
	if len(log) > 4 {
		r.Timing = fmt.Appendf(nil, "0:3 1250:%d", len(log)-3)
	}
	s.digest.Write(r.Log)
	s.offset += uint64(len(r.Log))
	s.digest.Sum(r.Digest[:0])
	return sinks.Entry{Operation: s.operation, Record: r}
}

func (s *session) event(event schema.Event, text string, detail *schema.Detail) sinks.Entry {
	r := s.record(event, text)
	r.Detail = detail
	s.digest.Sum(r.Digest[:0])
	return sinks.Entry{Operation: s.operation, Record: r}
}

// record begins a record; the offset is that of before it, the digest is still to be set.
func (s *session) record(event schema.Event, text string) *schema.Record {
	s.sequence++
	s.at += int64(1234567 * (s.sequence%13 + 1))
	r := &schema.Record{Event: event, Sequence: s.sequence, Offset: s.offset, Time: s.at, Text: []byte(text)}
	s.text.Write(r.Text)
	s.text.Write([]byte{'\n'})
	s.text.Sum(r.TextDigest[:0])
	return r
}

// A Got is one record as a drain holds it.
type Got struct {
	OperationID string
	Sequence    uint64
	Event       string
	Log         []byte // the exact bytes; unused where Target.Bytes is false
	Text        string
}

func (g Got) identity() string { return g.OperationID + "/" + strconv.FormatUint(g.Sequence, 10) }

// expected returns the records that a drain must hold, as copies.
func expected(entries []sinks.Entry) []Got {
	got := make([]Got, len(entries))
	for i, e := range entries {
		got[i] = Got{OperationID: e.Operation.ID, Sequence: e.Record.Sequence, Event: e.Record.Event.String(),
			Log: bytes.Clone(e.Record.Log), Text: string(e.Record.Text)}
	}
	return got
}

// fingerprint changes when anything in the entries does.
func fingerprint(entries []sinks.Entry) string {
	h := sha256.New()
	for _, e := range entries {
		fmt.Fprintf(h, "%p %+v %p %+v", e.Operation, *e.Operation, e.Record, *e.Record)
		if e.Record.Detail != nil {
			fmt.Fprintf(h, "%p %+v", e.Record.Detail, *e.Record.Detail)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// scribble overwrites the bytes that the entries point to, as their owner may after Write.
func scribble(entries []sinks.Entry) {
	for _, e := range entries {
		for _, b := range [][]byte{e.Record.Log, e.Record.Text, e.Record.Timing} {
			for i := range b {
				b[i] = '!'
			}
		}
		*e.Record = schema.Record{Event: schema.EventGap, Sequence: 1 << 60, Text: []byte("scribbled over")}
	}
	for i := range entries {
		entries[i] = entries[0]
	}
}
