//go:build linux

package session_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/busstore"
	"github.com/ttydrain/ttydrain/pipeline/session/sandbox"
	"github.com/ttydrain/ttydrain/schema"
)

func TestMain(m *testing.M) {
	sandbox.InitMain()
	os.Exit(m.Run())
}

// client is a client's end that keeps the shown output, and signals when there is more.
type client struct {
	mu      sync.Mutex
	shown   bytes.Buffer  // guarded by mu
	changed chan struct{} // of cap 1
}

func (c *client) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown.Write(b)
	select {
	case c.changed <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (c *client) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown.String()
}

// await waits until a text has been shown.
func (c *client) await(t *testing.T, text string) {
	t.Helper()
	limit := time.After(time.Minute)
	for !strings.Contains(c.text(), text) {
		select {
		case <-c.changed:
		case <-limit:
			t.Fatalf("%q was not shown, but %q", text, c.text())
		}
	}
}

// TestRealSession runs a shell in a real sandbox, with a real bus: the shown output equals the
// recorded one.
func TestRealSession(t *testing.T) {
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	b, err := bus.Open(t.Context(), bus.Options{Store: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	runtime, err := sandbox.New(sandbox.Options{Dir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := runtime.Close(); err != nil {
			t.Error(err)
		}
	}()
	app := session.App{Name: "web", Stack: "default", Runtime: "sandbox", Command: []string{"/bin/sh"}, Memory: 1 << 30, Duration: time.Hour, Sessions: 1,
		Env: []string{"PS1=> ", "WHO=app", "ENV="}}
	store := busstore.New(b, nil)
	m := session.NewManager(session.Options{
		Gateway: "g-1", Host: "host-1", App: func(string) (session.App, bool) { return app, true },
		Runtimes: map[string]session.Runtime{"sandbox": runtime}, Store: store, Publisher: store, Slots: store,
		Subject:  store.Subject,
		Document: func(schema.User) (string, error) { return "the-document", nil }, Log: log,
	})
	input, keys := io.Pipe()
	defer keys.Close()
	shown := &client{changed: make(chan struct{}, 1)}
	resize := make(chan session.Size, 1)
	type result struct {
		exit session.Exit
		err  error
	}
	over := make(chan result, 1)
	go func() { // ends with the shell
		exit, err := m.Run(t.Context(), session.Request{App: "web", User: schema.User{ID: "u-1", Name: "Ada", Email: "ada@example.com"},
			Env: []string{"WHO=client"}, Terminal: &session.Terminal{Name: "xterm", Size: session.Size{Width: 80, Height: 24}}},
			session.IO{Stdin: input, Stdout: shown, Resize: resize})
		over <- result{exit, err}
	}()
	shown.await(t, "> ")
	for _, line := range []struct{ keys, want string }{
		{`echo "$WHO-$APTIBLE_USER_DOCUMENT"`, "app-the-document"},
		{`stty size`, "24 80"},
		{`stty -echo; echo hid''den; read -r secret; stty echo; echo "${#secret}-read"`, "hidden"},
		{`correct horse`, "13-read"},
		{`seq 1 50000 | tail -c 300000; echo all""-there`, "all-there"},
	} {
		fmt.Fprintln(keys, line.keys)
		shown.await(t, line.want)
	}
	resize <- session.Size{Width: 100, Height: 30}
	for !strings.Contains(shown.text(), "30 100") { // there is no signal for its arrival at the terminal
		fmt.Fprintln(keys, "stty size; echo look''ed")
		shown.await(t, "looked")
	}
	fmt.Fprintln(keys, "exit 7")
	var r result
	select {
	case r = <-over:
	case <-time.After(time.Minute):
		t.Fatalf("the session did not end: %q", shown.text())
	}
	if r.err != nil || r.exit.Status != 7 || r.exit.Reason != session.ReasonExit {
		t.Errorf("%+v, %v", r.exit, r.err)
	}

	sessions, err := b.Sessions(t.Context())
	if err != nil || len(sessions) != 1 {
		t.Fatalf("%d sessions, %v", len(sessions), err)
	}
	end, err := b.End(t.Context(), schema.StreamTTY)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := b.Read(t.Context(), schema.StreamTTY, []string{schema.SubjectTTY(sessions[0].Operation, b.Partitions())}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var recorded bytes.Buffer
	var events []schema.FrameKind
	for at := uint64(0); at < end; {
		message, err := reader.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		at = message.Sequence
		var c schema.Chunk
		if err := schema.DecodeChunk(message.Data, &c); err != nil {
			t.Fatal(err)
		}
		if c.Offset != [2]uint64{uint64(recorded.Len()), 0} || c.Events != uint64(len(events)) {
			t.Fatalf("chunk %d is at %d after %d bytes, events %d after %d", c.Ordinal, c.Offset, recorded.Len(), c.Events, len(events))
		}
		for _, f := range c.Frames {
			if f.Kind.IsOutput() {
				recorded.Write(f.Payload)
			} else {
				events = append(events, f.Kind)
			}
		}
	}
	if recorded.String() != shown.text() {
		t.Errorf("recorded %d bytes, shown %d", recorded.Len(), len(shown.text()))
	}
	if got := fmt.Sprint(events); got != fmt.Sprint([]schema.FrameKind{schema.FrameStart, schema.FrameResize, schema.FrameEnd}) {
		t.Errorf("events %s", got)
	}
	if bytes.Contains(recorded.Bytes(), []byte("horse")) {
		t.Error("input without an echo is recorded")
	}
	if s := sessions[0]; s.Bytes != uint64(recorded.Len()) || s.Reason != session.ReasonExit || *s.ExitStatus != 7 {
		t.Errorf("saved as %+v", s)
	}
}
