package session_test

import (
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/busstore"
	"github.com/ttydrain/ttydrain/schema"
)

func openBus(t *testing.T, dir string) busstore.Store {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{Store: dir, Sync: time.Hour, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return busstore.New(b, nil)
}

// newManager returns the manager of the gateway g-1; log may be nil.
func newManager(store busstore.Store, log *slog.Logger) *session.Manager {
	return session.NewManager(session.Options{
		Gateway: "g-1", Store: store, Publisher: store, Slots: store, Subject: store.Subject, Log: log,
	})
}

// recorded returns an operation's frames on the stream, and checks that they are consecutive.
func recorded(t *testing.T, store busstore.Store, op *schema.Operation) (frames []schema.Frame, kinds string) {
	t.Helper()
	var chunks [][]byte
	if err := store.LastChunks(t.Context(), store.Subject(op), func(_ uint64, data []byte) error {
		chunks = append(chunks, data)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return session.FramesOf(t, chunks)
}

func TestRecover(t *testing.T) {
	dir := t.TempDir()
	store := openBus(t, dir)
	status := 3
	detail := func(kind schema.FrameKind, d *schema.Detail) schema.Frame {
		f, err := schema.DetailFrame(kind, time.Unix(2, 0), d)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	resize := detail(schema.FrameResize, &schema.Detail{Width: 1, Height: 2})
	ended := detail(schema.FrameEnd, &schema.Detail{ExitStatus: &status, Reason: session.ReasonExit})
	output := func(kind schema.FrameKind, s string) schema.Frame {
		return schema.Frame{Kind: kind, Time: time.Unix(1, 0).UnixNano(), Payload: []byte(s)}
	}
	started := schema.Frame{Kind: schema.FrameStart, Time: time.Unix(1, 0).UnixNano()}
	tests := []struct {
		name    string
		gateway string
		over    bool             // its end was saved
		chunks  [][]schema.Frame // started stands for the start of the operation
		kinds   string           // on the stream, after
		reason  string
		bytes   uint64
	}{
		{"no chunk", "g-1", false, nil, "SE", session.ReasonGatewayLost, 0},
		{"a start", "g-1", false, [][]schema.Frame{{started}}, "SE", session.ReasonGatewayLost, 0},
		{"some chunks", "g-1", false, [][]schema.Frame{
			{started, output(0, "one"), output(1, "two")}, {resize, output(0, "three")}, {output(0, "four"), resize},
		}, "SoeRooRE", session.ReasonGatewayLost, 15},
		{"an end", "g-1", false, [][]schema.Frame{{started, output(0, "one")}, {output(0, "two"), ended}}, "SooE", session.ReasonExit, 6},
		{"another gateway's", "g-2", false, [][]schema.Frame{{started}}, "S", "", 0},
		{"one that is over", "g-1", true, [][]schema.Frame{{started}}, "S", "known", 0},
	}
	operations := make(map[string]*schema.Operation)
	for _, test := range tests {
		op := &schema.Operation{App: "web", Stack: "default", Started: time.Unix(1, 0).UTC()}
		if err := store.CreateOperation(t.Context(), op); err != nil {
			t.Fatal(err)
		}
		operations[test.name] = op
		state := &schema.Session{Operation: op, Gateway: test.gateway}
		if test.over {
			state.Ended, state.Reason = time.Unix(9, 0).UTC(), "known"
		}
		if err := store.SaveSession(t.Context(), state); err != nil {
			t.Fatal(err)
		}
		var c schema.Chunk
		for _, c.Frames = range test.chunks {
			for i := range c.Frames {
				if c.Frames[i].Kind == schema.FrameStart {
					start, err := schema.StartFrame(op.Started, op)
					if err != nil {
						t.Fatal(err)
					}
					c.Frames[i] = start
				}
			}
			if err := store.Publish(store.Subject(op), op.ID+"-"+string(rune('0'+c.Ordinal)), schema.AppendChunk(nil, &c)).Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, f := range c.Frames {
				if f.Kind.IsOutput() {
					c.Offset[f.Kind.Stream()] += uint64(len(f.Payload))
				} else {
					c.Events++
				}
			}
			c.Ordinal++
		}
	}
	store.Close() // and the gateway has died
	store = openBus(t, dir)
	for round := range 2 { // the second run finds nothing to do
		if err := newManager(store, nil).Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		sessions := make(map[string]schema.Session)
		all, err := store.Sessions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			sessions[s.Operation.ID] = s
		}
		for _, test := range tests {
			op := operations[test.name]
			frames, got := recorded(t, store, op)
			if got != test.kinds {
				t.Errorf("round %d: %s: frames %s, expected %s", round, test.name, got, test.kinds)
				continue
			}
			s := sessions[op.ID]
			if s.Reason != test.reason || s.Ended.IsZero() != (test.reason == "") || s.Bytes != test.bytes {
				t.Errorf("round %d: %s: saved %+v", round, test.name, s)
			}
			if test.reason == session.ReasonExit && (s.ExitStatus == nil || *s.ExitStatus != 3) {
				t.Errorf("%s: the status differs from the recorded one", test.name)
			}
			if strings.HasSuffix(test.kinds, "E") {
				var d schema.Detail
				if err := json.Unmarshal(frames[len(frames)-1].Payload, &d); err != nil || d.Reason != test.reason {
					t.Errorf("%s: the end is %+v, %v", test.name, d, err)
				}
			}
			var start schema.Operation
			if err := json.Unmarshal(frames[0].Payload, &start); err != nil || start.ID != op.ID {
				t.Errorf("%s: the start is %+v, %v", test.name, start, err)
			}
		}
	}
}

// TestRecoverContinuesAfterError: a session whose end cannot be recorded is logged, and the others
// are recovered.
func TestRecoverContinuesAfterError(t *testing.T) {
	store := openBus(t, t.TempDir())
	var ids []string
	for range 3 {
		op := &schema.Operation{App: "web", Stack: "default"}
		if err := store.CreateOperation(t.Context(), op); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, op.ID)
		if err := store.SaveSession(t.Context(), &schema.Session{Operation: op, Gateway: "g-1"}); err != nil {
			t.Fatal(err)
		}
	}
	bad := &schema.Operation{ID: ids[1], App: "web", Stack: "default"}
	if err := store.Publish(store.Subject(bad), "x", []byte{0}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	m := newManager(store, slog.New(slog.NewTextHandler(&logged, nil)))
	if err := m.Recover(t.Context()); err != nil {
		t.Error(err)
	}
	if text := logged.String(); !strings.Contains(text, "stays without an end") || !strings.Contains(text, "operation="+ids[1]) {
		t.Errorf("logged: %s", text)
	}
	all, err := store.Sessions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(map[string]bool)
	for _, s := range all {
		ended[s.Operation.ID] = !s.Ended.IsZero()
	}
	if want := map[string]bool{ids[0]: true, ids[1]: false, ids[2]: true}; !maps.Equal(ended, want) {
		t.Errorf("ended %v of %v", ended, slices.Sorted(maps.Keys(ended)))
	}
}

// TestRecoverAfterReorderedChunk: a chunk that was refused at first is the last one on the stream,
// but not the latest.
func TestRecoverAfterReorderedChunk(t *testing.T) {
	store := openBus(t, t.TempDir())
	op := &schema.Operation{App: "web", Stack: "default", Started: time.Unix(1, 0).UTC()}
	if err := store.CreateOperation(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	if err := store.SaveSession(t.Context(), &schema.Session{Operation: op, Gateway: "g-1"}); err != nil {
		t.Fatal(err)
	}
	start, err := schema.StartFrame(op.Started, op)
	if err != nil {
		t.Fatal(err)
	}
	var chunks []schema.Chunk
	var next schema.Chunk
	for _, text := range []string{"", "one", "two", "three"} {
		next.Frames = []schema.Frame{start}
		if text != "" {
			next.Frames = []schema.Frame{{Kind: schema.FrameStdout, Time: 1, Payload: []byte(text)}}
		}
		chunks = append(chunks, next)
		next = session.ChunkAfter(&next)
	}
	for _, i := range []int{0, 2, 3, 1} {
		if err := store.Publish(store.Subject(op), "", schema.AppendChunk(nil, &chunks[i])).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	m := newManager(store, nil)
	if err := m.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, got := recorded(t, store, op); got != "SoooE" {
		t.Errorf("frames %s", got)
	}
	all, err := store.Sessions(t.Context())
	if err != nil || len(all) != 1 || all[0].Bytes != 11 || all[0].Reason != session.ReasonGatewayLost {
		t.Errorf("%+v, %v", all, err)
	}
}
