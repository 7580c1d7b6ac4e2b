package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

// busStore is a real bus as sessions want it.
type busStore struct{ *bus.Bus }

func (s busStore) Publish(subject, id string, data []byte) Publish {
	return busPublish{s.PublishChunk(subject, id, data)}
}

func (s busStore) PublishEnd(subject string, last uint64, data []byte) Publish {
	return busPublish{s.Bus.PublishEnd(subject, last, data)}
}

func (s busStore) LastChunks(ctx context.Context, subject string, each func(uint64, []byte) error) error {
	return s.Tail(ctx, schema.StreamTTY, subject, func(m bus.Message) error { return each(m.Sequence, m.Data) })
}

type busPublish struct{ *bus.Publish }

func (p busPublish) Wait(ctx context.Context) error {
	_, err := p.Publish.Wait(ctx)
	return err
}

func openBus(t *testing.T, dir string) busStore {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{Store: dir, Sync: time.Hour, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return busStore{b}
}

// frames are all of an operation's frames on the stream, which are checked to be consecutive.
func (s busStore) frames(t *testing.T, op *schema.Operation) (frames []schema.Frame) {
	t.Helper()
	_, ok, err := s.Last(t.Context(), schema.StreamTTY, schema.SubjectTTY(op, 1))
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return nil
	}
	r, err := s.Read(t.Context(), schema.StreamTTY, []string{schema.SubjectTTY(op, 1)}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	check := newTape(t, ackAll)
	for {
		m, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		check.Publish("tty.test", "", m.Data)
		check.first = make(map[string]*attempt) // the stream does not give the IDs
		if m.Pending == 0 {
			return check.check()
		}
	}
}

func TestRecover(t *testing.T) {
	dir := t.TempDir()
	store := openBus(t, dir)
	manager := func() *Manager {
		return NewManager(Options{
			Gateway: "g-1", Store: store, Publisher: store, Slots: newSlotTable(t),
			Subject: func(op *schema.Operation) string { return schema.SubjectTTY(op, 1) },
		})
	}
	status := 3
	detail := func(kind schema.FrameKind, d *schema.Detail) schema.Frame {
		f, err := schema.DetailFrame(kind, time.Unix(2, 0), d)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	resize := detail(schema.FrameResize, &schema.Detail{Width: 1, Height: 2})
	ended := detail(schema.FrameEnd, &schema.Detail{ExitStatus: &status, Reason: ReasonExit})
	output := func(kind schema.FrameKind, s string) schema.Frame {
		return schema.Frame{Kind: kind, Time: time.Unix(1, 0).UnixNano(), Payload: []byte(s)}
	}
	started := schema.Frame{Kind: schema.FrameStart, Time: time.Unix(1, 0).UnixNano()}
	tests := []struct {
		name    string
		gateway string
		over    bool             // its end is known
		chunks  [][]schema.Frame // started stands for the start of the operation
		kinds   string           // on the stream, after
		reason  string
		bytes   uint64
	}{
		{"no chunk", "g-1", false, nil, "SE", ReasonGatewayLost, 0},
		{"a start", "g-1", false, [][]schema.Frame{{started}}, "SE", ReasonGatewayLost, 0},
		{"some chunks", "g-1", false, [][]schema.Frame{
			{started, output(0, "one"), output(1, "two")}, {resize, output(0, "three")}, {output(0, "four"), resize},
		}, "SoeRooRE", ReasonGatewayLost, 15},
		{"an end", "g-1", false, [][]schema.Frame{{started, output(0, "one")}, {output(0, "two"), ended}}, "SooE", ReasonExit, 6},
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
			if err := store.Publish(schema.SubjectTTY(op, 1), op.ID+"-"+string(rune('0'+c.Ordinal)), schema.AppendChunk(nil, &c)).Wait(t.Context()); err != nil {
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
	store.Close() // and the gateway is gone
	store = openBus(t, dir)
	for round := range 2 { // the second finds nothing to do
		if err := manager().Recover(t.Context()); err != nil {
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
			frames := store.frames(t, op)
			if got := kinds(frames); got != test.kinds {
				t.Errorf("round %d: %s: frames %s, expected %s", round, test.name, got, test.kinds)
				continue
			}
			s := sessions[op.ID]
			if s.Reason != test.reason || s.Ended.IsZero() != (test.reason == "") || s.Bytes != test.bytes {
				t.Errorf("round %d: %s: saved %+v", round, test.name, s)
			}
			if test.reason == ReasonExit && (s.ExitStatus == nil || *s.ExitStatus != 3) {
				t.Errorf("%s: the status is not the one that is recorded", test.name)
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

// TestRecoverGoesOn: a session whose end can't be recorded is told, and no reason to leave out the
// others.
func TestRecoverGoesOn(t *testing.T) {
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
	if err := store.Publish(schema.SubjectTTY(bad, 1), "x", []byte{0}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	m := NewManager(Options{Gateway: "g-1", Store: store, Publisher: store, Slots: newSlotTable(t),
		Subject: func(op *schema.Operation) string { return schema.SubjectTTY(op, 1) }, Log: slog.New(slog.NewTextHandler(&told, nil))})
	if err := m.Recover(t.Context()); err != nil {
		t.Error(err)
	}
	if text := told.String(); !strings.Contains(text, "stays without an end") || !strings.Contains(text, "operation="+ids[1]) {
		t.Errorf("told: %s", text)
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

// TestRecoverAfterARepeat: a chunk that was refused at first is the last on the stream, and not the
// latest.
func TestRecoverAfterARepeat(t *testing.T) {
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
		next = behind(&next)
	}
	for _, i := range []int{0, 2, 3, 1} {
		if err := store.Publish(schema.SubjectTTY(op, 1), "", schema.AppendChunk(nil, &chunks[i])).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	m := NewManager(Options{Gateway: "g-1", Store: store, Publisher: store, Slots: newSlotTable(t),
		Subject: func(op *schema.Operation) string { return schema.SubjectTTY(op, 1) }})
	if err := m.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := kinds(store.frames(t, op)); got != "SoooE" {
		t.Errorf("frames %s", got)
	}
	all, err := store.Sessions(t.Context())
	if err != nil || len(all) != 1 || all[0].Bytes != 11 || all[0].Reason != ReasonGatewayLost {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestEndIsRecordedLater: the end of a session that the stream refuses is recorded when the stream
// takes it, behind exactly what is recorded, though a chunk comes late, or when the gateway stops;
// and the person is told why, in the words of what is full.
func TestEndIsRecordedLater(t *testing.T) {
	const notNow = "\r\nttydrain: this session was ended, since what it shows can't be recorded now: try again in a minute\r\n"
	for _, test := range []struct {
		refusal error
		told    string
		atStop  bool
	}{
		{errors.New("secret"), notNow, false},
		{errors.New("secret"), notNow, true},
		{fmt.Errorf("secret: %w", ErrFull), "\r\nttydrain: this session was ended: there is no room left to record what it shows; its operators have to make room, then try again\r\n", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t)
			var full atomic.Bool
			var late atomic.Pointer[attempt]
			s.tape.answer = func(a *attempt) {
				switch {
				case !full.Load():
					a.ack()
				case a.repeat == 0 && !strings.HasPrefix(a.id, "end"):
					late.Store(a) // its answer does not come in time
					a.result <- test.refusal
				default:
					a.result <- test.refusal
				}
			}
			s.program = func(p *program) Exit {
				io.WriteString(p.stdout, "recorded")
				synctest.Wait()
				full.Store(true)
				io.WriteString(p.stdout, "late")
				<-p.killed
				return Exit{}
			}
			client := IO{Stdin: s.stdin, Stdout: &free{screen: s.out}, Stderr: s.err}
			m := s.manager()
			ctx, cancel := context.WithCancel(t.Context())
			go m.Tend(ctx)
			exit, err := m.Run(t.Context(), s.req, client)
			if err != nil || exit != (Exit{Status: 255, Reason: ReasonNotRecorded}) {
				t.Errorf("%+v, %v", exit, err)
			}
			if told := client.Stdout.(*free).told; told != test.told {
				t.Errorf("told %q", told)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			if n := len(s.saved); n != 1 {
				t.Errorf("saved %d times", n)
			}
			a := late.Load()
			a.result = make(chan error, 1)
			a.ack() // the stream had taken it all the same
			if test.atStop {
				cancel() // Tend has had its time
				synctest.Wait()
				grace, over := context.WithTimeout(t.Context(), time.Second)
				if err := m.Drain(grace); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("drained what the stream refuses: %v", err)
				}
				over()
			}
			full.Store(false)
			if test.atStop {
				if err := m.Drain(t.Context()); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			frames := s.tape.check()
			end := frames[len(frames)-1]
			var d schema.Detail
			if err := json.Unmarshal(end.Payload, &d); end.Kind != schema.FrameEnd || err != nil || d.Reason != ReasonNotRecorded {
				t.Errorf("frames %s, the end %+v, %v", kinds(frames), d, err)
			}
			recorded := uint64(len(s.tape.recorded(schema.Stdout)))
			if n := len(s.saved); n != 2 || s.saved[1].Ended.IsZero() || s.saved[1].Reason != ReasonNotRecorded || s.saved[1].Bytes != recorded {
				t.Errorf("saved %+v, with %d bytes recorded", s.saved, recorded)
			}
			if len(m.unfinished) != 0 {
				t.Errorf("%d ends are still waiting", len(m.unfinished))
			}
			cancel()
			synctest.Wait()
		})
	}
}

// TestUnfinishedIsBounded: the ends that wait in memory are, and the next start finds the others.
func TestUnfinishedIsBounded(t *testing.T) {
	m := NewManager(Options{})
	for i := range maxUnfinished + 10 {
		m.leave(&schema.Session{Operation: &schema.Operation{ID: strconv.Itoa(i)}}, ReasonNotRecorded)
	}
	if len(m.unfinished) != maxUnfinished {
		t.Errorf("%d wait", len(m.unfinished))
	}
}
