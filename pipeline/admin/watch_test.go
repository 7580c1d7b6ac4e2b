package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/admin/console"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/trail"
	"github.com/ttydrain/ttydrain/schema"
)

// A stage is an API with a separate bus, on which a session is running, and the API's log.
type stage struct {
	t      *testing.T
	bus    *bus.Bus
	op     *schema.Operation
	url    string
	cookie *http.Cookie // of Ada, who has logged in

	mu  sync.Mutex // guards log
	log bytes.Buffer
}

func (s *stage) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

func newStage(t *testing.T, role bus.Role, phi, showPHI bool) *stage {
	t.Helper()
	s := &stage{t: t}
	var err error
	if s.bus, err = bus.Open(t.Context(), bus.Options{Store: t.TempDir(), Role: role}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.bus.Close)
	s.op = &schema.Operation{ID: "7", Stack: "default", App: "web", User: schema.User{ID: "u-1", Name: "Ada"}, Interactive: true, Width: 100, Height: 30,
		Started: time.Now().Add(-time.Minute), PHI: phi}
	if err := s.bus.SaveSession(t.Context(), &schema.Session{Operation: s.op}); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(s, nil))
	c, err := console.New(console.Options{Token: "t", Tokens: stageTokens(), PHI: showPHI, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { // ends with ctx
		ended <- Serve(ctx, l, Options{Ready: s.bus.Ready, Metrics: prometheus.NewRegistry(), Token: "t", Tokens: stageTokens(), Console: c, Log: log,
			Sessions: &operate.SessionOperator{Bus: s.bus}, Operator: &operate.Operator{Bus: s.bus}, Trail: &trail.Trail{Bus: s.bus}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := client.PostForm(s.url+"/console/login", url.Values{"name": {"Ada"}, "token": {"t"}})
	if err != nil || len(r.Cookies()) != 1 {
		t.Fatalf("log in: %v %v", err, r)
	}
	r.Body.Close()
	s.cookie = r.Cookies()[0]
	return s
}

// ask sends a request to the API, with the token or, as Ada, with the cookie.
func (s *stage) ask(as, method, path, body string) *http.Response {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.url+"/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	switch as {
	case "token":
		request.Header.Set("Authorization", "Bearer t")
	case "Ada":
		request.AddCookie(s.cookie)
	case "":
	default:
		request.Header.Set("Authorization", as)
	}
	r, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { r.Body.Close() })
	return r
}

// chunk publishes a chunk of the session.
func (s *stage) chunk(ordinal uint64, frames ...schema.Frame) {
	s.t.Helper()
	data := schema.AppendChunk(nil, &schema.Chunk{Ordinal: ordinal, Frames: frames})
	if _, err := s.bus.PublishChunk(schema.SubjectTTY(s.op, s.bus.Partitions()), fmt.Sprint(ordinal, "-", len(data)), data).Wait(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func output(text string) schema.Frame {
	return schema.Frame{Kind: schema.FrameStdout, Time: time.Now().UnixNano(), Payload: []byte(text)}
}

func detail(t *testing.T, kind schema.FrameKind, d *schema.Detail) schema.Frame {
	t.Helper()
	f, err := schema.DetailFrame(kind, time.Now(), d)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// segment publishes records of the session.
func (s *stage) segment(last uint64, records ...schema.Record) (sequence uint64) {
	s.t.Helper()
	operation, err := json.Marshal(s.op)
	if err != nil {
		s.t.Fatal(err)
	}
	data, err := schema.AppendSegment(nil, operation, &schema.Segment{Operation: s.op, Records: records})
	if err != nil {
		s.t.Fatal(err)
	}
	sequence, err = s.bus.PublishSegment(schema.LogsOf(schema.SubjectTTY(s.op, s.bus.Partitions())), last, len(records), s.op.PHI, data).Wait(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return sequence
}

func (s *stage) records() []schema.Record {
	at := s.op.Started.UnixNano()
	return []schema.Record{
		{Event: schema.EventStart, Sequence: 1, Time: at, Text: []byte("session started"), Detail: &schema.Detail{Width: 100, Height: 30}},
		{Sequence: 2, Time: at + 1e9, Log: []byte("ready> \xe2\x9c\x93 ls\r\n"), Text: []byte("ready> ✓ ls"), Timing: []byte("0:7 500000:8")},
	}
}

// An events reads the events of a live session.
type events struct {
	t     *testing.T
	lines *bufio.Scanner
}

// next returns the next line that has content.
func (e *events) next() string {
	e.t.Helper()
	for e.lines.Scan() {
		if line := e.lines.Text(); line != "" && !strings.HasPrefix(line, ":") {
			return line
		}
	}
	e.t.Fatalf("the events end: %v", e.lines.Err())
	return ""
}

// want checks that the next events are these, whatever their times.
func (e *events) want(events ...string) {
	e.t.Helper()
	for _, want := range events {
		got := e.next()
		if rest, ok := strings.CutPrefix(got, "data: ["); ok {
			_, rest, _ = strings.Cut(rest, ",")
			got = "[" + rest
		} else if before, _, ok := strings.Cut(got, `,"time"`); ok {
			got = before
		}
		if got != want {
			e.t.Fatalf("the event %s, wanted %s", got, want)
		}
	}
}

// TestWatch replays a session from LOGS and watches it live from TTY: existing output at once, then
// new output, in order, once, to the end.
func TestWatch(t *testing.T) {
	s := newStage(t, 0, false, false)
	s.segment(0, s.records()...)
	cast, err := io.ReadAll(s.ask("Ada", "GET", "sessions/7/cast", "").Body)
	want := []string{`{"version":2,"width":100,"height":30,`, `[0.0,"o",""]`, `[1.000000,"o","ready> "]`, `[1.500000,"o","✓ ls\r\n"]`}
	lines := strings.Split(strings.TrimSpace(string(cast)), "\n")
	if err != nil || len(lines) != len(want) {
		t.Fatalf("the replay is %v %q", err, cast)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("the replay has %s, wanted %s", line, want[i])
		}
	}
	if got, err := io.ReadAll(s.ask("token", "GET", "sessions/7/text", "").Body); err != nil || !strings.HasSuffix(string(got), "Z  ready> ✓ ls\n") || strings.Count(string(got), "\n") != 2 {
		t.Errorf("the text is %q, %v", got, err)
	}

	start, err := schema.StartFrame(time.Now(), s.op)
	if err != nil {
		t.Fatal(err)
	}
	s.chunk(0, start, output("zero "))
	s.chunk(2, output("two "), detail(t, schema.FrameResize, &schema.Detail{Width: 90, Height: 20}))
	s.chunk(1, output("one "), output("\xe2"))
	s.chunk(1, output("one "), output("\xe2"), output("again"))
	live := &events{t, bufio.NewScanner(s.ask("Ada", "GET", "sessions/7/live", "").Body)}
	live.want(`data: {"cols":100,"rows":30`, `["o","zero "]`, `["o","one "]`, `["o","�two "]`, `["r","90x20"]`)
	s.chunk(4, output("four"))
	s.chunk(3, output("three "))
	live.want(`["o","three "]`, `["o","four"]`)
	s.chunk(5, detail(t, schema.FrameEnd, &schema.Detail{Reason: "exit"}))
	live.want("event: done")

	for _, test := range []struct {
		as, method, path, body string
		status                 int
		says                   string
	}{
		{"", "GET", "sessions", "", 401, "you are not logged in"},
		{"Bearer x", "GET", "sessions", "", 401, "this needs the admin token"},
		{"Bearer ", "GET", "sessions", "", 401, "this needs the admin token"},
		{"token", "GET", "sessions", "", 200, `"operation_id": "7"`},
		{"Ada", "GET", "sessions?text=WEB+ada&limit=1", "", 200, `"operation_id": "7"`},
		{"Ada", "GET", "sessions?text=web+eve", "", 200, "[]"},
		{"Ada", "GET", "sessions?before=7", "", 200, "[]"},
		{"Ada", "GET", "sessions?limit=x", "", 400, "limit: expected a number"},
		{"token", "GET", "sessions?since=2000-01-01T00:00:00Z&until=2100-01-01T00:00:00Z", "", 200, `"operation_id": "7"`},
		{"token", "GET", "sessions?until=2000-01-01T00:00:00Z", "", 200, "[]"},
		{"token", "GET", "sessions?since=2100-01-01T00:00:00Z", "", 200, "[]"},
		{"token", "GET", "sessions?until=yesterday", "", 400, "until: expected a time"},
		{"Ada", "GET", "sessions/8/cast", "", 404, "does not exist"},
		{"Ada", "GET", "sessions/x/live", "", 404, "does not exist"},
		{"Ada", "GET", "segments", "", 403, "this request needs a token"},
		{"Ada", "POST", "console/links", `{"name": "Ada"}`, 403, "this request needs a token"},
		{"", "POST", "console/links", `{"name": "Ada"}`, 401, "you are not logged in"},
		{"token", "POST", "console/links", `{"name": " "}`, 400, "the name of the user"},
		{"token", "POST", "console/links", `{"name": "Eve"}`, 200, "/console/link#"},
		{"", "GET", "sessions/7/live", "", 401, "you are not logged in"},
		{"Ada", "POST", "sessions/kill", `{"operations": ["8"], "asked_by": "somebody else"}`, 200, "not there"},
	} {
		r := s.ask(test.as, test.method, test.path, test.body)
		if got, err := io.ReadAll(r.Body); err != nil || r.StatusCode != test.status || !strings.Contains(string(got), test.says) {
			t.Errorf("%s %s as %q: %s, %v, %s", test.method, test.path, test.as, r.Status, err, got)
		}
		if r.Header.Get("Content-Security-Policy") == "" || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: the headers are %v", test.method, test.path, r.Header)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log.String()
	const ada = `who="Ada (by the admin token, in the console)"`
	for _, deed := range []string{
		ada + ` from=127.0.0.1`, `did="replayed a session" phi=false operation=7 status=200`, `did="watched a session" phi=false operation=7 status=200`,
		`who="the admin token" from=127.0.0.1`, `did="read a session" phi=false operation=7 status=200`, `did="replayed a session" phi=false operation=8 status=404`,
		`who=nobody from=127.0.0.1`, `did="requested the end of sessions" asked_by="Ada (by the admin token, in the console)" operations=[8] status=200`,
	} {
		if !strings.Contains(log, deed) {
			t.Errorf("the log does not say %s:\n%s", deed, log)
		}
	}
	for _, content := range []string{"zero", "three", "ready>"} {
		if strings.Contains(log, content) {
			t.Errorf("the log has what a session showed: %s", log)
		}
	}
}

// TestWatchRouter checks that a process that only runs the router follows LOGS, and that only a
// console with show_phi shows sessions with protected health information.
func TestWatchRouter(t *testing.T) {
	for _, shows := range []bool{true, false} {
		s := newStage(t, bus.RoleRouter, true, shows)
		last := s.segment(0, s.records()...)
		for _, path := range []string{"sessions/7/cast", "sessions/7/text", "sessions/7/live"} {
			if shows {
				continue
			}
			r := s.ask("Ada", "GET", path, "")
			if r.StatusCode != 403 { // and might continue
				t.Errorf("%s of a session with PHI: %s", path, r.Status)
			} else if got, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(got), "show_phi") {
				t.Errorf("%s of a session with PHI: %v, %s", path, err, got)
			}
		}
		as := map[bool]string{true: "Ada", false: "token"}[shows]
		live := &events{t, bufio.NewScanner(s.ask(as, "GET", "sessions/7/live", "").Body)}
		live.want(`data: {"cols":100,"rows":30`, `["o","ready> ✓ ls\r\n"]`)
		s.segment(last, schema.Record{Sequence: 3, Offset: 15, Time: time.Now().UnixNano(), Log: []byte("README\r\n"), Text: []byte("README")},
			schema.Record{Event: schema.EventEnd, Sequence: 4, Offset: 23, Time: time.Now().UnixNano(), Detail: &schema.Detail{Reason: "exit"}})
		live.want(`["o","README\r\n"]`, "event: done")
	}
}
